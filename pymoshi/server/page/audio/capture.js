/** Runs in the audio thread: the microphone in chunks of 20 ms at 48 kHz, each with its loudness. */

import { decibels } from "./level.js";
import { Resampler } from "./resampler.js";

const RATE = 48000;
const CHUNK = 960;

class Capture extends AudioWorkletProcessor {
    #resampler = new Resampler(sampleRate, RATE);
    #chunk = new Float32Array(CHUNK);
    #filled = 0;
    #muted = false;

    constructor() {
        super();
        this.port.onmessage = (event) => {
            this.#muted = event.data.muted;
        };
    }

    /** @param {Float32Array[][]} inputs */
    process(inputs) {
        const samples = inputs[0]?.[0] ?? new Float32Array(128); // no channel: the track is silent or gone
        let rest = this.#resampler.process(samples);
        while (rest.length > 0) {
            const taken = rest.subarray(0, CHUNK - this.#filled);
            this.#chunk.set(taken, this.#filled);
            this.#filled += taken.length;
            rest = rest.subarray(taken.length);
            if (this.#filled === CHUNK) this.#send();
        }
        return true;
    }

    #send() {
        if (this.#muted) this.#chunk.fill(0); // the conversation's clock is the microphone: it must go on
        const chunk = this.#chunk;
        this.port.postMessage({ chunk, level: decibels(chunk) }, [chunk.buffer]);
        this.#chunk = new Float32Array(CHUNK);
        this.#filled = 0;
    }
}

registerProcessor("capture", Capture);
