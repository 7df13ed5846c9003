/**
 * Sound that comes in lumps and at its own pace, played evenly.
 *
 * The model's voice arrives 80 ms at a time. A little of it is kept back, so that a lump that comes late is not heard;
 * how little is learned from the lumps that did come too late. What waits for longer than needed is dropped: in a
 * conversation late is worse than a lost tenth of a second.
 */

const FADE = 0.005; // seconds: silence begins and ends without a click
const PATIENCE_STEP = 0.02; // added after every gap
const MOST_PATIENCE = 0.4;
const WATCHED = 2; // seconds of more in store than is needed, before some is dropped
const SPARE = 0.03; // more than needed that nobody minds

export class JitterBuffer {
    /** How often playing had to stop for want of sound. */
    underruns = 0;
    /** Samples that were dropped for coming too early. */
    dropped = 0;
    /** Seconds that the first sound after a silence waits: what later sound may come late by. */
    patience;
    #rate;
    #most;
    #fade;
    /** @type {Float32Array[]} */
    #chunks = [];
    #begin = 0; // in the first chunk
    #queued = 0;
    #playing = false;
    #waited = 0; // samples, since there was something to play
    #gain = 0;
    #last = 0; // the last sample played: what a gap fades away from
    #from = 0; // what sound fades in from: silence, or what was played before a jump
    #lowest = Infinity; // queued, since the last look
    #watched = 0;

    /**
     * @param {number} rate Hz
     * @param {{patience?: number, most?: number}} [seconds] most: what is ever kept
     */
    constructor(rate, { patience = 0.06, most = 2 } = {}) {
        this.#rate = rate;
        this.patience = patience;
        this.#most = most * rate;
        this.#fade = FADE * rate;
    }

    /** Samples that wait to be played. */
    get queued() {
        return this.#queued;
    }

    /** @param {Float32Array} chunk mono; it is not copied */
    push(chunk) {
        if (chunk.length === 0) return;
        this.#chunks.push(chunk);
        this.#queued += chunk.length;
        if (this.#queued > this.#most) this.#drop(this.#queued - this.patience * this.#rate);
    }

    /**
     * Fills `out` with what is played next, silence where there is nothing.
     * @param {Float32Array} out
     */
    pull(out) {
        this.#begins(out.length);
        this.#watch(out.length);
        for (let i = 0; i < out.length; i++) {
            if (this.#playing && this.#queued === 0) this.#runDry();
            if (this.#playing) {
                this.#last = this.#next();
                this.#gain = Math.min(1, this.#gain + 1 / this.#fade);
            } else {
                this.#gain = Math.max(0, this.#gain - 1 / this.#fade);
            }
            out[i] = this.#last * this.#gain + this.#from * (1 - this.#gain);
        }
    }

    /** @param {number} samples that are about to be played */
    #begins(samples) {
        if (this.#playing || this.#queued === 0) return;
        this.#playing = this.#waited >= this.patience * this.#rate;
        this.#waited += samples;
    }

    #runDry() {
        this.#playing = false;
        this.#waited = 0;
        this.#from = 0;
        this.underruns += 1;
        this.patience = Math.min(this.patience + PATIENCE_STEP, MOST_PATIENCE);
    }

    #next() {
        const sample = this.#chunks[0][this.#begin++];
        this.#queued -= 1;
        if (this.#begin === this.#chunks[0].length) {
            this.#chunks.shift();
            this.#begin = 0;
        }
        return sample;
    }

    /** @param {number} samples that are about to be played */
    #watch(samples) {
        if (!this.#playing) return;
        this.#lowest = Math.min(this.#lowest, this.#queued);
        this.#watched += samples;
        if (this.#watched < WATCHED * this.#rate) return;
        const surplus = this.#lowest - this.patience * this.#rate; // even at its lowest the store was fuller by so much
        if (surplus > SPARE * this.#rate) this.#drop(surplus);
        this.#lowest = Infinity;
        this.#watched = 0;
    }

    /** @param {number} samples the oldest ones */
    #drop(samples) {
        let left = Math.floor(Math.min(samples, this.#queued));
        this.dropped += left;
        this.#queued -= left;
        this.#from = this.#last * this.#gain;
        this.#gain = 0;
        while (left > 0) {
            const here = Math.min(left, this.#chunks[0].length - this.#begin);
            this.#begin += here;
            left -= here;
            if (this.#begin === this.#chunks[0].length) {
                this.#chunks.shift();
                this.#begin = 0;
            }
        }
    }
}
