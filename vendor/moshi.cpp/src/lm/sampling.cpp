#include "lm/sampling.h"

#include <algorithm>
#include <cmath>

namespace moshi {

namespace {

constexpr float kLargestLogit = 1e30f;

// Finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes counters into random bits.
uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

} // namespace

int candidates(const Sampling & s, int card) {
    if (s.temperature <= 0) {
        return 0;
    }
    return s.top_k <= 0 ? card : std::min(s.top_k, card);
}

ggml_tensor * sample(ggml_context * ctx, const Compute & compute, ggml_tensor * logits, int n_candidates, ggml_tensor * noise) {
    // Damaged weights give NaN, for which CUDA's argmax answers -1; every device clamps it to a number.
    logits = ggml_clamp(ctx, logits, -kLargestLogit, kLargestLogit);
    if (n_candidates == 0) {
        // ggml's CPU argmax takes the last of equals; the reference, and this, the first.
        return compute.is_cpu() ? ggml_top_k(ctx, logits, 1) : ggml_argmax(ctx, logits);
    }
    const int64_t card = logits->ne[0];
    if (n_candidates == card) {
        return ggml_argmax(ctx, ggml_add(ctx, logits, noise));
    }
    ggml_tensor * best = ggml_top_k(ctx, logits, n_candidates);             // i32 [k], in no particular order
    if (!compute.supports(best)) {
        best = ggml_cont(ctx, ggml_argsort_top_k(ctx, logits, n_candidates));
    }
    ggml_tensor * values = ggml_get_rows(ctx, ggml_reshape_2d(ctx, logits, 1, card), best);
    ggml_tensor * noisy = ggml_add(ctx, ggml_reshape_1d(ctx, values, n_candidates), noise);
    ggml_tensor * winner = ggml_argmax(ctx, noisy);
    return ggml_reshape_1d(ctx, ggml_get_rows(ctx, ggml_reshape_2d(ctx, best, 1, n_candidates), winner), 1);
}

void fill_noise(float * out, int n, float temperature, uint64_t seed, uint64_t frame, int stream) {
    const uint64_t key = mix(mix(mix(seed) ^ frame) ^ static_cast<uint64_t>(stream));
    for (int i = 0; i < n; ++i) {
        const double u = (static_cast<double>(mix(key ^ static_cast<uint64_t>(i)) >> 11) + 0.5) * 0x1p-53; // in (0, 1)
        out[i] = static_cast<float>(-temperature * std::log(-std::log(u)));
    }
}

} // namespace moshi
