#include "lm/depformer.h"

#include "lm/temporal.h"

#include <cmath>

namespace moshi {

namespace {

// Attention of step `k` over the steps from `first` on: x [dim, 1] -> [dim, 1]
ggml_tensor * attention(Graph & graph, const LmConfig::Depformer & d, const GatedLayer & w, ggml_tensor * keys, ggml_tensor * values,
                        ggml_tensor * x, int k, int first) {
    ggml_context * ctx = graph.ctx();
    const int64_t dim = d.dim, head_dim = dim / d.n_heads, n = k + 1 - first;
    const size_t f = sizeof(float), e = ggml_element_size(values);
    ggml_tensor * qkv = ggml_mul_mat(ctx, w.in_proj, x);                    // [3 dim, 1]
    ggml_tensor * v = ggml_view_1d(ctx, qkv, dim, 2 * dim * f);
    // Written before they are read: in the graph now, for the cache is state and no edge orders it.
    graph.expand(ggml_cpy(ctx, ggml_view_1d(ctx, qkv, dim, dim * f), ggml_view_1d(ctx, keys, dim, k * keys->nb[1])));
    graph.expand(ggml_cpy(ctx, ggml_reshape_2d(ctx, v, 1, dim), ggml_view_2d(ctx, values, 1, dim, values->nb[1], k * e)));
    if (n == 1 && values->type == GGML_TYPE_F32) {
        return ggml_mul_mat(ctx, w.out_proj, v); // the softmax of one score is one
    }
    ggml_tensor * q = ggml_view_3d(ctx, qkv, head_dim, 1, d.n_heads, dim * f, head_dim * f, 0);
    ggml_tensor * K = ggml_view_3d(ctx, keys, head_dim, n, d.n_heads, keys->nb[1], head_dim * e, first * keys->nb[1]);
    ggml_tensor * V = ggml_view_3d(ctx, values, n, head_dim, d.n_heads, values->nb[1], head_dim * values->nb[1], first * e);
    if (first > 0) { // views that start in the middle: not every device multiplies from there
        K = ggml_cont(ctx, K);
        V = ggml_cont(ctx, V);
    }
    ggml_tensor * scores = ggml_mul_mat(ctx, K, q);                         // [n, 1, n_heads]
    scores = ggml_soft_max_ext(ctx, scores, nullptr, 1.0f / std::sqrt(static_cast<float>(head_dim)), 0.0f);
    ggml_tensor * out = ggml_mul_mat(ctx, V, scores);                       // [head_dim, 1, n_heads]
    return ggml_mul_mat(ctx, w.out_proj, ggml_reshape_2d(ctx, out, dim, 1));
}

// The embedding fed after entry `i`: of the sample, of the forced token, or none.
ggml_tensor * fed(ggml_context * ctx, const Embedding & e, ggml_tensor * sampled, const ForcedInputs * forced, int i) {
    ggml_tensor * x = embed(ctx, e, sampled);
    if (!forced) {
        return x;
    }
    const auto at = [&](ggml_tensor * t) { return ggml_view_1d(ctx, t, 1, i * 4); };
    ggml_tensor * y = embed(ctx, e, ggml_view_1d(ctx, forced->ids, 1, i * forced->ids->nb[1]));
    return ggml_add(ctx, ggml_mul(ctx, x, at(forced->sample_gain)), ggml_mul(ctx, y, at(forced->forced_gain)));
}

} // namespace

DepformerCache depformer_cache(ggml_context * state, const LmModel & w, int n_steps, ggml_type type) {
    DepformerCache cache;
    const LmConfig::Depformer & d = w.config.depformer;
    for (int l = 0; n_steps > 0 && l < d.n_layers; ++l) {
        cache.k.push_back(ggml_new_tensor_2d(state, type, d.dim, n_steps));
        cache.v.push_back(ggml_new_tensor_2d(state, type, n_steps, d.dim));
    }
    return cache;
}

DepformerRun depformer(Graph & graph, const Compute & compute, const LmModel & w, const DepformerCache & cache, ggml_tensor * hidden,
                       ggml_tensor * text, const DepformerOptions & o) {
    ggml_context * ctx = graph.ctx();
    const LmConfig & c = w.config;
    DepformerRun run;
    ggml_tensor * previous = text;
    for (int k = 0; k < o.n_steps; ++k) {
        const int set = c.depformer.schedule[k];
        const Embedding & e = k == 0 ? w.depformer_text_emb : w.depformer_emb[k - 1];
        ggml_tensor * x = ggml_add(ctx, ggml_mul_mat(ctx, w.depformer_in[set], hidden), fed(ctx, e, previous, o.forced, k));
        const int first = o.legacy_window && k == c.dep_q - 1 && k > 0 ? 1 : 0;
        for (size_t l = 0; l < w.depformer_layers.size(); ++l) {
            const DepformerLayer & layer = w.depformer_layers[l];
            const GatedLayer & weights = layer.w[set];
            ggml_tensor * y = rms_norm(ctx, x, layer.norm1, c.norm_eps);
            x = ggml_add(ctx, x, attention(graph, c.depformer, weights, cache.k[l], cache.v[l], y, k, first));
            y = rms_norm(ctx, x, layer.norm2, c.norm_eps);
            x = ggml_add(ctx, x, gated_mlp(ctx, y, weights.linear_in, weights.linear_out));
        }
        run.logits.push_back(ggml_mul_mat(ctx, w.linears[k], x));           // [card, 1]
        ggml_tensor * noise =
            o.n_candidates ? ggml_view_1d(ctx, o.noise, o.n_candidates, size_t(k) * o.n_candidates * sizeof(float)) : nullptr;
        previous = sample(ctx, compute, run.logits.back(), o.n_candidates, noise);
        run.tokens.push_back(previous);
    }
    return run;
}

} // namespace moshi
