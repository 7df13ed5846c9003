// Damage for model files: of their bytes, of their structure, and of the text lines that stand for metadata.
#pragma once

#include "tiny_model.h"

#include <limits>

namespace mutate {

using tiny::Random;

inline int64_t odd_integer(Random & r) {
    static const std::vector<int64_t> values = {0,
                                                1,
                                                2,
                                                3,
                                                4,
                                                5,
                                                7,
                                                8,
                                                15,
                                                16,
                                                17,
                                                31,
                                                32,
                                                33,
                                                63,
                                                64,
                                                65,
                                                127,
                                                128,
                                                255,
                                                256,
                                                257,
                                                1000,
                                                4096,
                                                8192,
                                                1 << 14,
                                                65535,
                                                65536,
                                                65537,
                                                1 << 20,
                                                (1 << 20) + 1,
                                                INT32_MAX,
                                                int64_t(INT32_MAX) + 1,
                                                UINT32_MAX,
                                                int64_t(1) << 40,
                                                INT64_MAX,
                                                -1,
                                                -2,
                                                INT32_MIN,
                                                INT64_MIN,
                                                INT64_MIN + 1};
    return r.one_in(8) ? static_cast<int64_t>(r.next()) : r.choice(values);
}

inline double odd_float(Random & r) {
    static const std::vector<double> values = {0.0,
                                               -0.0,
                                               1.0,
                                               -1.0,
                                               0.5,
                                               1e-30,
                                               1e-300,
                                               1e30,
                                               1e300,
                                               12.5,
                                               10000,
                                               3.4e38,
                                               std::numeric_limits<double>::quiet_NaN(),
                                               std::numeric_limits<double>::infinity(),
                                               -std::numeric_limits<double>::infinity()};
    return r.choice(values);
}

inline std::string odd_text(Random & r) {
    static const std::vector<std::string> values = {"",       "silu",        "rope", "none", "rms_norm", "rms_norm_f32", "layer_norm",
                                                    "moshi",  "personaplex", "stt",  "tts",  "hibiki",   "ELU",          "constant",
                                                    "%s%n%d", "\xff\xfe",    "4096", "nan",  "true"};
    return r.one_in(6) ? std::string(r.below(300), static_cast<char>(r.next())) : r.choice(values);
}

inline gguf::Key odd_value(Random & r, const std::string & name) {
    switch (r.below(7)) {
        case 0: return gguf::key<double>(name, gguf::kF64, odd_float(r));
        case 1: return gguf::key(name, odd_text(r));
        case 2: return gguf::key<uint8_t>(name, gguf::kBool, static_cast<uint8_t>(r.next()));
        case 3: {
            std::vector<int32_t> values(r.below(70));
            for (int32_t & v : values) {
                v = static_cast<int32_t>(r.one_in(3) ? odd_integer(r) : static_cast<int64_t>(r.below(4)));
            }
            return gguf::key(name, values);
        }
        case 4: return gguf::key<uint64_t>(name, gguf::kU64, static_cast<uint64_t>(odd_integer(r)));
        default: return gguf::key<int64_t>(name, gguf::kI64, odd_integer(r));
    }
}

inline void damage_tensor(Random & r, gguf::File & f) {
    gguf::Tensor & t = f.tensors[r.below(f.tensors.size())];
    switch (r.below(9)) {
        case 0: t.type = static_cast<uint32_t>(r.below(45)); break;
        case 1: t.ne[r.below(t.ne.size())] = static_cast<uint64_t>(odd_integer(r)); break;
        case 2: t.ne.resize(r.below(6), 1); break;
        case 3: t.name = r.choice(f.tensors).name; break;
        case 4: t.name += r.one_in(2) ? std::string(r.below(80), 'x') : odd_text(r); break;
        case 5: t.offset = odd_integer(r) & INT64_MAX; break;
        case 6: t.data.resize(r.below(t.data.size() + 64)); break;
        case 7: f.tensors.erase(f.tensors.begin() + (&t - f.tensors.data())); break;
        default: // numbers that are none
            for (size_t i = 0; i + 4 <= t.data.size(); i += 4) {
                const float v = static_cast<float>(odd_float(r));
                std::memcpy(t.data.data() + i, &v, 4);
            }
    }
}

inline void damage_structure(Random & r, gguf::File & f) {
    if (!f.tensors.empty() && r.one_in(2)) {
        damage_tensor(r, f);
        return;
    }
    if (!f.keys.empty() && !r.one_in(8)) {
        const size_t at = r.below(f.keys.size());
        switch (r.below(5)) {
            case 0: f.keys.erase(f.keys.begin() + static_cast<std::ptrdiff_t>(at)); break;
            case 1: f.keys.push_back(f.keys[at]); break;
            default: f.keys[at] = odd_value(r, f.keys[at].name);
        }
        return;
    }
    switch (r.below(4)) {
        case 0: f.version = static_cast<uint32_t>(odd_integer(r)); break;
        case 1: f.n_keys = odd_integer(r) & INT64_MAX; break;
        case 2: f.n_tensors = odd_integer(r) & INT64_MAX; break;
        default: f.set(odd_value(r, "general.alignment"));
    }
}

inline void damage_bytes(Random & r, gguf::Bytes & b) {
    if (b.empty()) {
        return;
    }
    const size_t header = b.size() < 4096 || r.one_in(4) ? b.size() : 4096; // most of what decides stands in front
    const size_t at = r.below(header);
    switch (r.below(6)) {
        case 0: b[at] ^= static_cast<uint8_t>(1u << r.below(8)); break;
        case 1: b[at] = static_cast<uint8_t>(r.next()); break;
        case 2: b.resize(r.below(b.size() + 1)); break;
        case 3: { // an integer of any width
            const int64_t v = odd_integer(r);
            std::memcpy(b.data() + at, &v, std::min<size_t>(b.size() - at, r.one_in(2) ? 4 : 8));
            break;
        }
        case 4: { // one part over another
            const size_t from = r.below(b.size()), n = std::min(r.below(64), b.size() - std::max(at, from));
            std::memmove(b.data() + at, b.data() + from, n);
            break;
        }
        default: { // a part gone, or twice
            const size_t n = std::min<size_t>(r.below(32), b.size() - at);
            const auto first = b.begin() + static_cast<std::ptrdiff_t>(at), last = first + static_cast<std::ptrdiff_t>(n);
            if (r.one_in(2)) {
                b.erase(first, last);
            } else {
                const gguf::Bytes part(first, last);
                b.insert(first, part.begin(), part.end());
            }
        }
    }
}

inline void damage_text(Random & r, std::string & s) {
    const size_t at = r.below(s.size() + 1);
    switch (r.below(5)) {
        case 0: s.resize(at); break;
        case 1: s.insert(at, std::to_string(odd_integer(r))); break;
        case 2: s.insert(at, odd_text(r)); break;
        case 3: s.insert(at, r.choice(std::vector<std::string>{",", "=", "\n", ".", "-", "e9", "inf", "nan", "true", "\0"})); break;
        default:
            if (at < s.size()) {
                s[at] = static_cast<char>(r.next());
            }
    }
}

} // namespace mutate
