/** The WebSocket /ws: what happens on the server, as it happens. It is opened again whenever it is lost. */

const FIRST_RETRY = 500; // ms
const LAST_RETRY = 5000;
const SILENT = 6000; // ms without a heartbeat, of which there is one a second
const GRACE = 1000; // ms: on a machine that stood still, what has arrived is read first

/** @typedef {{onEvent: (event: any) => void, onLost: () => void, onFound: () => void}} Listener */

export class Feed {
    #listener;
    #retry = FIRST_RETRY;
    #there = false;
    /** @type {WebSocket | null} */
    #socket = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #silence;

    /** @param {Listener} listener */
    constructor(listener) {
        this.#listener = listener;
        this.#connect();
        addEventListener("online", () => this.#hurry());
        document.addEventListener("visibilitychange", () => this.#hurry());
    }

    #connect() {
        const url = new URL("/ws", location.href);
        url.protocol = url.protocol.replace("http", "ws");
        const socket = new WebSocket(url);
        this.#socket = socket;
        socket.onopen = () => {
            this.#there = true;
            this.#retry = FIRST_RETRY;
            this.#heard();
            this.#listener.onFound();
        };
        socket.onmessage = (message) => {
            this.#heard();
            const event = parsed(message.data);
            if (event) this.#listener.onEvent(event);
        };
        socket.onclose = () => this.#lost();
    }

    #heard() {
        clearTimeout(this.#silence);
        // A connection that died without saying so is closed, and opened again.
        this.#silence = setTimeout(() => {
            this.#silence = setTimeout(() => this.#drop(), GRACE);
        }, SILENT);
    }

    #drop() {
        const socket = this.#socket;
        if (!socket) return;
        socket.onclose = socket.onmessage = null;
        socket.close();
        this.#lost();
    }

    #lost() {
        clearTimeout(this.#silence);
        this.#socket = null;
        if (this.#there) this.#listener.onLost();
        this.#there = false;
        setTimeout(() => this.#hurry(), this.#retry);
        this.#retry = Math.min(this.#retry * 1.6, LAST_RETRY);
    }

    #hurry() {
        if (!this.#socket && document.visibilityState === "visible") this.#connect();
    }
}

/** @param {unknown} data */
function parsed(data) {
    try {
        const event = JSON.parse(String(data));
        return typeof event?.type === "string" ? event : null;
    } catch {
        return null;
    }
}
