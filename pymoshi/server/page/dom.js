/** The page's elements by their id, as what they are. */

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function element(id, kind) {
    const found = document.getElementById(id);
    if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
    return found;
}

/**
 * A new element with text in it. Text that came from a model or a server is never markup.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function create(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
}

/**
 * The page's colours, as the style sheet has them now.
 * @param {string} name
 */
export function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * Seconds as mm:ss, or h:mm:ss.
 * @param {number} seconds
 */
export function clock(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
    const short = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return whole < 3600 ? short : `${Math.floor(whole / 3600)}:${short}`;
}
