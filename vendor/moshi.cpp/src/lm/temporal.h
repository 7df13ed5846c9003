// The temporal transformer: one position per frame of 80 ms (MODELS.md 2.2, 2.3).
#pragma once

#include "lm/model.h"
#include "nn/ops.h"

namespace moshi {

ggml_tensor * embed(ggml_context * ctx, const Embedding & e, ggml_tensor * ids); // i32 [T] -> [dim, T]

// Tokens of T positions, a row per stream, text first. `gains`: f32 of the same shape, 0 for the zero token; or nullptr.
struct TokenInputs {
    ggml_tensor * ids;   // i32 [max_T, 1 + n_q]
    ggml_tensor * gains; // f32 [max_T, 1 + n_q]
};
ggml_tensor * embed_tokens(ggml_context * ctx, const LmModel & w, const TokenInputs & tokens, int T); // [dim, T]

// x: summed input embeddings [dim, T] -> hidden states before the output norm [dim, T]. Without `hidden` nothing but the
// ring is wanted: the last layer ends with its keys and values, and nullptr is returned.
ggml_tensor * temporal_transformer(Graph & graph, const LmModel & w, const RingAttention & ring, ggml_tensor * x, bool hidden);

} // namespace moshi
