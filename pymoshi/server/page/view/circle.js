/**
 * The two voices. The disc is the model; its voice runs outwards from it as rings. The circle around it is the room;
 * the user's voice, as the microphone hears it, runs inwards from there. In silence all is still.
 */

import { colour, element } from "../dom.js";

const TRAVEL = 1500; // ms from one circle to the other
const FRAME = 1000 / 30; // ms: the engine may need this machine more than a picture does
const QUIETEST = -52; // dBFS: what is quieter does not move the picture
const LOUDEST = -14;
const DISC = 0.4; // of the outer circle's radius
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

/** @typedef {{from: "user" | "model", born: number, strength: number}} Ring */

export class Circle {
    #canvas = element("circle", HTMLCanvasElement);
    #pen = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    /** @type {Ring[]} */
    #rings = [];
    #levels = { user: 0, model: 0 };
    #shown = { user: 0, model: 0 };
    #active = false;
    #muted = false;
    /** @type {number | null} */
    #progress = null;
    #lastDrawn = 0;
    #lastRing = { user: 0, model: 0 };
    #running = false;
    #colours = palette();

    constructor() {
        const restyle = () => {
            this.#colours = palette();
            this.#paint(performance.now());
        };
        addEventListener("themechange", restyle);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
        new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    }

    /** @param {{active: boolean, muted: boolean, progress: number | null}} state progress: of loading, 0 to 1 */
    show({ active, muted, progress }) {
        this.#active = active;
        this.#muted = muted;
        this.#progress = progress;
        if (!active) this.#levels = { user: 0, model: 0 };
        this.#wake();
    }

    /**
     * @param {"user" | "model"} who
     * @param {number} db
     */
    hear(who, db) {
        if (!this.#active) return;
        const strength = Math.min(1, Math.max(0, (db - QUIETEST) / (LOUDEST - QUIETEST)));
        this.#levels[who] = strength;
        const now = performance.now();
        if (strength > 0 && !CALM.matches && now - this.#lastRing[who] > 150) {
            this.#lastRing[who] = now;
            this.#rings.push({ from: who, born: now, strength });
        }
        this.#wake();
    }

    #wake() {
        if (this.#running) return;
        this.#running = true;
        requestAnimationFrame((now) => this.#tick(now));
    }

    /** @param {number} now */
    #tick(now) {
        if (now - this.#lastDrawn >= FRAME) {
            this.#lastDrawn = now;
            this.#rings = this.#rings.filter((ring) => now - ring.born < TRAVEL);
            for (const who of /** @type {const} */ (["user", "model"])) {
                this.#shown[who] += (this.#levels[who] - this.#shown[who]) * 0.35;
                if (Math.abs(this.#levels[who] - this.#shown[who]) < 0.005) this.#shown[who] = this.#levels[who];
            }
            this.#paint(now);
        }
        const moves = (/** @type {"user" | "model"} */ who) => this.#shown[who] !== this.#levels[who];
        if (this.#rings.length > 0 || moves("user") || moves("model")) requestAnimationFrame((later) => this.#tick(later));
        else this.#running = false;
    }

    #resize() {
        const scale = Math.min(devicePixelRatio, 2);
        this.#canvas.width = Math.round(this.#canvas.clientWidth * scale);
        this.#canvas.height = Math.round(this.#canvas.clientHeight * scale);
        this.#paint(performance.now());
    }

    /** @param {number} now */
    #paint(now) {
        const pen = this.#pen;
        const size = Math.min(this.#canvas.width, this.#canvas.height);
        const unit = size / 380;
        const outer = size / 2 - 14 * unit;
        const disc = outer * DISC * (1 + 0.22 * this.#shown.model);
        pen.setTransform(1, 0, 0, 1, this.#canvas.width / 2, this.#canvas.height / 2);
        pen.clearRect(-size, -size, 2 * size, 2 * size);

        for (const ring of this.#rings) {
            const age = (now - ring.born) / TRAVEL;
            const way = ring.from === "user" ? 1 - age : age;
            const radius = disc + (outer - disc) * way;
            // A voice is loud where it comes from.
            this.#ring(radius, (0.6 + 2.6 * ring.strength) * unit, this.#colours[ring.from], (1 - age) * (0.25 + 0.5 * ring.strength));
        }
        this.#outerCircle(outer, unit);
        if (this.#active) this.#disc(disc, this.#colours.model, 1);
        else this.#disc(disc, this.#colours.model, this.#progress === null ? 0.86 : 0.4);
    }

    /**
     * @param {number} radius
     * @param {number} unit
     */
    #outerCircle(radius, unit) {
        const pen = this.#pen;
        const hears = this.#active && !this.#muted;
        pen.setLineDash(this.#active && this.#muted ? [3 * unit, 9 * unit] : []);
        const width = hears ? 2.5 + 7 * this.#shown.user : 2;
        this.#ring(radius, width * unit, hears ? this.#colours.user : this.#colours.line, 1);
        pen.setLineDash([]);
        if (this.#progress === null) return;
        pen.beginPath();
        pen.lineCap = "round";
        pen.lineWidth = 5 * unit;
        pen.strokeStyle = this.#colours.user;
        pen.globalAlpha = 1;
        pen.arc(0, 0, radius, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * Math.max(0.005, this.#progress));
        pen.stroke();
    }

    /**
     * @param {number} radius
     * @param {number} width
     * @param {string} stroke
     * @param {number} alpha
     */
    #ring(radius, width, stroke, alpha) {
        const pen = this.#pen;
        pen.beginPath();
        pen.globalAlpha = alpha;
        pen.lineWidth = width;
        pen.strokeStyle = stroke;
        pen.arc(0, 0, Math.max(radius, 0), 0, 2 * Math.PI);
        pen.stroke();
        pen.globalAlpha = 1;
    }

    /**
     * @param {number} radius
     * @param {string} fill
     * @param {number} alpha
     */
    #disc(radius, fill, alpha) {
        const pen = this.#pen;
        pen.beginPath();
        pen.globalAlpha = alpha;
        pen.fillStyle = fill;
        pen.arc(0, 0, Math.max(radius, 0), 0, 2 * Math.PI);
        pen.fill();
        pen.globalAlpha = 1;
    }
}

function palette() {
    return { user: colour("you"), model: colour("it"), line: colour("line-strong") };
}
