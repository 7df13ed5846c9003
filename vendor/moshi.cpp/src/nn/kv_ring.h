// Ring of keys and values of a streaming transformer, and which of them a query may attend (MODELS.md 6.1).
#pragma once

#include "moshi.h"
#include "nn/blob.h"

#include "ggml.h"

#include <cstdint>
#include <vector>

namespace moshi {

struct KvRingShape {
    int n_layers;
    int n_heads;
    int64_t head_dim;
    int context;   // keys that a query may see
    int max_push;  // most positions written by one graph
    ggml_type type;
    moshi_window window;
    bool flash; // fused attention where the device has it
    bool exact = false; // no more slots than needed; else multiples of kStep, which GPUs' kernels want
};

class KvRing {
public:
    // Declares the ring's tensors in `state`; their memory comes with the rest of the session's state.
    KvRing(ggml_context * state, const KvRingShape & shape);

    // [head_dim, slots, n_heads]: what a head reads lies together, or a CPU spends its time waiting for memory
    ggml_tensor * k(int layer) const { return k_[layer]; }
    ggml_tensor * v(int layer) const { return v_[layer]; }
    const KvRingShape & shape() const { return shape_; }
    int slots() const { return slots_; }

    // Slots to attend when `n` positions from `first` on have been written: a multiple of kStep or all, so that a session
    // needs few different graphs and attention costs what is filled, not what was reserved.
    int attended(int64_t first, int n) const;

    // Fills a graph's inputs for positions [first, first + n). `push` positions enter the ring at a time, as the
    // reference would have pushed them. mask: f16 [n][n_kv], 0 or -inf.
    void fill_inputs(int64_t first, int n, int push, int n_kv, int32_t * positions, int32_t * slots, ggml_fp16_t * mask) const;

    // What `positions` positions have left in the ring, for snapshots: in their order, so that rings of other devices,
    // with other numbers of slots, can take it.
    size_t filled_bytes(int64_t positions) const;
    void save(BlobWriter & out, int64_t positions) const;
    void restore(BlobReader & in, int64_t positions);

    static constexpr int kStep = 256;

private:
    int64_t kept(int64_t positions) const;
    template <typename Visit> void for_each_run(int64_t positions, Visit visit) const; // visit(tensor, begin, bytes)
    int64_t oldest_visible(int64_t query, int64_t push_end) const;

    KvRingShape shape_;
    int slots_;
    std::vector<ggml_tensor *> k_, v_;
};

} // namespace moshi
