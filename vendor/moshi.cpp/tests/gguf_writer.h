// Writes GGUF files for tests, wrong ones too: every field can be set to what a correct writer would not write.
#pragma once

#include "ggml.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace gguf {

enum Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

using Bytes = std::vector<uint8_t>;

template <typename T> void put(Bytes & out, const T & value) {
    const size_t at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &value, sizeof(T));
}

inline void put_string(Bytes & out, const std::string & s) {
    put<uint64_t>(out, s.size());
    out.insert(out.end(), s.begin(), s.end());
}

struct Key {
    std::string name;
    uint32_t type;
    Bytes value; // as it stands in the file
};

template <typename T> Key key(const std::string & name, Type type, T value) {
    Key k{name, type, {}};
    put<T>(k.value, value);
    return k;
}
inline Key key(const std::string & name, int value) { return key<int32_t>(name, kI32, value); }
inline Key key(const std::string & name, double value) { return key<float>(name, kF32, static_cast<float>(value)); }
inline Key key(const std::string & name, bool value) { return key<uint8_t>(name, kBool, value); }
inline Key key(const std::string & name, const std::string & value) {
    Key k{name, kString, {}};
    put_string(k.value, value);
    return k;
}
inline Key key(const std::string & name, const std::vector<int32_t> & values) {
    Key k{name, kArray, {}};
    put<uint32_t>(k.value, kI32);
    put<uint64_t>(k.value, values.size());
    for (const int32_t v : values) {
        put(k.value, v);
    }
    return k;
}

struct Tensor {
    std::string name;
    uint32_t type = GGML_TYPE_F32;
    std::vector<uint64_t> ne; // fastest first
    Bytes data;
    int64_t offset = -1; // in the data section; -1: where the data lies
};

struct File {
    uint32_t version = 3;
    std::vector<Key> keys;
    std::vector<Tensor> tensors;
    uint64_t alignment = 32;
    int64_t n_keys = -1, n_tensors = -1; // -1: as many as there are

    Bytes bytes() const {
        Bytes out = {'G', 'G', 'U', 'F'};
        put(out, version);
        put<uint64_t>(out, n_tensors < 0 ? tensors.size() : static_cast<uint64_t>(n_tensors));
        put<uint64_t>(out, n_keys < 0 ? keys.size() : static_cast<uint64_t>(n_keys));
        for (const Key & k : keys) {
            put_string(out, k.name);
            put(out, k.type);
            out.insert(out.end(), k.value.begin(), k.value.end());
        }
        uint64_t offset = 0;
        for (const Tensor & t : tensors) {
            put_string(out, t.name);
            put(out, static_cast<uint32_t>(t.ne.size()));
            for (const uint64_t n : t.ne) {
                put(out, n);
            }
            put(out, t.type);
            put<uint64_t>(out, t.offset < 0 ? offset : static_cast<uint64_t>(t.offset));
            offset = padded(offset + t.data.size());
        }
        out.resize(padded(out.size()));
        for (const Tensor & t : tensors) {
            out.insert(out.end(), t.data.begin(), t.data.end());
            out.resize(padded(out.size()));
        }
        return out;
    }

    Key * find_key(const std::string & name) {
        for (Key & k : keys) {
            if (k.name == name) {
                return &k;
            }
        }
        return nullptr;
    }
    Tensor * find_tensor(const std::string & name) {
        for (Tensor & t : tensors) {
            if (t.name == name) {
                return &t;
            }
        }
        return nullptr;
    }
    void set(Key k) {
        if (Key * found = find_key(k.name)) {
            *found = std::move(k);
        } else {
            keys.push_back(std::move(k));
        }
    }

private:
    uint64_t padded(uint64_t n) const { return (n + alignment - 1) / alignment * alignment; }
};

} // namespace gguf
