/** The page's own signal processing, in numbers. */

import assert from "node:assert/strict";
import test from "node:test";

import { JitterBuffer } from "../../pymoshi/server/page/audio/jitter.js";
import { decibels } from "../../pymoshi/server/page/audio/level.js";
import { Resampler } from "../../pymoshi/server/page/audio/resampler.js";

const RATE = 48000;
const LUMP = 3840; // 80 ms

/** @param {number} samples */
function tone(samples, rate = RATE, frequency = 440, amplitude = 0.5) {
    return Float32Array.from({ length: samples }, (_, i) => amplitude * Math.sin((2 * Math.PI * frequency * i) / rate));
}

/**
 * @param {JitterBuffer} buffer
 * @param {number} samples a multiple of 128
 */
function played(buffer, samples) {
    const out = new Float32Array(samples);
    for (let at = 0; at < samples; at += 128) buffer.pull(out.subarray(at, at + 128));
    return out;
}

test("the first sound waits a little, for later sound to come late by", () => {
    const buffer = new JitterBuffer(RATE, { patience: 0.06 });
    buffer.push(tone(LUMP));
    assert.equal(Math.max(...played(buffer, 2816)), 0); // 59 ms
    assert.ok(Math.max(...played(buffer, 1280)) > 0.4);
});

test("lumps that come in time are played without a gap, sample by sample", () => {
    const signal = tone(30 * LUMP);
    const buffer = new JitterBuffer(RATE);
    const heard = [];
    for (let at = 0; at < signal.length; at += LUMP) {
        buffer.push(signal.slice(at, at + LUMP));
        heard.push(...played(buffer, LUMP));
    }
    const lead = heard.findIndex((value) => value !== 0);
    const begin = Math.round(lead / 128) * 128;
    for (let i = 512; i < heard.length - begin; i++) assert.ok(Math.abs(heard[begin + i] - signal[i]) < 1e-6, `${i}`);
    assert.equal(buffer.underruns, 0);
});

test("a gap is counted, fades without a click, and teaches patience", () => {
    const buffer = new JitterBuffer(RATE);
    const before = buffer.patience;
    buffer.push(tone(2 * LUMP));
    const heard = played(buffer, 4 * LUMP);
    assert.equal(buffer.underruns, 1);
    assert.ok(buffer.patience > before);
    assert.equal(heard.at(-1), 0);
    const steps = heard.slice(1).map((value, i) => Math.abs(value - heard[i]));
    assert.ok(Math.max(...steps) < 0.05, `${Math.max(...steps)}`);
});

test("what waits too long is dropped", () => {
    const buffer = new JitterBuffer(RATE);
    buffer.push(tone(5 * LUMP)); // 400 ms ahead of time
    for (let i = 0; i < 50; i++) {
        buffer.push(tone(LUMP));
        played(buffer, LUMP);
    }
    assert.ok(buffer.queued <= buffer.patience * RATE + LUMP, `${buffer.queued}`);
    assert.equal(buffer.underruns, 0);
});

test("a flood never makes the voice come later than two seconds", () => {
    const buffer = new JitterBuffer(RATE);
    for (let i = 0; i < 1000; i++) buffer.push(tone(LUMP));
    assert.ok(buffer.queued <= 2 * RATE);
});

for (const [from, to] of [[44100, 48000], [48000, 44100], [48000, 16000], [16000, 48000]]) {
    test(`a tone keeps its pitch and loudness from ${from} to ${to} Hz`, () => {
        const resampler = new Resampler(from, to);
        const input = tone(from, from);
        const output = [];
        for (let at = 0; at < input.length; at += 128) output.push(...resampler.process(input.subarray(at, at + 128)));
        assert.ok(Math.abs(output.length - to) < to / 100, `${output.length}`);
        const middle = output.slice(to / 4, (3 * to) / 4);
        const wanted = fit(middle, to, 440);
        assert.ok(Math.abs(wanted.amplitude - 0.5) < 0.002, `${wanted.amplitude}`);
        assert.ok(wanted.rest < 0.002, `${wanted.rest}`);
    });
}

test("equal rates pass samples on as they are", () => {
    const input = tone(128);
    assert.deepEqual(new Resampler(RATE, RATE).process(input), input);
});

test("loudness is RMS in decibels of full scale", () => {
    assert.equal(decibels(new Float32Array(100)), -120);
    assert.ok(Math.abs(decibels(tone(RATE, RATE, 440, 1)) + 3.01) < 0.01);
});

/**
 * The sine of that frequency in `samples`, and the RMS of what else there is.
 * @param {number[]} samples
 * @param {number} rate
 * @param {number} frequency
 */
function fit(samples, rate, frequency) {
    let sine = 0;
    let cosine = 0;
    const phase = (/** @type {number} */ i) => (2 * Math.PI * frequency * i) / rate;
    samples.forEach((value, i) => {
        sine += (2 * value * Math.sin(phase(i))) / samples.length;
        cosine += (2 * value * Math.cos(phase(i))) / samples.length;
    });
    const power = samples.reduce((sum, value, i) => {
        return sum + (value - sine * Math.sin(phase(i)) - cosine * Math.cos(phase(i))) ** 2;
    }, 0);
    return { amplitude: Math.hypot(sine, cosine), rest: Math.sqrt(power / samples.length) };
}
