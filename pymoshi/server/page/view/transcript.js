/**
 * Both sides of the conversation in the order of time: the model's words, and the stretches in which the user spoke.
 *
 * It is no live region: what the model says is heard already, and a screen reader that spoke it again would be heard
 * by the model.
 */

import { clock, create, element } from "../dom.js";
import { isAtEnd, scrollToEnd } from "./scroll.js";

const PAUSE = 1.2; // seconds without a word that end a line
const LONG = 220; // letters, after which a line ends with its sentence
const MOST = 2000; // rows

/** @typedef {{time: number, row: HTMLLIElement, text: string, last: number}} ModelLine */

export class Transcript {
    #list = element("lines", HTMLOListElement);
    #empty = element("transcript-empty", HTMLParagraphElement);
    #panel = element("transcript", HTMLDivElement);
    #save = element("save-transcript", HTMLButtonElement);
    /** @type {ModelLine | null} */
    #line = null;
    /** @type {ModelLine[]} those since the model's last pause */
    #unfinished = [];
    /** @type {{start: number, row: HTMLLIElement} | null} */
    #speech = null;

    constructor() {
        this.#save.addEventListener("click", () => this.#download());
    }

    clear() {
        this.#list.replaceChildren();
        this.#line = this.#speech = null;
        this.#unfinished = [];
        this.#empty.hidden = false;
        this.#save.disabled = true;
    }

    /** Whoever was speaking is not any more. */
    finish() {
        this.#line?.row.classList.remove("open");
        this.#speech?.row.classList.remove("open");
        this.#line = this.#speech = null;
        this.#unfinished = [];
    }

    /**
     * @param {number} time seconds of conversation
     * @param {string} piece a piece of a word, with its leading space
     */
    say(time, piece) {
        if (!piece) return;
        if (this.#line && this.#ends(this.#line, time, piece)) this.#endLine();
        if (!this.#line) {
            this.#line = this.#begin(time);
            this.#unfinished.push(this.#line);
        }
        this.#line.text += piece;
        this.#line.last = time;
        this.#write(this.#line.row, this.#line.text.trim());
    }

    /**
     * The model paused. `text` is all it said since its last pause, of which a page that was just opened saw only a part.
     * @param {number} time when it began to say so
     * @param {string} text
     */
    pause(time, text) {
        if (this.#unfinished.length === 0 && text) this.#unfinished.push(this.#begin(time));
        if (this.#unfinished.length === 1) this.#write(this.#unfinished[0].row, text);
        for (const line of this.#unfinished) line.row.classList.remove("open");
        this.#unfinished = [];
        this.#line = null;
    }

    /**
     * @param {number} start seconds of conversation
     * @param {number | null} end null while it goes on
     */
    speak(start, end) {
        // Where it began is told again at its end, a hundredth of a second off.
        let row = this.#speech && Math.abs(this.#speech.start - start) < 0.2 ? this.#speech.row : null;
        if (!row) {
            this.#speech?.row.classList.remove("open");
            row = this.#add("you", "You", start);
            this.#speech = { start, row };
        }
        row.classList.toggle("open", end === null);
        const seconds = end === null ? 0 : end - start;
        row.style.setProperty("--seconds", String(Math.min(seconds, 20)));
        this.#write(row, end === null ? "speaking" : `spoke for ${seconds.toFixed(1)} s`);
        if (end !== null) this.#speech = null;
    }

    /**
     * @param {ModelLine} line
     * @param {number} time
     * @param {string} piece
     */
    #ends(line, time, piece) {
        if (time - line.last > PAUSE) return true;
        if (!piece.startsWith(" ") || !/[.?!…]["”]?$/.test(line.text)) return false;
        return line.text.length > LONG || line.row !== this.#list.lastElementChild; // the user said something meanwhile
    }

    #endLine() {
        this.#line?.row.classList.remove("open");
        this.#line = null;
    }

    /** @param {number} time */
    #begin(time) {
        const row = this.#add("it", "Model", time);
        row.classList.add("open");
        return { time, row, text: "", last: time };
    }

    /**
     * @param {"you" | "it"} side
     * @param {string} name
     * @param {number} time
     */
    #add(side, name, time) {
        const stays = isAtEnd(this.#panel);
        const row = create("li", `line ${side}`);
        row.dataset.time = String(time);
        row.append(create("time", "line-time", clock(time)), create("b", "line-who", name), create("span", "line-text"));
        const later = [...this.#list.children].findLast((other) => Number(/** @type {HTMLElement} */ (other).dataset.time) <= time);
        if (later) later.after(row);
        else this.#list.prepend(row);
        if (this.#list.childElementCount > MOST) this.#list.firstElementChild?.remove();
        this.#empty.hidden = true;
        this.#save.disabled = false;
        if (stays) scrollToEnd(this.#panel);
        return row;
    }

    /**
     * @param {HTMLLIElement} row
     * @param {string} text
     */
    #write(row, text) {
        const stays = isAtEnd(this.#panel);
        const place = row.querySelector(".line-text");
        if (place) place.textContent = text;
        if (stays) scrollToEnd(this.#panel);
    }

    #download() {
        const lines = [...this.#list.children].map((row) => {
            const [time, who, text] = [...row.children].map((child) => child.textContent ?? "");
            return `[${time}] ${who}: ${text}\n`;
        });
        const link = create("a", "");
        link.href = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
        link.download = "conversation.txt";
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    }
}
