// Mimi's two transformers at 25 latents a second (MODELS.md 1.3).
#pragma once

#include "mimi/config.h"
#include "nn/ops.h"
#include "nn/weights.h"

namespace moshi {

struct MimiLayer {
    ggml_tensor *norm1, *norm1_bias, *norm2, *norm2_bias; // [dim]
    ggml_tensor *in_proj, *out_proj, *linear1, *linear2;
    ggml_tensor *scale1, *scale2;                         // [dim]
};

struct MimiTransformer {
    std::vector<MimiLayer> layers;
    int n_heads;
    RopeTable rope;
    Halves halves;
};

MimiTransformer load_mimi_transformer(WeightLoader & loader, const std::string & name, const MimiConfig & config);

ggml_tensor * mimi_transformer(Graph & graph, const MimiTransformer & w, RingAttention ring, ggml_tensor * x);

} // namespace moshi
