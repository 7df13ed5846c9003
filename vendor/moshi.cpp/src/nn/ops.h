// The building blocks of both transformers. Activations are f32, channel fastest: [dim, T].
#pragma once

#include "backend/compute.h"
#include "nn/kv_ring.h"
#include "nn/weights.h"

namespace moshi {

ggml_tensor * rms_norm(ggml_context * ctx, ggml_tensor * x, ggml_tensor * gain, float eps);
ggml_tensor * layer_norm(ggml_context * ctx, ggml_tensor * x, ggml_tensor * gain, ggml_tensor * bias, float eps);

constexpr int kFewColumns = 4; // up to so many a product takes the time of reading its matrix; with more it is arithmetic

// w x, [n_out, T]: ggml_mul_mat in the form that is fastest for so many columns. Where w is in f16 ggml rounds x to f16, too;
// with Halves::Split x goes in as the f16 nearest to it and, in columns of their own, what that leaves: 22 bits of it take part.
ggml_tensor * product(const Graph & graph, ggml_tensor * w, ggml_tensor * x, Halves halves);

// Rotary embedding of interleaved pairs (MODELS.md 6.2). The period of each pair comes from a table: ggml's own way to
// it, a running product, is off by one more rounding per pair, which positions in the thousands magnify.
// Views that ggml_get_rows takes its ids from start at multiples of this many i32: Vulkan binds them as buffers of their
// own, and 256 bytes is the coarsest alignment that its specification lets a device ask for.
constexpr int kIdAlignment = 64;

struct RopeTable {
    ggml_tensor * periods; // f32 [head_dim / 2]: radians are position / period
    ggml_tensor * thetas;  // and their reciprocals
};
RopeTable load_rope(WeightLoader & loader, int64_t head_dim, float max_period);

struct Rope {
    ggml_tensor * positions; // i32 [T]
    RopeTable table;
};

// Streaming self-attention of one transformer in one graph: where this call's keys and values go, what its queries see.
struct RingAttention {
    const KvRing & ring;
    int n_heads;
    Rope rope;
    ggml_tensor * slots; // i32 [T]
    ggml_tensor * mask;  // f16 [n_kv, T]
    Halves halves = Halves::Rounded; // of the projections
};

// Projects x [dim, T], writes keys (rotated) and values to the ring, returns the queries [head_dim, n_heads, T].
ggml_tensor * remember(Graph & graph, ggml_tensor * x, ggml_tensor * in_proj, const RingAttention & a, int layer);
// Those queries over the ring -> [dim, T]
ggml_tensor * attend(Graph & graph, ggml_tensor * queries, ggml_tensor * out_proj, const RingAttention & a, int layer);

// linear_out(silu(u) * v), [u; v] = linear_in(x) (MODELS.md 2.3)
ggml_tensor * gated_mlp(ggml_context * ctx, ggml_tensor * x, ggml_tensor * linear_in, ggml_tensor * linear_out);

} // namespace moshi
