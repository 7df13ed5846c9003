/** The WebSocket /api/chat: binary messages whose first byte says what they are. */

import { OggOpusReader } from "../ogg/reader.js";
import { OggOpusWriter } from "../ogg/writer.js";

const HANDSHAKE = 0;
const AUDIO = 1;
const ERROR = 5;
const MOST_UNSENT = 1 << 16; // bytes, some 16 s of speech: more means that the connection does not keep up

/** @typedef {{onReady: () => void, onPacket: (packet: Uint8Array) => void, onClosed: (reason: string | null) => void}} Listener */

export class Chat {
    #socket;
    #reader = new OggOpusReader();
    #writer = new OggOpusWriter();
    #ready = false;
    /** @type {string | null} */
    #reason = null;

    /** @param {Listener} listener */
    constructor(listener) {
        const url = new URL("/api/chat", location.href);
        url.protocol = url.protocol.replace("http", "ws");
        this.#socket = new WebSocket(url);
        this.#socket.binaryType = "arraybuffer";
        this.#socket.onmessage = (event) => this.#received(event.data, listener);
        this.#socket.onclose = (event) => listener.onClosed(this.#reason ?? closeReason(event, this.#ready));
    }

    /** @param {Uint8Array} packet of Opus; nothing is sent before the server is ready */
    send(packet) {
        if (!this.#ready || this.#socket.readyState !== WebSocket.OPEN) return;
        if (this.#socket.bufferedAmount > MOST_UNSENT) return;
        this.#sendAudio(this.#writer.packet(packet));
    }

    close() {
        this.#socket.onmessage = null;
        this.#socket.onclose = null;
        this.#socket.close();
    }

    /**
     * @param {unknown} data
     * @param {Listener} listener
     */
    #received(data, listener) {
        if (!(data instanceof ArrayBuffer) || data.byteLength === 0) return;
        const message = new Uint8Array(data);
        switch (message[0]) {
            case HANDSHAKE:
                if (this.#ready) break;
                this.#ready = true;
                this.#sendAudio(this.#writer.headers());
                listener.onReady();
                break;
            case AUDIO:
                for (const packet of this.#reader.push(message.subarray(1))) listener.onPacket(packet);
                break;
            case ERROR:
                this.#reason = new TextDecoder().decode(message.subarray(1));
                break;
            default: // text comes with its time over /ws; other kinds are none of ours
        }
    }

    /** @param {Uint8Array} pages */
    #sendAudio(pages) {
        const message = new Uint8Array(1 + pages.length);
        message[0] = AUDIO;
        message.set(pages, 1);
        this.#socket.send(message);
    }
}

/**
 * @param {CloseEvent} event
 * @param {boolean} wasReady
 * @returns {string | null} null for an end in good order
 */
function closeReason(event, wasReady) {
    if (event.reason) return event.reason;
    if (event.code === 1000 || event.code === 1001) return null;
    return wasReady ? "The connection to the server was lost." : "The server did not take the conversation.";
}
