/** The checksum of Ogg pages: CRC-32 with polynomial 04c11db7, neither reflected nor inverted, unlike zlib's. */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte << 24;
    for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1;
    return value >>> 0;
});

/**
 * @param {Uint8Array} bytes a whole page, its checksum field zero
 * @returns {number} unsigned, 32 bits
 */
export function pageChecksum(bytes) {
    let crc = 0;
    for (const byte of bytes) crc = ((crc << 8) ^ TABLE[(crc >>> 24) ^ byte]) >>> 0;
    return crc;
}
