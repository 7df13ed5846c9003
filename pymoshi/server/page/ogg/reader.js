/** An Ogg stream in, however it was cut, Opus packets out. What is damaged is left out, and the stream goes on. */

import { pageChecksum } from "./crc.js";

const HEADER = 27;
const MAGIC = Uint8Array.of(0x4f, 0x67, 0x67, 0x53, 0); // "OggS", and the only version there is
const CONTINUED = 1;
const HEADER_PACKETS = ["OpusHead", "OpusTags"];

export class OggOpusReader {
    /** Bytes that belonged to no page, or to a damaged one. */
    skipped = 0;
    /** @type {Uint8Array} what no whole page was seen of yet; never more than one page */
    #rest = new Uint8Array(0);
    /** @type {Uint8Array[]} the beginning of a packet that the next page ends */
    #open = [];

    /**
     * @param {Uint8Array} bytes the next ones
     * @returns {Uint8Array[]} the Opus packets that they complete; headers are not among them
     */
    push(bytes) {
        const data = new Uint8Array(this.#rest.length + bytes.length);
        data.set(this.#rest);
        data.set(bytes, this.#rest.length);
        /** @type {Uint8Array[]} */
        const packets = [];
        let at = 0;
        while (at < data.length) {
            const begin = pageBegin(data, at);
            this.skipped += begin - at;
            at = begin;
            const size = pageSize(data, at);
            if (size === null || at + size > data.length) break;
            const page = data.slice(at, at + size);
            if (isSound(page)) {
                this.#take(page, packets);
                at += size;
            } else {
                this.#open = [];
                this.skipped += 1;
                at += 1; // its beginning by chance, or a damaged page: the next one is looked for
            }
        }
        this.#rest = data.slice(at);
        return packets.filter((packet) => !HEADER_PACKETS.includes(firstLetters(packet)));
    }

    /**
     * @param {Uint8Array} page
     * @param {Uint8Array[]} packets
     */
    #take(page, packets) {
        const segments = page.subarray(HEADER, HEADER + page[26]);
        const continues = (page[5] & CONTINUED) !== 0;
        let lost = continues && this.#open.length === 0; // a packet whose beginning was never seen
        if (!continues) this.#open = [];
        let begin = HEADER + segments.length;
        let at = begin;
        for (const size of segments) {
            at += size;
            if (size === 255) continue;
            if (!lost) packets.push(whole([...this.#open, page.subarray(begin, at)]));
            this.#open = [];
            lost = false;
            begin = at;
        }
        if (begin < at && !lost) this.#open.push(page.slice(begin, at));
    }
}

/**
 * Where the next page may begin.
 * @param {Uint8Array} data
 * @param {number} from
 */
function pageBegin(data, from) {
    for (let at = from; at < data.length; at++) {
        if (data.subarray(at, at + MAGIC.length).every((byte, i) => byte === MAGIC[i])) return at;
    }
    return data.length;
}

/**
 * @param {Uint8Array} data
 * @param {number} at where a page begins
 * @returns {number | null} null if that cannot be known yet
 */
function pageSize(data, at) {
    if (at + HEADER > data.length) return null;
    const segments = data[at + 26];
    if (at + HEADER + segments > data.length) return null;
    let size = HEADER + segments;
    for (let i = 0; i < segments; i++) size += data[at + HEADER + i];
    return size;
}

/** @param {Uint8Array} page */
function isSound(page) {
    const view = new DataView(page.buffer, page.byteOffset, page.length);
    const told = view.getUint32(22, true);
    view.setUint32(22, 0, true); // it is a copy of ours
    return pageChecksum(page) === told;
}

/** @param {Uint8Array[]} parts */
function whole(parts) {
    if (parts.length === 1) return parts[0].slice();
    const packet = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
        packet.set(part, at);
        at += part.length;
    }
    return packet;
}

/** @param {Uint8Array} packet */
function firstLetters(packet) {
    return String.fromCharCode(...packet.subarray(0, 8));
}
