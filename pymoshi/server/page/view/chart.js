/** What a frame of 80 ms costs, frame by frame, and the same in figures. */

import { colour, element } from "../dom.js";

const BUDGET = 80; // ms
const BAR = 3; // px, with its gap
const REMEMBERED = 750; // frames: a minute
const REDRAW = 150; // ms
const RETELL = 5000; // ms between descriptions for those who cannot see it

/**
 * @typedef {object} Frame
 * @property {number} encode_ms
 * @property {number} lm_ms
 * @property {number} decode_ms
 * @property {number} step_ms
 * @property {boolean} late
 * @property {number} backlog_ms
 * @property {number} underruns
 */

export class Chart {
    #canvas = element("chart", HTMLCanvasElement);
    #pen = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    /** @type {Frame[]} */
    #frames = [];
    #late = 0;
    #waiting = false;
    #told = 0;
    #figures = Object.fromEntries(
        ["mean", "worst", "late", "backlog", "gaps"].map((name) => [name, element(`figure-${name}`, HTMLElement)]),
    );

    constructor() {
        addEventListener("themechange", () => this.#paint());
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
        new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    }

    clear() {
        this.#frames = [];
        this.#late = 0;
        this.#redraw();
    }

    /** @param {Frame} frame */
    add(frame) {
        this.#frames.push(frame);
        if (frame.late) this.#late += 1;
        if (this.#frames.length > REMEMBERED) this.#frames.shift();
        this.#redraw();
    }

    #redraw() {
        if (this.#waiting) return;
        this.#waiting = true;
        setTimeout(() => {
            this.#waiting = false;
            this.#paint();
            this.#count();
        }, REDRAW);
    }

    #count() {
        const last = this.#frames.at(-1);
        const steps = this.#frames.map((frame) => frame.step_ms);
        const mean = steps.reduce((sum, step) => sum + step, 0) / steps.length;
        const worst = Math.max(...steps);
        this.#write("mean", last && milliseconds(mean));
        this.#write("worst", last && milliseconds(worst));
        this.#write("late", last && String(this.#late));
        this.#write("backlog", last && milliseconds(last.backlog_ms));
        this.#write("gaps", last && String(last.underruns));
        this.#figures.mean.classList.toggle("serious", Boolean(last) && mean > BUDGET);
        const now = performance.now();
        if (last && now - this.#told < RETELL) return;
        this.#told = now;
        const text = last
            ? `The last ${steps.length} frames took ${milliseconds(mean)} on average and ${milliseconds(worst)} at most; ` +
              `real time allows 80 ms. ${this.#late} were late.`
            : "No figures yet";
        this.#canvas.setAttribute("aria-label", text);
    }

    /**
     * @param {string} name
     * @param {string | undefined} text
     */
    #write(name, text) {
        if (this.#figures[name].textContent !== (text ?? "–")) this.#figures[name].textContent = text ?? "–";
    }

    #resize() {
        const scale = Math.min(devicePixelRatio, 2);
        this.#canvas.width = Math.round(this.#canvas.clientWidth * scale);
        this.#canvas.height = Math.round(this.#canvas.clientHeight * scale);
        this.#paint();
    }

    #paint() {
        const pen = this.#pen;
        const scale = this.#canvas.width / Math.max(this.#canvas.clientWidth, 1);
        const width = this.#canvas.clientWidth;
        const height = this.#canvas.clientHeight;
        pen.setTransform(scale, 0, 0, scale, 0, 0);
        pen.clearRect(0, 0, width, height);
        const seen = this.#frames.slice(-Math.floor(width / BAR));
        const top = Math.max(100, ...seen.map((frame) => Math.min(frame.step_ms, 400) * 1.05));
        const y = (/** @type {number} */ ms) => Math.round((ms / top) * (height - 1));

        const colours = [colour("you"), colour("it"), colour("third")];
        seen.forEach((frame, i) => {
            const x = width - (seen.length - i) * BAR;
            let base = 0;
            [frame.encode_ms, frame.lm_ms, frame.decode_ms].forEach((ms, part) => {
                pen.fillStyle = colours[part];
                pen.fillRect(x, height - y(base + ms), BAR - 1, y(base + ms) - y(base));
                base += ms;
            });
            if (!frame.late) return;
            pen.fillStyle = colour("serious");
            pen.fillRect(x, 0, BAR - 1, 4);
        });

        pen.fillStyle = colour("line-strong");
        pen.fillRect(0, height - 1, width, 1);
        const budget = height - y(BUDGET) - 0.5;
        pen.strokeStyle = colour("ink-soft");
        pen.setLineDash([4, 4]);
        pen.beginPath();
        pen.moveTo(0, budget);
        pen.lineTo(width, budget);
        pen.stroke();
        pen.setLineDash([]);
    }
}

/** @param {number} ms */
function milliseconds(ms) {
    return `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
