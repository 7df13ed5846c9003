#include "mimi/transformer.h"

#include "gguf/names.h"

namespace moshi {

namespace {
constexpr float kLayerNormEps = 1e-5f;
}

MimiTransformer load_mimi_transformer(WeightLoader & loader, const std::string & name, const MimiConfig & c) {
    MimiTransformer w{{}, c.n_heads, load_rope(loader, c.dimension / c.n_heads, c.max_period), loader.halves()};
    const int64_t D = c.dimension;
    for (int l = 0; l < c.n_layers; ++l) {
        const std::string p = name + ".transformer.layers." + std::to_string(l) + ".";
        const auto vector = [&](const char * leaf) { return loader.vector(stored_name(p + leaf), D); };
        const auto matrix = [&](std::initializer_list<std::string> leaves, int64_t n_out, int64_t n_in) {
            const std::string first = p + *leaves.begin(), second = p + *(leaves.end() - 1);
            return loader.matrix(find_name(loader.file(), {first, second}), n_out, n_in);
        };
        MimiLayer layer;
        layer.norm1 = vector("norm1.weight");
        layer.norm1_bias = vector("norm1.bias");
        layer.norm2 = vector("norm2.weight");
        layer.norm2_bias = vector("norm2.bias");
        layer.in_proj = matrix({"self_attn.in_projs.0.weight", "self_attn.in_proj_weight"}, 3 * D, D);
        layer.out_proj = matrix({"self_attn.out_projs.0.weight", "self_attn.out_proj.weight"}, D, D);
        layer.linear1 = matrix({"linear1.weight"}, c.ffn, D);
        layer.linear2 = matrix({"linear2.weight"}, D, c.ffn);
        layer.scale1 = vector("layer_scale_1.scale");
        layer.scale2 = vector("layer_scale_2.scale");
        w.layers.push_back(layer);
    }
    return w;
}

ggml_tensor * mimi_transformer(Graph & graph, const MimiTransformer & w, RingAttention ring, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    ring.halves = w.halves;
    for (size_t l = 0; l < w.layers.size(); ++l) {
        const MimiLayer & layer = w.layers[l];
        ggml_tensor * y = layer_norm(ctx, x, layer.norm1, layer.norm1_bias, kLayerNormEps);
        y = attend(graph, remember(graph, y, layer.in_proj, ring, static_cast<int>(l)), layer.out_proj, ring, static_cast<int>(l));
        x = ggml_add(ctx, x, ggml_mul(ctx, y, layer.scale1));
        y = layer_norm(ctx, x, layer.norm2, layer.norm2_bias, kLayerNormEps);
        y = ggml_gelu_erf(ctx, product(graph, layer.linear1, y, w.halves)); // exact GELU, not tanh
        y = product(graph, layer.linear2, y, w.halves);
        x = ggml_add(ctx, x, ggml_mul(ctx, y, layer.scale2));
    }
    return x;
}

} // namespace moshi
