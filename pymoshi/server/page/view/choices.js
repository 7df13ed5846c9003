/** What a select offers. */

/** @typedef {{value: string, label: string, disabled?: boolean}} Choice */

/**
 * Offers `choices`, and keeps what was chosen if it is still among them.
 * @param {HTMLSelectElement} select
 * @param {Choice[]} choices
 * @param {string} [wanted] rather than what was chosen before
 */
export function offer(select, choices, wanted = select.value) {
    select.replaceChildren(
        ...choices.map(({ value, label, disabled = false }) => {
            const option = new Option(label, value);
            option.disabled = disabled;
            return option;
        }),
    );
    const usable = choices.filter((choice) => !choice.disabled);
    select.value = (usable.find((choice) => choice.value === wanted) ?? usable[0])?.value ?? "";
}

/**
 * @param {number | null} bytes
 * @returns {string} "5.1 GB"
 */
export function size(bytes) {
    if (!bytes) return "";
    return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}
