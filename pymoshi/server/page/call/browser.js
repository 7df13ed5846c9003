/** A conversation whose microphone and speaker are this browser's. */

import { Microphone, askForMicrophone } from "../audio/microphone.js";
import { Speaker } from "../audio/speaker.js";
import { Chat } from "./chat.js";

/**
 * @typedef {object} Listener
 * @property {(db: number) => void} onUserLevel
 * @property {(db: number) => void} onModelLevel
 * @property {(reason: string | null) => void} onEnded not after `close`; null if it ended in good order
 */

export class BrowserCall {
    #context;
    #listener;
    #open = true;
    /** @type {Microphone | null} */
    #microphone = null;
    /** @type {Speaker | null} */
    #speaker = null;
    /** @type {Chat | null} */
    #chat = null;

    /**
     * @param {AudioContext} context
     * @param {Listener} listener
     */
    constructor(context, listener) {
        this.#context = context;
        this.#listener = listener;
    }

    /**
     * Opens the microphone, then has `prepare` ask the server to get ready, then connects. From a click.
     * @param {Listener} listener
     * @param {() => Promise<void>} prepare
     * @throws {import("../audio/microphone.js").MicrophoneError}
     */
    static async start(listener, prepare) {
        const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
        const call = new BrowserCall(context, listener);
        const stream = await askForMicrophone().catch((error) => {
            call.close();
            throw error;
        });
        try {
            await Promise.all([call.#prepareSound(stream), prepare()]);
            call.#connect();
            return call;
        } catch (error) {
            for (const track of stream.getTracks()) track.stop();
            call.close();
            throw error;
        }
    }

    /** @param {boolean} muted */
    mute(muted) {
        this.#microphone?.mute(muted);
    }

    close() {
        this.#open = false;
        this.#chat?.close();
        this.#microphone?.close();
        this.#speaker?.close();
        if (this.#context.state !== "closed") void this.#context.close();
    }

    /** @param {MediaStream} stream */
    async #prepareSound(stream) {
        try {
            await this.#openSound(stream);
        } catch (error) {
            // A browser that connects a microphone only to a context of the microphone's own rate.
            if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
            this.#speaker?.close();
            await this.#context.close();
            this.#context = new AudioContext({ latencyHint: "interactive" });
            await this.#openSound(stream);
        }
    }

    /** @param {MediaStream} stream */
    async #openSound(stream) {
        const worklet = this.#context.audioWorklet;
        await Promise.all([
            worklet.addModule(new URL("../audio/capture.js", import.meta.url)),
            worklet.addModule(new URL("../audio/player.js", import.meta.url)),
        ]);
        this.#speaker = new Speaker(this.#context, {
            onLevel: (db) => this.#listener.onModelLevel(db),
            onLost: (reason) => this.#end(reason),
        });
        this.#microphone = new Microphone(this.#context, stream, {
            onPacket: (packet) => this.#chat?.send(packet),
            onLevel: (db) => this.#listener.onUserLevel(db),
            onLost: (reason) => this.#end(reason),
        });
        await this.#context.resume();
    }

    #connect() {
        this.#chat = new Chat({
            onReady: () => {},
            onPacket: (packet) => this.#speaker?.play(packet),
            onClosed: (reason) => this.#end(reason),
        });
    }

    /** @param {string | null} reason */
    #end(reason) {
        if (!this.#open) return;
        this.close();
        this.#listener.onEnded(reason);
    }
}
