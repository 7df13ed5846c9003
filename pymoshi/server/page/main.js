/** Joins the parts: what the server says goes to the views, what the user asks goes to the server. */

import * as api from "./api.js";
import { MicrophoneError } from "./audio/microphone.js";
import { whatIsMissing } from "./audio/support.js";
import { BrowserCall } from "./call/browser.js";
import { element } from "./dom.js";
import { Feed } from "./feed.js";
import { Banner } from "./view/banner.js";
import { Chart } from "./view/chart.js";
import { Circle } from "./view/circle.js";
import { Log } from "./view/log.js";
import { Meters } from "./view/meters.js";
import { Setup } from "./view/setup.js";
import { Stage } from "./view/stage.js";
import { Tabs } from "./view/tabs.js";
import { Transcript } from "./view/transcript.js";

const SILENCE = -120;
const IDLE = ["ready", "failed"];

class Page {
    #banner = new Banner();
    #chart = new Chart();
    #circle = new Circle();
    #log = new Log();
    #meters = new Meters();
    #setup = new Setup();
    #stage = new Stage();
    #tabs = new Tabs();
    #transcript = new Transcript();
    /** @type {api.Status | null} */
    #status = null;
    #revision = 0;
    #there = false;
    #muted = false;
    #recorded = false;
    #asking = false;
    /** Whether "End" was pressed while the call was still being opened. */
    #cancelled = false;
    /** @type {BrowserCall | null} */
    #call = null;

    constructor() {
        element("primary", HTMLButtonElement).addEventListener("click", () => void this.#pressed());
        element("mute", HTMLButtonElement).addEventListener("click", () => void this.#toggleMute());
        addEventListener("keydown", (event) => this.#key(event));
        addEventListener("pagehide", () => this.#call?.close());
        this.#show();
        new Feed({
            onEvent: (event) => this.#happened(event),
            onLost: () => this.#lost(),
            onFound: () => void this.#found(),
        });
        void this.#found();
    }

    // ---- the server ------------------------------------------------------------------------------------------------

    async #found() {
        const first = this.#status === null;
        try {
            const status = await api.fetchStatus();
            this.#there = true;
            this.#banner.clear("connection");
            this.#apply(status);
            this.#stage.offerRecording(status.recording === true);
            if (first) this.#tabs.show(IDLE.includes(status.state) ? "setup" : "transcript");
            await this.#setup.load(status);
        } catch (error) {
            this.#banner.show("connection", String(error instanceof Error ? error.message : error));
        }
    }

    /** A call goes on if its own connection does. */
    #lost() {
        this.#there = false;
        this.#revision = 0; // another server may answer
        this.#banner.show("connection", "The connection to the server is lost. The page tries to reach it again by itself.");
        this.#transcript.finish();
        this.#show();
    }

    /** @param {any} event */
    #happened(event) {
        switch (event.type) {
            case "state":
                return this.#apply(event);
            case "log":
                return this.#log.add(String(event.level), String(event.text), event.time);
            case "transcript":
                if (event.who !== "model") return;
                if (event.final) this.#transcript.pause(event.time, String(event.text));
                else this.#transcript.say(event.time, String(event.text));
                return;
            case "speech":
                if (event.who === "user") this.#transcript.speak(event.start, event.end ?? null);
                return;
            case "levels":
                if (!this.#call) this.#heard(event.user_db, event.model_db);
                return;
            case "frame":
                return this.#chart.add(event);
            case "frames":
                for (const frame of event.frames) this.#chart.add(frame);
                return;
            default: // a heartbeat, or what a newer server tells
        }
    }

    /** @param {api.Status} status */
    #apply(status) {
        const revision = status.revision ?? this.#revision;
        if (revision < this.#revision) return; // an answer that newer news has overtaken
        this.#revision = revision;
        const before = this.#status?.state ?? "ready";
        this.#status = status;
        if (IDLE.includes(before) && !IDLE.includes(status.state)) this.#begun();
        if (!IDLE.includes(before) && IDLE.includes(status.state)) this.#over();
        if (status.state === "listening" && status.call_seconds !== null) this.#stage.setClock(status.call_seconds);
        if (status.mode === "machine" && typeof status.muted === "boolean") this.#muted = status.muted;
        if (status.state === "failed") this.#banner.show("failure", status.reason ?? "The engine failed.");
        else if (!IDLE.includes(status.state)) this.#banner.clear("failure");
        if (IDLE.includes(status.state) && status.recording === true) this.#stage.offerRecording(true);
        this.#show();
    }

    #begun() {
        this.#transcript.clear();
        this.#chart.clear();
        this.#stage.resetClock();
        this.#stage.offerRecording(false);
        this.#tabs.show("transcript");
    }

    #over() {
        this.#transcript.finish();
        this.#muted = false;
        this.#heard(SILENCE, SILENCE);
        this.#stage.offerRecording(this.#recorded);
        this.#recorded = false;
    }

    // ---- the user --------------------------------------------------------------------------------------------------

    async #pressed() {
        if (this.#asking || this.#call || !IDLE.includes(this.#status?.state ?? "ready")) return this.#end();
        const wrong = this.#setup.wrong;
        if (wrong) {
            this.#tabs.show("setup");
            this.#setup.mark(wrong.name, wrong.reason);
            return;
        }
        const settings = this.#setup.read();
        this.#banner.clear();
        this.#cancelled = false;
        this.#recorded = settings.record === true;
        try {
            if (this.#setup.mode === "machine") this.#apply(await api.start("machine", settings));
            else await this.#startHere(settings);
        } catch (error) {
            this.#refused(error);
        }
        this.#show();
    }

    /** @param {api.Settings} settings */
    async #startHere(settings) {
        const missing = await whatIsMissing();
        if (missing) {
            this.#banner.show("sound", missing, { label: "Use the server’s machine", act: () => (this.#setup.mode = "machine") });
            return;
        }
        this.#asking = true;
        this.#show();
        const listener = {
            onUserLevel: (/** @type {number} */ db) => this.#heard(this.#muted ? SILENCE : db, null),
            onModelLevel: (/** @type {number} */ db) => this.#heard(null, db),
            onEnded: (/** @type {string | null} */ reason) => this.#ended(reason),
        };
        try {
            const call = await BrowserCall.start(listener, async () => {
                this.#asking = false;
                if (this.#cancelled) throw new Cancelled();
                this.#apply(await api.start("browser", settings));
            });
            if (this.#cancelled) call.close();
            else this.#call = call;
        } finally {
            this.#asking = false;
        }
    }

    /** @param {unknown} error */
    #refused(error) {
        if (error instanceof Cancelled) return;
        const text = error instanceof Error ? error.message : String(error);
        if (error instanceof MicrophoneError) {
            const action = { label: "Use the server’s machine", act: () => (this.#setup.mode = "machine") };
            this.#banner.show("sound", text, action);
        } else {
            this.#banner.show("start", text);
        }
        if (error instanceof api.ServerError && error.field) {
            this.#tabs.show("setup");
            this.#setup.mark(error.field, text);
        }
    }

    async #end() {
        this.#cancelled = true;
        this.#hang();
        try {
            this.#apply(await api.stop());
        } catch (error) {
            this.#refused(error);
        }
    }

    /** @param {string | null} reason */
    #ended(reason) {
        this.#call = null;
        if (reason && this.#there && this.#status?.state !== "failed") this.#banner.show("start", reason);
        this.#show();
    }

    #hang() {
        this.#call?.close();
        this.#call = null;
        this.#heard(SILENCE, SILENCE);
    }

    async #toggleMute() {
        const muted = !this.#muted;
        if (this.#call) {
            this.#call.mute(muted);
        } else {
            try {
                await api.mute(muted);
            } catch (error) {
                this.#refused(error);
                return;
            }
        }
        this.#muted = muted;
        this.#show();
    }

    /** @param {KeyboardEvent} event */
    #key(event) {
        const typing = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
        if (event.key !== "m" || event.ctrlKey || event.metaKey || event.altKey || typing || event.repeat) return;
        const button = element("mute", HTMLButtonElement);
        if (!button.hidden) button.click();
    }

    // ---- what is seen ----------------------------------------------------------------------------------------------

    /**
     * @param {number | null} user dBFS; null: as before
     * @param {number | null} model
     */
    #heard(user, model) {
        if (user !== null) {
            this.#meters.show("user", user);
            this.#circle.hear("user", user);
        }
        if (model !== null) {
            this.#meters.show("model", model);
            this.#circle.hear("model", model);
        }
    }

    #show() {
        const status = this.#status;
        const active = this.#there && status?.state === "listening";
        const loads = this.#there && (status?.state === "loading" || status?.state === "priming");
        this.#stage.show({ status, there: this.#there, asking: this.#asking, ours: this.#call !== null, muted: this.#muted });
        this.#circle.show({ active, muted: this.#muted, progress: loads ? (status.progress ?? 0.1) : null });
        this.#setup.running = !IDLE.includes(status?.state ?? "ready");
    }
}

/** The user ended the call before it had begun. */
class Cancelled extends Error {}

new Page();
