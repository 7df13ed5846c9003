// Hyper-parameters of the Mimi codec (MODELS.md 1).
#pragma once

#include "gguf/metadata.h"

namespace moshi {

struct MimiConfig {
    int sample_rate;              // Hz
    int frame_size;               // samples per code column: 1920 = 80 ms
    int stride;                   // latents per code column: 2
    std::vector<int> ratios;      // decoder's order: 8 6 5 4
    int n_filters, dimension;     // first width and latent width of SEANet
    int kernel, last_kernel, residual_kernel, compress;
    int n_codebooks, bins, codebook_dim;
    int n_layers, n_heads, ffn, context; // transformers, at 25 latents a second
    float max_period;
};

MimiConfig read_mimi_config(const Metadata & metadata);

} // namespace moshi
