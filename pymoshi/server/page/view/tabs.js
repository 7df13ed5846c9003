/** Setup, transcript, log: one at a time, with the arrow keys as in any list of tabs. */

export class Tabs {
    /** @type {HTMLButtonElement[]} */
    #tabs;

    constructor() {
        this.#tabs = [...document.querySelectorAll("[role=tab]")].filter((tab) => tab instanceof HTMLButtonElement);
        this.#tabs.forEach((tab, i) => {
            tab.addEventListener("click", () => this.#select(tab));
            tab.addEventListener("keydown", (event) => this.#pressed(event, i));
        });
    }

    /** @param {"setup" | "transcript" | "log"} name */
    show(name) {
        const tab = this.#tabs.find((candidate) => candidate.getAttribute("aria-controls") === name);
        if (tab) this.#select(tab);
    }

    /** @param {HTMLButtonElement} chosen */
    #select(chosen) {
        for (const tab of this.#tabs) {
            const selected = tab === chosen;
            tab.setAttribute("aria-selected", String(selected));
            tab.tabIndex = selected ? 0 : -1;
            const panel = document.getElementById(tab.getAttribute("aria-controls") ?? "");
            if (panel) panel.hidden = !selected;
        }
    }

    /**
     * @param {KeyboardEvent} event
     * @param {number} at
     */
    #pressed(event, at) {
        const last = this.#tabs.length - 1;
        /** @type {Record<string, number>} */
        const goes = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last };
        const to = goes[event.key];
        if (to === undefined) return;
        event.preventDefault();
        this.#select(this.#tabs[to]);
        this.#tabs[to].focus();
    }
}
