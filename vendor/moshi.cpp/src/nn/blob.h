// Snapshots as bytes: a writer, and a reader that refuses to run over the end.
#pragma once

#include "api/error.h"

#include "ggml-backend.h"

#include <cstring>
#include <utility>
#include <vector>

namespace moshi {

class BlobWriter {
public:
    template <typename T> void value(const T & v) { bytes(&v, sizeof(T)); }
    void bytes(const void * data, size_t n) {
        const auto * p = static_cast<const uint8_t *>(data);
        out_.insert(out_.end(), p, p + n);
    }
    // `n` bytes of a tensor, from `begin` on.
    void tensor(const ggml_tensor * t, size_t begin, size_t n) {
        out_.resize(out_.size() + n);
        ggml_backend_tensor_get(t, out_.data() + out_.size() - n, begin, n);
    }
    void reserve(size_t n) { out_.reserve(n); }
    const std::vector<uint8_t> & data() const { return out_; }
    std::vector<uint8_t> release() { return std::move(out_); }

private:
    std::vector<uint8_t> out_;
};

class BlobReader {
public:
    BlobReader(const void * data, size_t size) : p_(static_cast<const uint8_t *>(data)), left_(size) {}
    template <typename T> T value() {
        T v;
        std::memcpy(&v, take(sizeof(T)), sizeof(T));
        return v;
    }
    const uint8_t * take(size_t n) {
        if (n > left_) {
            fail(MOSHI_ERROR_FORMAT, "the snapshot ends too early; it is truncated or damaged");
        }
        const uint8_t * p = p_;
        p_ += n;
        left_ -= n;
        return p;
    }
    void tensor(ggml_tensor * t, size_t begin, size_t n) { ggml_backend_tensor_set(t, take(n), begin, n); }
    size_t left() const { return left_; }

private:
    const uint8_t * p_;
    size_t left_;
};

} // namespace moshi
