/** The line at the top that says what went wrong, and what can be done. */

import { element } from "../dom.js";

export class Banner {
    #box = element("banner", HTMLDivElement);
    #text = element("banner-text", HTMLParagraphElement);
    #action = element("banner-action", HTMLButtonElement);
    /** What the message is about: who put it there may take it away. */
    #topic = "";

    constructor() {
        element("banner-close", HTMLButtonElement).addEventListener("click", () => this.clear());
    }

    /**
     * @param {string} topic
     * @param {string} text
     * @param {{label: string, act: () => void}} [action]
     */
    show(topic, text, action) {
        this.#topic = topic;
        this.#box.hidden = false;
        if (this.#text.textContent !== text) this.#text.textContent = text;
        this.#action.hidden = !action;
        this.#action.textContent = action?.label ?? "";
        this.#action.onclick = () => {
            this.clear();
            action?.act();
        };
    }

    /** @param {string} [topic] only if it is about that */
    clear(topic) {
        if (topic !== undefined && topic !== this.#topic) return;
        this.#box.hidden = true;
        this.#text.textContent = "";
    }
}
