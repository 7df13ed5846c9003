// Weights of the language model: temporal transformer, depformer, embeddings, heads.
#pragma once

#include "lm/config.h"
#include "nn/ops.h"
#include "nn/weights.h"

namespace moshi {

struct Embedding {
    ggml_tensor * table = nullptr;    // [width, card + 1]
    ggml_tensor * low_rank = nullptr; // [width, dim]: table row -> embedding; nullptr if rows are embeddings
};

struct GatedLayer {
    ggml_tensor *in_proj, *out_proj, *linear_in, *linear_out;
};

struct TemporalLayer {
    ggml_tensor *norm1, *norm2; // [dim]
    GatedLayer w;
};

struct DepformerLayer {
    ggml_tensor *norm1, *norm2;  // shared by all steps
    std::vector<GatedLayer> w;   // by weight set
};

struct LmModel {
    LmConfig config;
    int n_steps;                 // depformer steps whose weights are loaded
    std::vector<Embedding> emb;  // by audio stream
    Embedding text_emb;
    std::vector<TemporalLayer> layers;
    RopeTable rope;
    ggml_tensor * out_norm;
    ggml_tensor * text_linear;
    std::vector<ggml_tensor *> extra_heads;
    std::vector<ggml_tensor *> depformer_in;   // by weight set
    Embedding depformer_text_emb;
    std::vector<Embedding> depformer_emb;      // [k]: of the token of step k, read by step k + 1
    std::vector<DepformerLayer> depformer_layers;
    std::vector<ggml_tensor *> linears;        // by step
    Weights weights;
};

// `all_steps`: also the depformer steps whose samples are never used (PersonaPlex's user half).
std::unique_ptr<LmModel> load_lm(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack, bool all_steps,
                                 const Progress & progress);

} // namespace moshi
