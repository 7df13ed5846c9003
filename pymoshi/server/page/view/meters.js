/** Two level meters. */

import { element } from "../dom.js";

const LOWEST = -60; // dBFS

class Meter {
    #bar;
    #number;

    /** @param {"user" | "model"} who */
    constructor(who) {
        this.#bar = element(`${who}-meter`, HTMLSpanElement);
        this.#number = element(`${who}-db`, HTMLSpanElement);
    }

    /** @param {number} db */
    show(db) {
        const shown = Math.round(Math.min(0, Math.max(LOWEST, db)));
        this.#bar.style.setProperty("--level", String(1 - shown / LOWEST));
        this.#bar.setAttribute("aria-valuenow", String(shown));
        this.#bar.setAttribute("aria-valuetext", db <= LOWEST ? "silence" : `${shown} decibels`);
        const text = db <= LOWEST ? "−∞" : `${shown}`.replace("-", "−");
        if (this.#number.textContent !== text) this.#number.textContent = text;
    }
}

export class Meters {
    #meters = { user: new Meter("user"), model: new Meter("model") };

    /**
     * @param {"user" | "model"} who
     * @param {number} db
     */
    show(who, db) {
        this.#meters[who].show(db);
    }
}
