// The kernels in terms of a vector type, compiled once for each instruction set. Nothing here may come from the standard
// library: its inline functions, compiled for AVX-512, could be those that the linker keeps for everyone.
#pragma once

#include "kernels/kernels.h"

namespace moshi {
namespace {

constexpr int64_t kTerms = 64; // summed before they join the total: one long sum would lose three digits of its last terms

// One block of y: kRows vectors of outputs from `row` on, `N` columns from `first` on. Its sums stay in registers.
template <class Isa, class Weight, int kRows, int N> void tile(const Product & p, int64_t row, int64_t first) {
    using V = typename Isa::V;
    constexpr int kLanes = Isa::kLanes, kBlock = kRows * kLanes;
    const Weight * w = static_cast<const Weight *>(p.weights) + (row / kPanel) * kPanel * p.n_in + row % kPanel;
    const float * x = p.x + first * p.step;
    V total[N][kRows] = {};
    for (int64_t from = 0; from < p.n_in; from += kTerms) {
        const int64_t to = from + kTerms < p.n_in ? from + kTerms : p.n_in;
        V sum[N][kRows] = {};
        for (int64_t k = from; k < to; ++k, w += kPanel) {
            V a[kRows];
            for (int r = 0; r < kRows; ++r) {
                a[r] = Isa::load(w + r * kLanes);
            }
            for (int j = 0; j < N; ++j) {
                for (int r = 0; r < kRows; ++r) {
                    sum[j][r] += a[r] * x[j * p.step + k];
                }
            }
        }
        for (int j = 0; j < N; ++j) {
            for (int r = 0; r < kRows; ++r) {
                total[j][r] += sum[j][r];
            }
        }
    }
    const int64_t n_rows = p.n_out - row < kBlock ? p.n_out - row : kBlock;
    for (int j = 0; j < N; ++j) {
        float out[kBlock];
        __builtin_memcpy(out, total[j], sizeof(out));
        const int64_t at = (first + j) * p.n_out + row;
        for (int64_t r = 0; r < n_rows; ++r) {
            p.y[at + r] = out[r] + (p.bias ? p.bias[row + r] : 0.0f) + (p.residual ? p.residual[at + r] : 0.0f);
        }
    }
}

template <class Isa, class Weight, int kRows, int N> void tile_of(int n, const Product & p, int64_t row, int64_t first) {
    if (n == N) {
        tile<Isa, Weight, kRows, N>(p, row, first);
    } else if constexpr (N > 1) {
        tile_of<Isa, Weight, kRows, N - 1>(n, p, row, first);
    }
}

template <class Isa, class Weight, int kRows, int kColumns> void tiles(const Product & p, int ith, int nth) {
    constexpr int kBlock = kRows * Isa::kLanes;
    const int64_t n_strips = (p.n + kColumns - 1) / kColumns; // of columns, about equally wide
    const int64_t n_tiles = (p.n_out + kBlock - 1) / kBlock * n_strips;
    for (int64_t t = n_tiles * ith / nth; t < n_tiles * (ith + 1) / nth; ++t) {
        const int64_t strip = t % n_strips, first = p.n * strip / n_strips, last = p.n * (strip + 1) / n_strips;
        tile_of<Isa, Weight, kRows, kColumns>(static_cast<int>(last - first), p, t / n_strips * kBlock, first);
    }
}

template <class Isa, class Weight> void product(const Product & p, int ith, int nth) {
    constexpr int kWhole = kPanel / Isa::kLanes, kFew = Isa::kSums / kWhole;
    if constexpr (kFew > 0 && kWhole > Isa::kRows) {
        if (p.n <= kFew) { // whole panels: weights are read once, in one sweep
            return tiles<Isa, Weight, kWhole, kFew>(p, ith, nth);
        }
    }
    tiles<Isa, Weight, Isa::kRows, Isa::kSums / Isa::kRows>(p, ith, nth);
}

// exp(x) - 1 below zero, x above. Written so that the compiler makes vectors of it; NaN stays NaN.
inline void elu(const float * x, float * y, int64_t n) {
    constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
    constexpr float kRound = 12582912.0f; // 1.5 * 2^23: adding it rounds to whole numbers
    for (int64_t i = 0; i < n; ++i) {
        const float below = x[i] > 0.0f ? 0.0f : x[i], above = x[i] > 0.0f ? x[i] : 0.0f;
        const float z = below < -80.0f ? -80.0f : below; // exp(-80) is nothing beside 1
        const float power = (z * kLog2e + kRound) - kRound;
        const float r = (z - power * kLn2High) - power * kLn2Low; // |r| <= ln(2) / 2
        // exp(r) - 1 by its series: the first term left out is below 1e-8
        const float series =
            r + r * r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040))))));
        const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(power) + 127) << 23;
        float scale; // 2^power
        __builtin_memcpy(&scale, &bits, sizeof(scale));
        y[i] = above + (scale * series + (scale - 1.0f));
    }
}

} // namespace
} // namespace moshi
