/** The server's HTTP interface. */

/**
 * @typedef {"ready" | "loading" | "priming" | "listening" | "stopping" | "failed"} State
 * @typedef {Record<string, string | number | boolean | null | undefined>} Settings
 * @typedef {object} Status
 * @property {number} [revision] grows with every change of the rest, until the server ends
 * @property {State} state
 * @property {number | null} progress 0 to 1
 * @property {string} detail
 * @property {string} model
 * @property {string | null} reason why it failed
 * @property {number | null} call_seconds
 * @property {"machine" | "browser" | "client" | null} mode
 * @property {Settings} settings what is used where nothing is asked for
 * @property {boolean} [muted]
 * @property {boolean} [recording]
 * @typedef {{name: string, title: string, installed: boolean, size_bytes: number | null, realtime: boolean | null, personas?: boolean}} Model
 * @typedef {{name: string, title: string, preview: string | null}} Voice
 * @typedef {{name: string, title: string, prompt: string, voice?: string | null}} Persona
 * @typedef {{name: string, index: number, default: boolean}} Device
 */

/** What the server answered instead, in words for a person. */
export class ServerError extends Error {
    /**
     * @param {string} message
     * @param {number} status 0 if there was no answer
     * @param {string | null} field the setting that is wrong
     */
    constructor(message, status, field = null) {
        super(message);
        this.status = status;
        this.field = field;
    }
}

/** @returns {Promise<Status>} */
export const fetchStatus = () => request("GET", "/status");

/** @returns {Promise<Model[]>} */
export const fetchModels = () => request("GET", "/api/models");

/**
 * @param {string} model
 * @returns {Promise<Voice[]>}
 */
export const fetchVoices = (model) => request("GET", `/api/voices?model=${encodeURIComponent(model)}`);

/** @returns {Promise<Persona[]>} */
export const fetchPersonas = () => request("GET", "/api/personas");

/** @returns {Promise<{inputs: Device[], outputs: Device[]}>} */
export const fetchDevices = () => request("GET", "/api/devices");

/**
 * @param {"machine" | "browser"} mode
 * @param {Settings} settings
 * @returns {Promise<Status>}
 */
export const start = (mode, settings) => request("POST", "/start", { mode, ...settings });

/** @returns {Promise<Status>} */
export const stop = () => request("POST", "/stop", {});

/** @param {boolean} muted */
export const mute = (muted) => request("POST", "/mute", { muted });

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 */
async function request(method, path, body) {
    let response;
    try {
        response = await fetch(path, {
            method,
            headers: body ? { "Content-Type": "application/json" } : {},
            body: body ? JSON.stringify(body) : undefined,
            cache: "no-store",
        });
    } catch {
        throw new ServerError("The server does not answer. Is `pymoshi serve` still running?", 0);
    }
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    throw refusal(response.status, answer);
}

/**
 * @param {number} status
 * @param {any} answer
 */
function refusal(status, answer) {
    if (status === 401) {
        return new ServerError(
            "The server wants its token. Open this page at the address that `pymoshi serve` printed when it started.",
            status,
        );
    }
    const reason = answer?.reason ?? answer?.detail;
    const text = typeof reason === "string" ? reason : `The server answered with status ${status}.`;
    const field = status === 422 ? (/^(\w+): /.exec(text)?.[1] ?? null) : null; // "top_k: must be at least 0"
    return new ServerError(text, status, field);
}
