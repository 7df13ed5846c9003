// Snapshots of a session: all that decides how its conversation goes on.
#include "api/error.h"
#include "session/session.h"

namespace moshi {

namespace {

constexpr char kMagic[8] = {'M', 'O', 'S', 'H', 'I', 'S', 'N', 'P'};
constexpr uint32_t kVersion = 4;

struct Header {
    char magic[8];
    uint32_t version;
    uint32_t has_codec;
    uint64_t fingerprint; // of the model
    int32_t context, kv_type, window, n_steps;
    uint64_t seed;
    float temperature, text_temperature;
    int32_t top_k, text_top_k;
    int32_t forced_text;
    int32_t reserved; // zero
    int64_t position, encoded, decoded;
    uint64_t checksum; // of everything, itself taken as zero
};

// FNV-1a by 8-byte words: as quick as memory, and enough against a damaged disk.
uint64_t checksum(const void * data, size_t n, uint64_t hash = 0xcbf29ce484222325u) {
    const auto * p = static_cast<const uint8_t *>(data);
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        std::memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 32;
    }
    for (; n > 0; ++p, --n) {
        hash = (hash ^ *p) * 0x100000001b3u;
    }
    return hash;
}

uint64_t checksum(Header h, const uint8_t * payload, size_t n) {
    h.checksum = 0;
    return checksum(payload, n, checksum(&h, sizeof(h)));
}

template <typename T> void expect_equal(T found, T expected, const char * what) {
    if (found != expected) {
        fail(MOSHI_ERROR_STATE, "the snapshot was taken with %s %lld; this session has %lld", what, (long long) found,
             (long long) expected);
    }
}

} // namespace

size_t Session::snapshot_size() const {
    BlobWriter ring;
    ring_.save(ring);
    return sizeof(Header) + ring.data().size() + lm_.snapshot_bytes(lm_.position()) +
           (mimi_ ? mimi_->snapshot_bytes(mimi_->encoded(), mimi_->decoded()) : 0);
}

std::vector<uint8_t> Session::save() const {
    BlobWriter out;
    out.reserve(snapshot_size());
    out.value(Header{});
    ring_.save(out);
    lm_.save(out);
    if (mimi_) {
        mimi_->save(out);
    }
    std::vector<uint8_t> data = out.release();
    Header h{};
    std::memcpy(h.magic, kMagic, sizeof(kMagic));
    h.version = kVersion;
    h.has_codec = mimi_ ? 1 : 0;
    h.fingerprint = model_->fingerprint;
    h.context = lm_.params().context;
    h.kv_type = params_.kv_type;
    h.window = params_.window;
    h.n_steps = lm_.params().n_steps;
    h.seed = params_.seed;
    h.temperature = params_.temperature;
    h.text_temperature = params_.text_temperature;
    h.top_k = params_.top_k;
    h.text_top_k = params_.text_top_k;
    h.forced_text = forced_text_;
    h.position = lm_.position();
    h.encoded = mimi_ ? mimi_->encoded() : 0;
    h.decoded = mimi_ ? mimi_->decoded() : 0;
    h.checksum = checksum(h, data.data() + sizeof(Header), data.size() - sizeof(Header));
    std::memcpy(data.data(), &h, sizeof(h));
    return data;
}

void Session::restore(const void * data, size_t size) {
    BlobReader in(data, size);
    const Header h = in.value<Header>();
    if (std::memcmp(h.magic, kMagic, sizeof(kMagic)) != 0) {
        fail(MOSHI_ERROR_FORMAT, "not a snapshot of a session");
    }
    expect_equal<int64_t>(h.version, kVersion, "format version");
    if (h.fingerprint != model_->fingerprint) {
        fail(MOSHI_ERROR_STATE, "the snapshot belongs to another model (fingerprint %016llx; this one is %016llx)",
             (unsigned long long) h.fingerprint, (unsigned long long) model_->fingerprint);
    }
    expect_equal(h.context, lm_.params().context, "a context of");
    expect_equal<int32_t>(h.kv_type, params_.kv_type, "KV type");
    expect_equal<int32_t>(h.window, params_.window, "window");
    expect_equal<int64_t>(h.has_codec, mimi_ ? 1 : 0, "a codec:");
    // Everything is checked before anything changes: a damaged snapshot leaves the session as it was.
    TokenRing ring = ring_;
    if (checksum(h, static_cast<const uint8_t *>(data) + sizeof(Header), in.left()) != h.checksum) {
        fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged or truncated: its checksum does not match");
    }
    ring.restore(in);
    constexpr int64_t kMost = int64_t(1) << 40;
    if (h.position < 0 || h.encoded < 0 || h.decoded < 0 || h.position > kMost || h.encoded > kMost || h.decoded > kMost ||
        in.left() != lm_.snapshot_bytes(h.position) + (mimi_ ? mimi_->snapshot_bytes(h.encoded, h.decoded) : 0)) {
        fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged: %zu bytes of state do not fit its position %lld", in.left(),
             (long long) h.position);
    }
    if (!can_be_forced(h.forced_text)) {
        fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged: it forces the text token %d", h.forced_text);
    }
    BlobReader parts = in; // each repeats its position
    bool consistent = parts.value<int64_t>() == h.position;
    parts.take(lm_.snapshot_bytes(h.position) - sizeof(int64_t));
    consistent = consistent && (!mimi_ || (parts.value<int64_t>() == h.encoded && parts.value<int64_t>() == h.decoded));
    if (!consistent) {
        fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged: its parts are not of position %lld", (long long) h.position);
    }
    set_sampling({h.temperature, h.top_k}, {h.text_temperature, h.text_top_k});
    params_.seed = h.seed;
    forced_text_ = h.forced_text;
    ring_ = ring;
    lm_.restore(in);
    if (mimi_) {
        mimi_->restore(in);
    }
}

} // namespace moshi
