// Sampling inside the graph (MODELS.md 2.5). argmax(logits / t + gumbel) over the k best draws exactly from their
// softmax; scaled by t, the noise alone carries the temperature, so that a graph serves every temperature.
#pragma once

#include "backend/compute.h"

#include <cstdint>

namespace moshi {

struct Sampling {
    float temperature; // 0: greedy
    int top_k;         // 0: all
};

// How many of `card` logits take part: 0 means greedy and needs no noise.
int candidates(const Sampling & s, int card);

// logits [card, 1] -> token id, i32 [1]. noise: f32 [n_candidates].
ggml_tensor * sample(ggml_context * ctx, const Compute & compute, ggml_tensor * logits, int n_candidates, ggml_tensor * noise);

// temperature * Gumbel noise. A pure function of its arguments, so a seed reproduces a conversation and a snapshot
// needs no generator state. `stream`: 0 for text, 1 + k for depformer step k.
void fill_noise(float * out, int n, float temperature, uint64_t seed, uint64_t frame, int stream);

} // namespace moshi
