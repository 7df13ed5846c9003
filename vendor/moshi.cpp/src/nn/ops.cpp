#include "nn/ops.h"

#include <cmath>

namespace moshi {

ggml_tensor * rms_norm(ggml_context * ctx, ggml_tensor * x, ggml_tensor * gain, float eps) {
    return ggml_mul(ctx, ggml_rms_norm(ctx, x, eps), gain);
}

ggml_tensor * layer_norm(ggml_context * ctx, ggml_tensor * x, ggml_tensor * gain, ggml_tensor * bias, float eps) {
    return ggml_add(ctx, ggml_mul(ctx, ggml_norm(ctx, x, eps), gain), bias);
}

namespace {

// The product with its operands' roles exchanged, [T, n_out]: ggml then reads w once, row after row. The other way round it
// reads four rows at a time, of which short ones end before the processor has begun to fetch ahead.
ggml_tensor * exchanged(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    return ggml_mul_mat(ctx, w->type == x->type ? x : ggml_cast(ctx, x, w->type), w);
}

// Rows, at least two, as columns. Concatenated because ggml_cont would copy number by number.
ggml_tensor * transposed(ggml_context * ctx, ggml_tensor * x) {
    const auto column = [&](int64_t i) { return ggml_transpose(ctx, ggml_view_2d(ctx, x, 1, x->ne[1], x->nb[1], i * x->nb[0])); };
    ggml_tensor * out = column(0);
    for (int64_t i = 1; i < x->ne[0]; ++i) {
        out = ggml_concat(ctx, out, column(i), 1);
    }
    return out;
}

ggml_tensor * split_product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    const int64_t T = x->ne[1];
    ggml_tensor * high = ggml_cast(ctx, ggml_cast(ctx, x, GGML_TYPE_F16), GGML_TYPE_F32);
    ggml_tensor * both = ggml_concat(ctx, high, ggml_sub(ctx, x, high), 1);
    ggml_tensor * y = T > kFewColumns ? ggml_mul_mat(ctx, w, both) : transposed(ctx, exchanged(ctx, w, both)); // [n_out, 2T]
    const auto half = [&](int64_t i) { return ggml_view_2d(ctx, y, y->ne[0], T, y->nb[1], i * T * y->nb[1]); };
    return ggml_add(ctx, half(0), half(1));
}

} // namespace

ggml_tensor * product(const Graph & graph, ggml_tensor * w, ggml_tensor * x, Halves halves) {
    ggml_context * ctx = graph.ctx();
    if (halves == Halves::Split && w->type == GGML_TYPE_F16) {
        return split_product(ctx, w, x);
    }
    const bool plain = w->type == GGML_TYPE_F32 || w->type == GGML_TYPE_F16;
    const bool few = x->ne[1] > 1 && x->ne[1] <= kFewColumns;
    if (graph.compute().is_cpu() && plain && few && w->nb[1] <= kShortRow) {
        return transposed(ctx, exchanged(ctx, w, x));
    }
    return ggml_mul_mat(ctx, w, x);
}

RopeTable load_rope(WeightLoader & loader, int64_t head_dim, float max_period) {
    const auto table = [&](bool reciprocal) {
        return loader.made({head_dim / 2}, [head_dim, max_period, reciprocal](float * out) {
            for (int64_t i = 0; i < head_dim / 2; ++i) { // in f32, as the reference computes it
                const float theta = std::exp(static_cast<float>(i) * (-std::log(max_period) * 2.0f / static_cast<float>(head_dim)));
                out[i] = reciprocal ? 1.0f / theta : theta;
            }
        });
    };
    return {table(true), table(false)};
}

namespace {

ggml_tensor * rotate(ggml_context * ctx, ggml_tensor * x, const Rope & rope) {
    const int head_dim = static_cast<int>(x->ne[0]);
    const float base = 1.0f; // the running product stays 1: the table alone decides
    return ggml_rope_ext(ctx, x, rope.positions, rope.table.periods, head_dim, GGML_ROPE_TYPE_NORMAL, 0, base, 1.0f, 0.0f, 1.0f, 0.0f,
                         0.0f);
}

// The same by elementary operations, each of them rounded: what fused kernels skip.
ggml_tensor * rotate_plainly(ggml_context * ctx, ggml_tensor * x, const Rope & rope) {
    const int64_t half = x->ne[0] / 2, n_heads = x->ne[1], T = x->ne[2];
    const auto part = [&](int i) { // [1, half, n_heads, T]
        return ggml_cont(ctx, ggml_view_4d(ctx, x, 1, half, n_heads, T, 2 * sizeof(float), x->nb[1], x->nb[2], i * sizeof(float)));
    };
    ggml_tensor * positions = ggml_reshape_4d(ctx, ggml_cast(ctx, rope.positions, GGML_TYPE_F32), 1, 1, 1, T);
    ggml_tensor * thetas = ggml_repeat_4d(ctx, ggml_reshape_2d(ctx, rope.table.thetas, 1, half), 1, half, 1, T);
    ggml_tensor * angles = ggml_mul(ctx, thetas, positions);                // [1, half, 1, T]
    ggml_tensor *a = part(0), *b = part(1), *cos = ggml_cos(ctx, angles), *sin = ggml_sin(ctx, angles);
    ggml_tensor * even = ggml_sub(ctx, ggml_mul(ctx, a, cos), ggml_mul(ctx, b, sin));
    ggml_tensor * odd = ggml_add(ctx, ggml_mul(ctx, a, sin), ggml_mul(ctx, b, cos));
    return ggml_reshape_3d(ctx, ggml_concat(ctx, even, odd, 0), 2 * half, n_heads, T);
}

// The first n_kv slots: [head_dim, n_kv, n_heads]
ggml_tensor * filled(ggml_context * ctx, ggml_tensor * ring, int64_t n_kv) {
    return ggml_view_3d(ctx, ring, ring->ne[0], n_kv, ring->ne[2], ring->nb[1], ring->nb[2], 0);
}

// Rows [head_dim, n_heads, T] to their slots of every head.
ggml_tensor * put(ggml_context * ctx, ggml_tensor * ring, ggml_tensor * rows, ggml_tensor * slots) {
    return ggml_set_rows(ctx, ring, ggml_permute(ctx, rows, 0, 2, 1, 3), slots);
}

// softmax(q.k) v by matrix products, for devices whose flash attention lacks the head size or the cache type.
ggml_tensor * plain_attention(ggml_context * ctx, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, ggml_tensor * mask, float scale) {
    ggml_tensor * scores = ggml_mul_mat(ctx, k, q);                         // [n_kv, T, n_heads]
    ggml_mul_mat_set_prec(scores, GGML_PREC_F32);
    scores = ggml_soft_max_ext(ctx, scores, mask, scale, 0.0f);
    if (ggml_is_quantized(v->type)) {
        v = ggml_cast(ctx, v, GGML_TYPE_F32); // blocks run along head_dim: they cannot be transposed
    }
    ggml_tensor * v_t = ggml_cont(ctx, ggml_permute(ctx, v, 1, 0, 2, 3));   // [n_kv, head_dim, n_heads]
    ggml_tensor * out = ggml_mul_mat(ctx, v_t, scores);                     // [head_dim, T, n_heads]
    return ggml_cont(ctx, ggml_permute(ctx, out, 0, 2, 1, 3));              // [head_dim, n_heads, T]
}

} // namespace

ggml_tensor * remember(Graph & graph, ggml_tensor * x, ggml_tensor * in_proj, const RingAttention & a, int layer) {
    ggml_context * ctx = graph.ctx();
    const int64_t dim = x->ne[0], T = x->ne[1], head_dim = dim / a.n_heads;
    ggml_tensor * qkv = product(graph, in_proj, x, a.halves);               // [3 dim, T]
    const auto part = [&](int i) {
        return ggml_view_3d(ctx, qkv, head_dim, a.n_heads, T, head_dim * sizeof(float), qkv->nb[1], i * dim * sizeof(float));
    };
    const auto turn = a.ring.shape().flash ? rotate : rotate_plainly;
    // In the graph before their readers: the ring is state, so no edge orders the writes for us.
    graph.expand(put(ctx, a.ring.k(layer), turn(ctx, part(1), a.rope), a.slots));
    graph.expand(put(ctx, a.ring.v(layer), part(2), a.slots));
    return turn(ctx, part(0), a.rope);
}

ggml_tensor * attend(Graph & graph, ggml_tensor * q, ggml_tensor * out_proj, const RingAttention & a, int layer) {
    ggml_context * ctx = graph.ctx();
    const int64_t head_dim = q->ne[0], T = q->ne[2];
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    q = ggml_permute(ctx, q, 0, 2, 1, 3);                                   // [head_dim, T, n_heads]
    ggml_tensor * keys = filled(ctx, a.ring.k(layer), a.mask->ne[0]);
    ggml_tensor * values = filled(ctx, a.ring.v(layer), a.mask->ne[0]);
    ggml_tensor * out = nullptr;
    if (a.ring.shape().flash) {
        out = ggml_flash_attn_ext(ctx, q, keys, values, a.mask, scale, 0.0f, 0.0f);
        ggml_flash_attn_ext_set_prec(out, GGML_PREC_F32);
    }
    if (!out || !graph.compute().supports(out)) {
        out = plain_attention(ctx, q, keys, values, a.mask, scale);
    }
    return product(graph, out_proj, ggml_reshape_2d(ctx, out, head_dim * a.n_heads, T), a.halves);
}

ggml_tensor * gated_mlp(ggml_context * ctx, ggml_tensor * x, ggml_tensor * linear_in, ggml_tensor * linear_out) {
    return ggml_mul_mat(ctx, linear_out, ggml_swiglu(ctx, ggml_mul_mat(ctx, linear_in, x)));
}

} // namespace moshi
