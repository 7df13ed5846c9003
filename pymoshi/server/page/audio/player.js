/** Runs in the audio thread: plays what the main thread sends, through the jitter buffer, and says how loud it is. */

import { JitterBuffer } from "./jitter.js";
import { decibels } from "./level.js";
import { Resampler } from "./resampler.js";

const RATE = 48000; // what Opus decodes to
const REPORT = 0.08; // seconds

class Player extends AudioWorkletProcessor {
    #buffer = new JitterBuffer(sampleRate);
    #resampler = new Resampler(RATE, sampleRate);
    #played = new Float32Array(Math.round((REPORT * sampleRate) / 128) * 128);
    #filled = 0;

    constructor() {
        super();
        this.port.onmessage = (event) => this.#buffer.push(this.#resampler.process(event.data));
    }

    /**
     * @param {Float32Array[][]} _inputs
     * @param {Float32Array[][]} outputs
     */
    process(_inputs, outputs) {
        const [first, ...others] = outputs[0];
        this.#buffer.pull(first);
        for (const channel of others) channel.set(first);
        this.#played.set(first, this.#filled);
        this.#filled += first.length;
        if (this.#filled + first.length > this.#played.length) this.#report();
        return true;
    }

    #report() {
        this.port.postMessage({
            level: decibels(this.#played.subarray(0, this.#filled)),
            queuedMs: (this.#buffer.queued * 1000) / sampleRate,
            underruns: this.#buffer.underruns,
        });
        this.#filled = 0;
    }
}

registerProcessor("player", Player);
