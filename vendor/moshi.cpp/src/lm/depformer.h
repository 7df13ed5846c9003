// The depformer: within one frame, a small transformer over codebooks with weights of its own per step (MODELS.md 2.4).
#pragma once

#include "lm/model.h"
#include "lm/sampling.h"
#include "nn/ops.h"

namespace moshi {

// Keys and values of the steps of one frame; overwritten every frame.
struct DepformerCache {
    std::vector<ggml_tensor *> k; // [dim, steps]
    std::vector<ggml_tensor *> v; // [steps, dim]: transposed, as the product with the weights reads it
};
DepformerCache depformer_cache(ggml_context * state, const LmModel & w, int n_steps, ggml_type type);

// Tokens that are known beforehand replace samples as input of the next step. Entry 0 is the text token, 1 + k that of step k.
struct ForcedInputs {
    ggml_tensor * ids;         // i32 [kIdAlignment, 1 + steps], the first of each row
    ggml_tensor * sample_gain; // f32 [1 + steps]: 1 feeds the sample, 0 does not
    ggml_tensor * forced_gain; // f32 [1 + steps]: 1 feeds the forced id; both 0: the zero token
};

struct DepformerRun {
    std::vector<ggml_tensor *> tokens; // i32 [1] per step: the samples
    std::vector<ggml_tensor *> logits; // [card] per step
};

struct DepformerOptions {
    int n_steps;
    bool legacy_window; // the last of dep_q steps does not see the first (MODELS.md 3.1)
    int n_candidates;   // per step
    ggml_tensor * noise;          // f32 [n_steps * n_candidates]
    const ForcedInputs * forced;  // nullptr: everything is sampled
};

// hidden: [dim, 1] after the output norm; text: i32 [1], the sampled text token.
DepformerRun depformer(Graph & graph, const Compute & compute, const LmModel & w, const DepformerCache & cache, ggml_tensor * hidden,
                       ggml_tensor * text, const DepformerOptions & options);

} // namespace moshi
