/** State, time and buttons: what a glance at the page should tell. */

import { clock, element } from "../dom.js";

/** @typedef {import("../api.js").Status} Status */

/** @type {Record<string, string>} */
const WORDS = {
    ready: "Ready",
    loading: "Loading the model",
    priming: "Taking on its role",
    listening: "Listening",
    stopping: "Ending",
    failed: "Stopped by an error",
};

/** Details of a conversation that goes as it should. */
const ORDINARY = ["", "listening", "speaking", "muted"];

/**
 * @typedef {object} View
 * @property {Status | null} status
 * @property {boolean} there the server is
 * @property {boolean} asking the browser is being asked for its microphone
 * @property {boolean} ours this page holds the conversation's sound
 * @property {boolean} muted
 */

export class Stage {
    #stage = /** @type {HTMLElement} */ (document.querySelector(".stage"));
    #state = element("state", HTMLParagraphElement);
    #detail = element("detail", HTMLParagraphElement);
    #progress = element("progress", HTMLProgressElement);
    #clock = element("clock", HTMLParagraphElement);
    #primary = element("primary", HTMLButtonElement);
    #mute = element("mute", HTMLButtonElement);
    #recording = element("recording", HTMLAnchorElement);
    #connection = element("connection", HTMLSpanElement);
    #model = element("model-name", HTMLSpanElement);
    /** @type {number | null} when the call began, on the page's own clock */
    #began = null;

    constructor() {
        setInterval(() => this.#tick(), 250);
    }

    /** @param {View} view */
    show(view) {
        const { status, there } = view;
        const state = status?.state ?? "ready";
        this.#stage.dataset.state = there ? state : "gone";
        this.#write(this.#state, headline(view));
        this.#write(this.#detail, there && status ? explanation(view, status) : "");
        this.#connection.dataset.there = there ? "yes" : "no";
        this.#write(this.#connection, there ? "connected" : "no connection");
        this.#write(this.#model, status?.model ?? "");
        this.#showProgress(there ? status : null);
        this.#showButtons(view, state);
        if (!there || state !== "listening") this.#began = null;
    }

    /**
     * The call's time as the server knows it; it runs on by itself.
     * @param {number} seconds
     */
    setClock(seconds) {
        this.#began = performance.now() - seconds * 1000;
        this.#tick();
    }

    resetClock() {
        this.#began = null;
        this.#clock.textContent = clock(0);
    }

    /** @param {boolean} there a recording of the last conversation is */
    offerRecording(there) {
        this.#recording.hidden = !there;
    }

    #tick() {
        if (this.#began === null) return;
        const text = clock((performance.now() - this.#began) / 1000);
        if (this.#clock.textContent === text) return;
        this.#clock.textContent = text;
        document.title = `${text} · pymoshi`;
    }

    /** @param {Status | null} status */
    #showProgress(status) {
        const shown = status?.state === "loading" || status?.state === "priming";
        this.#progress.hidden = !shown;
        if (!shown) return;
        if (status.progress === null) this.#progress.removeAttribute("value");
        else this.#progress.value = status.progress;
    }

    /**
     * @param {View} view
     * @param {string} state
     */
    #showButtons({ status, there, asking, ours, muted }, state) {
        const idle = (state === "ready" || state === "failed") && !ours && !asking;
        this.#primary.disabled = (!there && !ours) || !status || state === "stopping";
        this.#primary.classList.toggle("ends", !idle);
        this.#write(this.#primary, idle ? "Start talking" : "End");
        this.#mute.hidden = state !== "listening" || !(ours || status?.mode === "machine");
        this.#mute.setAttribute("aria-pressed", String(muted));
        this.#write(this.#mute, muted ? "Unmute" : "Mute");
        if (idle) document.title = "pymoshi";
        else this.#recording.hidden = true;
    }

    /**
     * A screen reader reads what changes, so nothing is written that is there already.
     * @param {HTMLElement} place
     * @param {string} text
     */
    #write(place, text) {
        if (place.textContent !== text) place.textContent = text;
    }
}

/** @param {View} view */
function headline({ status, there, asking, muted }) {
    if (!there) return status ? "Server not reachable" : "Connecting";
    if (asking) return "Waiting for your microphone";
    if (status?.state === "listening" && muted) return "Muted";
    return WORDS[status?.state ?? "ready"] ?? String(status?.state);
}

/**
 * @param {View} view
 * @param {Status} status
 */
function explanation({ asking, ours, muted }, status) {
    if (asking) return "Allow it in the browser’s question.";
    const elsewhere = { machine: "", browser: "Another page holds this conversation.", client: "Another program holds this conversation." };
    if (status.state === "listening") {
        if (!ours && status.mode && elsewhere[status.mode]) return elsewhere[status.mode];
        if (muted) return "The model hears silence.";
        return ORDINARY.includes(status.detail) ? "Speak whenever you like, also in between." : status.detail;
    }
    if (status.state === "ready") return status.detail || "A conversation that stays on your machine.";
    if (status.state === "failed") return "You can start again.";
    const percent = status.progress === null ? "" : `${Math.round(status.progress * 100)} %`;
    return [status.detail, percent].filter(Boolean).join(", ");
}
