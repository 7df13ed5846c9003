/** This browser's microphone, as Opus packets. */

const RATE = 48000; // Opus's own; the server decodes to whatever it needs
const PACKET_US = 20000;

export class MicrophoneError extends Error {}

/** @typedef {{onPacket: (packet: Uint8Array) => void, onLevel: (db: number) => void, onLost: (reason: string) => void}} Listener */

/**
 * Asks for the microphone. It has to be called from a click.
 * @returns {Promise<MediaStream>}
 * @throws {MicrophoneError} there is none, or it is not given
 */
export async function askForMicrophone() {
    try {
        return await navigator.mediaDevices.getUserMedia({
            audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
        });
    } catch (error) {
        const name = error instanceof DOMException ? error.name : "";
        throw new MicrophoneError(REASONS[name] ?? `The microphone could not be opened: ${error}.`);
    }
}

/** @type {Record<string, string>} */
const REASONS = {
    NotAllowedError:
        "The browser did not give the microphone to this page. Allow it at the lock or camera sign beside the address, " +
        "then start again.",
    NotFoundError: "This browser sees no microphone. Plug one in, or use the one of the server's machine.",
    NotReadableError: "The microphone is there but could not be opened: another program may be using it.",
};

export class Microphone {
    #stream;
    #node;
    #source;
    #encoder;
    #time = 0; // µs
    #listener;

    /**
     * @param {AudioContext} context with the worklet `capture.js`
     * @param {MediaStream} stream
     * @param {Listener} listener
     * @throws {DOMException} NotSupportedError: this browser does not connect it to a context of another rate
     */
    constructor(context, stream, listener) {
        this.#stream = stream;
        this.#listener = listener;
        this.#source = context.createMediaStreamSource(stream); // first: it is what may fail
        this.#encoder = new AudioEncoder({
            output: (chunk) => this.#encoded(chunk),
            error: (error) => listener.onLost(`Encoding the microphone failed: ${error.message}.`),
        });
        this.#encoder.configure(/** @type {AudioEncoderConfig} */ ({
            codec: "opus",
            sampleRate: RATE,
            numberOfChannels: 1,
            bitrate: 32000,
            opus: { application: "voip", frameDuration: PACKET_US },
        }));
        this.#node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
        this.#node.port.onmessage = (event) => this.#captured(event.data.chunk, event.data.level);
        this.#source.connect(this.#node);
        for (const track of stream.getTracks()) track.onended = () => listener.onLost("The microphone went away.");
    }

    /** @param {boolean} muted the model hears silence */
    mute(muted) {
        this.#node.port.postMessage({ muted });
    }

    close() {
        this.#node.port.onmessage = null;
        this.#source.disconnect();
        for (const track of this.#stream.getTracks()) {
            track.onended = null;
            track.stop();
        }
        if (this.#encoder.state !== "closed") this.#encoder.close();
    }

    /**
     * @param {Float32Array<ArrayBuffer>} chunk
     * @param {number} level
     */
    #captured(chunk, level) {
        this.#listener.onLevel(level);
        if (this.#encoder.state !== "configured") return;
        const timestamp = this.#time;
        this.#time += (chunk.length * 1e6) / RATE;
        const data = new AudioData({
            format: "f32-planar",
            sampleRate: RATE,
            numberOfFrames: chunk.length,
            numberOfChannels: 1,
            timestamp,
            data: chunk,
        });
        this.#encoder.encode(data);
        data.close();
    }

    /** @param {EncodedAudioChunk} chunk */
    #encoded(chunk) {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        this.#listener.onPacket(packet);
    }
}
