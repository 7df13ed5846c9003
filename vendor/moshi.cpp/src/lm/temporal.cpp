#include "lm/temporal.h"

namespace moshi {

ggml_tensor * embed(ggml_context * ctx, const Embedding & e, ggml_tensor * ids) {
    ggml_tensor * rows = ggml_get_rows(ctx, e.table, ids);
    return e.low_rank ? ggml_mul_mat(ctx, e.low_rank, rows) : rows;
}

ggml_tensor * embed_tokens(ggml_context * ctx, const LmModel & w, const TokenInputs & tokens, int T) {
    ggml_tensor * sum = nullptr;
    const auto add = [&](const Embedding & e, int stream) {
        ggml_tensor * x = embed(ctx, e, ggml_view_1d(ctx, tokens.ids, T, stream * tokens.ids->nb[1]));
        if (tokens.gains) {
            x = ggml_mul(ctx, x, ggml_view_2d(ctx, tokens.gains, 1, T, sizeof(float), stream * tokens.gains->nb[1]));
        }
        sum = sum ? ggml_add(ctx, sum, x) : x;
    };
    for (int k = 0; k < w.config.n_q; ++k) { // audio first, then text: the reference's order of summation
        add(w.emb[k], 1 + k);
    }
    add(w.text_emb, 0);
    return sum;
}

ggml_tensor * temporal_transformer(Graph & graph, const Compute & compute, const LmModel & w, const KvRing & ring, ggml_tensor * x,
                                   ggml_tensor * positions, const RingInputs & inputs) {
    ggml_context * ctx = graph.ctx();
    const LmConfig & c = w.config;
    const Rope rope{positions, w.rope};
    for (int l = 0; l < c.n_layers; ++l) {
        const TemporalLayer & layer = w.layers[l];
        ggml_tensor * y = rms_norm(ctx, x, layer.norm1, c.norm_eps);
        x = ggml_add(ctx, x, ring_attention(graph, compute, y, layer.w.in_proj, layer.w.out_proj, c.n_heads, ring, l, rope, inputs));
        y = rms_norm(ctx, x, layer.norm2, c.norm_eps);
        x = ggml_add(ctx, x, gated_mlp(ctx, y, layer.w.linear_in, layer.w.linear_out));
    }
    return x;
}

} // namespace moshi
