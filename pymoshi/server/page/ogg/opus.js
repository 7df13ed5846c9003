/** What a container has to know of an Opus packet: how long it is (RFC 6716, section 3.1). */

export const OPUS_RATE = 48000; // of every granule position, whatever was encoded

const SILK_MS = [10, 20, 40, 60];
const CELT_MS = [2.5, 5, 10, 20];

/**
 * @param {Uint8Array} packet
 * @returns {number} samples at 48 kHz; 0 for a packet that is none
 */
export function packetSamples(packet) {
    if (packet.length === 0) return 0;
    const config = packet[0] >> 3;
    let ms = CELT_MS[config & 3];
    if (config < 12) ms = SILK_MS[config & 3];
    else if (config < 16) ms = SILK_MS[config & 1];
    const code = packet[0] & 3;
    const frames = [1, 2, 2, packet.length > 1 ? packet[1] & 63 : 0][code];
    const samples = (ms * frames * OPUS_RATE) / 1000;
    return samples <= 0.12 * OPUS_RATE ? samples : 0; // no packet is longer than 120 ms
}
