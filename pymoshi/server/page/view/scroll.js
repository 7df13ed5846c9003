/** Lists that follow their end, unless somebody has scrolled back to read. */

const NEAR = 40; // px

/** @param {HTMLElement} box */
export function isAtEnd(box) {
    return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR;
}

/** @param {HTMLElement} box */
export function scrollToEnd(box) {
    box.scrollTop = box.scrollHeight;
}
