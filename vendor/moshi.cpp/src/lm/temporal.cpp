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

ggml_tensor * temporal_transformer(Graph & graph, const LmModel & w, const RingAttention & ring, ggml_tensor * x, bool hidden) {
    ggml_context * ctx = graph.ctx();
    const LmConfig & c = w.config;
    for (int l = 0; l < c.n_layers; ++l) {
        const TemporalLayer & layer = w.layers[l];
        ggml_tensor * queries = remember(graph, rms_norm(ctx, x, layer.norm1, c.norm_eps), layer.w.in_proj, ring, l);
        if (!hidden && l == c.n_layers - 1) {
            return nullptr;
        }
        x = ggml_add(ctx, x, attend(graph, queries, layer.w.out_proj, ring, l));
        ggml_tensor * y = rms_norm(ctx, x, layer.norm2, c.norm_eps);
        x = ggml_add(ctx, x, gated_mlp(ctx, y, layer.w.linear_in, layer.w.linear_out));
    }
    return x;
}

} // namespace moshi
