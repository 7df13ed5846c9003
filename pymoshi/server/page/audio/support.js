/** What this browser lacks to be microphone and speaker of a conversation, in words for its owner. */

const ENCODER = { codec: "opus", sampleRate: 48000, numberOfChannels: 1, bitrate: 32000 };
const DECODER = { codec: "opus", sampleRate: 48000, numberOfChannels: 1 };

/** @returns {Promise<string | null>} null if nothing is missing */
export async function whatIsMissing() {
    if (!isSecureContext) {
        return (
            "Browsers give the microphone only to pages from this computer or over https. Open the page at localhost " +
            "(an SSH tunnel does it), or start the server with a certificate."
        );
    }
    if (!navigator.mediaDevices?.getUserMedia) return "This browser has no access to microphones.";
    if (typeof AudioWorkletNode === "undefined") return "This browser has no AudioWorklet.";
    if (typeof AudioEncoder === "undefined" || typeof AudioDecoder === "undefined") {
        return "This browser has no WebCodecs for sound: Chrome and Edge have it, Firefox from 130, Safari from 26.";
    }
    const [encoder, decoder] = await Promise.all([
        AudioEncoder.isConfigSupported(ENCODER).catch(() => null),
        AudioDecoder.isConfigSupported(DECODER).catch(() => null),
    ]);
    if (!encoder?.supported || !decoder?.supported) return "This browser's WebCodecs do not speak Opus.";
    return null;
}
