/**
 * A change of the sampling rate, for browsers that open the sound card only at its own: windowed sinc, block by block.
 * Between equal rates it passes everything on untouched.
 */

const HALF_WIDTH = 16; // zero crossings on each side: some 80 dB

export class Resampler {
    #step; // input samples per output sample
    #cutoff;
    #half; // taps on each side
    /** @type {Float32Array} */
    #kept;
    #position; // of the next output sample, in #kept

    /**
     * @param {number} from Hz
     * @param {number} to Hz
     */
    constructor(from, to) {
        this.#step = from / to;
        this.#cutoff = Math.min(1, to / from) * 0.95;
        this.#half = this.#step === 1 ? 0 : Math.ceil(HALF_WIDTH / this.#cutoff);
        this.#kept = new Float32Array(this.#half);
        this.#position = this.#half;
    }

    /**
     * @param {Float32Array} input
     * @returns {Float32Array} what can be known by now; the filter's delay is some milliseconds
     */
    process(input) {
        if (this.#step === 1) return input;
        const data = new Float32Array(this.#kept.length + input.length);
        data.set(this.#kept);
        data.set(input, this.#kept.length);
        const count = Math.max(0, Math.ceil((data.length - this.#half - this.#position) / this.#step));
        const out = new Float32Array(count);
        for (let i = 0; i < count; i++) out[i] = this.#at(data, this.#position + i * this.#step);
        const next = this.#position + count * this.#step;
        const unneeded = Math.max(0, Math.floor(next) - this.#half);
        this.#kept = data.slice(unneeded);
        this.#position = next - unneeded;
        return out;
    }

    /**
     * @param {Float32Array} data
     * @param {number} position
     */
    #at(data, position) {
        const centre = Math.floor(position);
        let sum = 0;
        for (let i = centre - this.#half + 1; i <= centre + this.#half; i++) {
            const value = data[i];
            if (value) sum += value * this.#kernel(position - i);
        }
        return sum;
    }

    /** @param {number} x samples from the middle */
    #kernel(x) {
        const window = Math.abs(x) < this.#half ? Math.cos((Math.PI * x) / (2 * this.#half)) ** 2 : 0;
        const phase = Math.PI * this.#cutoff * x;
        return window * this.#cutoff * (Math.abs(phase) < 1e-9 ? 1 : Math.sin(phase) / phase);
    }
}
