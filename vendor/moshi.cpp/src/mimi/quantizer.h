// Split residual vector quantiser (MODELS.md 1.5): one semantic codebook, the rest acoustic, both fed the same latent.
#pragma once

#include "mimi/config.h"
#include "nn/weights.h"

namespace moshi {

struct Codebook {
    ggml_tensor * vectors;    // [codebook_dim, bins] in ggml's order
    ggml_tensor * half_norms; // [bins], -|e|^2 / 2
};

struct Quantizer {
    ggml_tensor *first_in, *first_out, *rest_in, *rest_out; // projections between latent and codebook space
    std::vector<Codebook> codebooks;                        // [0]: semantic
};

Quantizer load_quantizer(WeightLoader & loader, const MimiConfig & config);

// latents [dim, T] -> one i32 [T] per codebook
std::vector<ggml_tensor *> quantize(ggml_context * ctx, const Quantizer & w, ggml_tensor * latents, int n_codebooks);
// one i32 [T] per codebook -> latents [dim, T]
ggml_tensor * dequantize(ggml_context * ctx, const Quantizer & w, const std::vector<ggml_tensor *> & codes);

} // namespace moshi
