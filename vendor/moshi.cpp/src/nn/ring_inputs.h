// What a graph over a KV ring is told before each run: positions, slots to write, slots to see.
#pragma once

#include "nn/ops.h"

namespace moshi {

class RingInputs {
public:
    RingInputs() = default;
    // Declares the inputs for the largest push of `ring` in `ctx`, which the caller allocates.
    RingInputs(ggml_context * ctx, const KvRing & ring);

    // The attention of a graph for `n` positions over `n_kv` slots, on views of these inputs.
    RingAttention attention(ggml_context * ctx, const KvRing & ring, int n_heads, const RopeTable & rope, int n, int n_kv) const;
    // Uploads the inputs for positions [first, first + n), of which `push` enter the ring at a time.
    void set(const KvRing & ring, int64_t first, int n, int push, int n_kv) const;

private:
    ggml_tensor * positions_ = nullptr; // i32 [max_push]
    ggml_tensor * slots_ = nullptr;     // i32 [max_push]
    ggml_tensor * mask_ = nullptr;      // f16 [max_push * slots]
};

} // namespace moshi
