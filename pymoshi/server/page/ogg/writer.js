/** Opus packets in, an Ogg stream out: one packet a page, so that nothing waits for a page to fill (RFC 7845). */

import { pageChecksum } from "./crc.js";
import { OPUS_RATE, packetSamples } from "./opus.js";

const FIRST_PAGE = 2;
const LAST_PAGE = 4;
const SEGMENT = 255; // a packet is cut into segments of this size; a shorter one, maybe empty, ends it
const LONGEST_PACKET = SEGMENT * SEGMENT - 1; // what one page holds

export class OggOpusWriter {
    #serial;
    #preSkip;
    #page = 0;
    #samples = 0;

    /**
     * @param {{serial?: number, preSkip?: number}} [options] preSkip: samples at 48 kHz that the encoder puts in front
     */
    constructor({ serial = 1, preSkip = 312 } = {}) {
        this.#serial = serial;
        this.#preSkip = preSkip;
    }

    /** @returns {Uint8Array} the two pages that every stream begins with */
    headers() {
        const head = new Uint8Array(19);
        const view = new DataView(head.buffer);
        head.set(ascii("OpusHead"));
        head[8] = 1; // version
        head[9] = 1; // channel
        view.setUint16(10, this.#preSkip, true);
        view.setUint32(12, OPUS_RATE, true);
        const vendor = ascii("pymoshi");
        const tags = new Uint8Array(8 + 4 + vendor.length + 4);
        tags.set(ascii("OpusTags"));
        new DataView(tags.buffer).setUint32(8, vendor.length, true);
        tags.set(vendor, 12);
        return joined([this.#paged(head, FIRST_PAGE), this.#paged(tags, 0)]);
    }

    /**
     * @param {Uint8Array} bytes one Opus packet
     * @returns {Uint8Array} its page
     */
    packet(bytes) {
        this.#samples += packetSamples(bytes);
        return this.#paged(bytes, 0);
    }

    /** @returns {Uint8Array} a page without a packet that says: this was all */
    end() {
        return this.#paged(null, LAST_PAGE);
    }

    /**
     * @param {Uint8Array | null} packet
     * @param {number} flags
     */
    #paged(packet, flags) {
        const size = packet ? packet.length : 0;
        if (size > LONGEST_PACKET) throw new RangeError(`an Opus packet of ${size} bytes does not fit a page`);
        const segments = packet ? Math.floor(size / SEGMENT) + 1 : 0;
        const page = new Uint8Array(27 + segments + size);
        const view = new DataView(page.buffer);
        page.set(ascii("OggS"));
        page[5] = flags;
        view.setBigUint64(6, BigInt(this.#samples), true);
        view.setUint32(14, this.#serial, true);
        view.setUint32(18, this.#page++, true);
        page[26] = segments;
        if (packet) {
            page.fill(SEGMENT, 27, 27 + segments - 1);
            page[27 + segments - 1] = size % SEGMENT;
            page.set(packet, 27 + segments);
        }
        view.setUint32(22, pageChecksum(page), true);
        return page;
    }
}

/** @param {string} text */
function ascii(text) {
    return new TextEncoder().encode(text);
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
    const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
        whole.set(part, at);
        at += part.length;
    }
    return whole;
}
