/** The page's Ogg code against a stream that sphn wrote, the library that servers and clients of this protocol use. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { packetSamples } from "../../pymoshi/server/page/ogg/opus.js";
import { OggOpusReader } from "../../pymoshi/server/page/ogg/reader.js";
import { OggOpusWriter } from "../../pymoshi/server/page/ogg/writer.js";

// 0.8 s of a tone at 440 Hz: OpusStreamWriter(24000), ten frames of 1920 samples.
const SPHN = new Uint8Array(readFileSync(new URL("fixtures/sphn-tone.opus", import.meta.url)));
const PACKETS = 20; // of 40 ms

/** @param {Uint8Array} bytes */
function read(bytes, size = bytes.length) {
    const reader = new OggOpusReader();
    const packets = [];
    for (let at = 0; at < bytes.length; at += size) packets.push(...reader.push(bytes.subarray(at, at + size)));
    return { packets, skipped: reader.skipped };
}

/** @param {Uint8Array[]} packets */
function written(packets) {
    const writer = new OggOpusWriter();
    return Buffer.concat([writer.headers(), ...packets.map((packet) => writer.packet(packet))]);
}

test("a stream of sphn's is read packet by packet, without its headers", () => {
    const { packets, skipped } = read(SPHN);
    assert.equal(packets.length, PACKETS);
    assert.equal(skipped, 0);
    for (const packet of packets) assert.equal(packetSamples(packet), 1920);
});

for (const size of [1, 3, 26, 27, 28, 100]) {
    test(`cut into pieces of ${size} bytes it is the same stream`, () => {
        assert.deepEqual(read(SPHN, size).packets, read(SPHN).packets);
    });
}

test("what is written is read again, packets of every awkward size", () => {
    const sizes = [1, 254, 255, 256, 509, 510, 511, 1275, 7662];
    const packets = sizes.map((size) => new Uint8Array(size).fill(size & 0xff));
    for (const pieces of [1, 50, 100000]) {
        assert.deepEqual(read(written(packets), pieces).packets, packets);
    }
});

test("an unsuitable packet is refused, not written wrongly", () => {
    assert.throws(() => new OggOpusWriter().packet(new Uint8Array(70000)), RangeError);
});

test("pages are numbered and dated as sphn does it", () => {
    const ours = pages(written(read(SPHN).packets));
    const theirs = pages(SPHN);
    assert.deepEqual(ours.map((page) => page.number), theirs.map((page) => page.number));
    assert.deepEqual(ours.map((page) => page.granule), theirs.map((page) => page.granule));
    assert.deepEqual(ours.map((page) => page.flags), theirs.map((page) => page.flags));
});

test("a damaged page is left out and the rest is heard", () => {
    const { packets } = read(SPHN);
    const damaged = SPHN.slice();
    damaged[pages(SPHN)[5].begin + 40] ^= 0xff; // in the fourth packet: two pages are headers
    const heard = read(damaged);
    assert.deepEqual(heard.packets, packets.filter((_, i) => i !== 3));
    assert.ok(heard.skipped > 0);
});

test("garbage in front and between is passed over", () => {
    const middle = pages(SPHN)[10].begin;
    const garbage = new TextEncoder().encode("OggOggSS".repeat(40));
    const stream = Buffer.concat([garbage, SPHN.subarray(0, middle), garbage, SPHN.subarray(middle)]);
    for (const size of [1, 7, stream.length]) assert.deepEqual(read(stream, size).packets, read(SPHN).packets);
});

test("a packet that goes on over two pages is put together", () => {
    const packet = new Uint8Array(600).map((_, i) => i & 0xff);
    const page = written([packet]).subarray(written([]).length);
    const first = resealed(Buffer.concat([page.subarray(0, 26), Buffer.from([2, 255, 255]), packet.subarray(0, 510)]));
    const second = Buffer.concat([page.subarray(0, 26), Buffer.from([1, 90]), packet.subarray(510)]);
    second[5] = 1; // continued
    assert.deepEqual(read(Buffer.concat([first, resealed(second)])).packets, [packet]);
    assert.deepEqual(read(resealed(second)).packets, [], "half a packet is none");
});

test("no input makes the reader keep more than a page", () => {
    const reader = new OggOpusReader();
    for (let i = 0; i < 200; i++) reader.push(new Uint8Array(1000).fill(i));
    assert.equal(reader.skipped, 200000);
});

test("Opus packets tell how long they are", () => {
    const config = (/** @type {number} */ number, code = 0) => (number << 3) | code;
    assert.equal(packetSamples(Uint8Array.of(config(0))), 480); // SILK, 10 ms
    assert.equal(packetSamples(Uint8Array.of(config(3))), 2880); // SILK, 60 ms
    assert.equal(packetSamples(Uint8Array.of(config(13))), 960); // hybrid, 20 ms
    assert.equal(packetSamples(Uint8Array.of(config(16))), 120); // CELT, 2.5 ms
    assert.equal(packetSamples(Uint8Array.of(config(31, 1))), 1920); // two of 20 ms
    assert.equal(packetSamples(Uint8Array.of(config(31, 3), 3)), 2880); // as many as the next byte says
    assert.equal(packetSamples(Uint8Array.of(config(31, 3), 63)), 0); // more than 120 ms: none
    assert.equal(packetSamples(new Uint8Array(0)), 0);
});

/** @param {Uint8Array} bytes */
function pages(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const found = [];
    for (let at = 0; at < bytes.length; ) {
        let size = 27 + bytes[at + 26];
        for (let i = 0; i < bytes[at + 26]; i++) size += bytes[at + 27 + i];
        found.push({
            begin: at,
            flags: bytes[at + 5],
            granule: view.getBigUint64(at + 6, true),
            number: view.getUint32(at + 18, true),
        });
        at += size;
    }
    return found;
}

/**
 * The page with its checksum as it should be, worked out bit by bit.
 * @param {Buffer} page
 */
function resealed(page) {
    page.writeUInt32LE(0, 22);
    let crc = 0;
    for (const byte of page) {
        for (let bit = 7; bit >= 0; bit--) {
            const top = crc >>> 31 !== (byte >> bit) % 2;
            crc = ((crc << 1) ^ (top ? 0x04c11db7 : 0)) >>> 0;
        }
    }
    page.writeUInt32LE(crc, 22);
    return page;
}
