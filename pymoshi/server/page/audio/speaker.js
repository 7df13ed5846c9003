/** This browser's speaker, fed with Opus packets. */

import { packetSamples } from "../ogg/opus.js";

const RATE = 48000;

/** @typedef {{onLevel: (db: number) => void, onLost: (reason: string) => void}} Listener */

export class Speaker {
    #node;
    #decoder;
    #samples = 0;

    /**
     * @param {AudioContext} context with the worklet `player.js`
     * @param {Listener} listener
     */
    constructor(context, listener) {
        this.#node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
        this.#node.port.onmessage = (event) => listener.onLevel(event.data.level);
        this.#node.connect(context.destination);
        this.#decoder = new AudioDecoder({
            output: (data) => this.#decoded(data),
            error: (error) => listener.onLost(`Decoding the model's voice failed: ${error.message}.`),
        });
        this.#decoder.configure({ codec: "opus", sampleRate: RATE, numberOfChannels: 1 });
    }

    /** @param {Uint8Array} packet */
    play(packet) {
        const samples = packetSamples(packet);
        if (samples === 0 || this.#decoder.state !== "configured") return;
        const timestamp = Math.round((this.#samples * 1e6) / RATE);
        this.#samples += samples;
        this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet }));
    }

    close() {
        this.#node.port.onmessage = null;
        this.#node.disconnect();
        if (this.#decoder.state !== "closed") this.#decoder.close();
    }

    /** @param {AudioData} data */
    #decoded(data) {
        const pcm = new Float32Array(data.numberOfFrames);
        data.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
        data.close();
        this.#node.port.postMessage(pcm, [pcm.buffer]);
    }
}
