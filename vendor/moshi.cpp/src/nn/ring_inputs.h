// What a graph over a KV ring is told before each run: positions, slots to write, slots to see.
#pragma once

#include "nn/graph_inputs.h"
#include "nn/ops.h"

namespace moshi {

class RingInputs {
public:
    // For a graph that writes `n` positions and attends `n_kv` slots of `ring`. `ring` must outlive it.
    RingInputs(GraphInputs & inputs, const KvRing & ring, int n, int n_kv);

    RingAttention attention(int n_heads, const RopeTable & rope) const;
    // For positions from `first` on, of which `push` enter the ring at a time.
    void set(GraphInputs & inputs, int64_t first, int push) const;

private:
    const KvRing & ring_;
    ggml_tensor * positions_; // i32 [n]
    ggml_tensor * slots_;     // i32 [n]
    ggml_tensor * mask_;      // f16 [n_kv, n]
};

} // namespace moshi
