/** Loudness, as the engine's own meters count it. */

export const SILENCE_DB = -120;

/**
 * @param {Float32Array} samples
 * @returns {number} RMS in dB of full scale
 */
export function decibels(samples) {
    let power = 0;
    for (const sample of samples) power += sample * sample;
    power /= Math.max(samples.length, 1);
    return power > 0 ? Math.max(10 * Math.log10(power), SILENCE_DB) : SILENCE_DB;
}
