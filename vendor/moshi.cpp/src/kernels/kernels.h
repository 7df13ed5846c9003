// What the codec computes on a CPU with code of our own: products of f32 activations with weights kept in f32 or f16.
//
// ggml's kernels round activations to f16 where weights are f16, need every window of a convolution copied out, and go
// through a matrix of two columns at half of the memory's speed. These widen weights as they are read, take overlapping
// windows where they lie, and read weights in one forward sweep.
#pragma once

#include <cstdint>

namespace moshi {

// Weights are packed in panels of this many outputs, [panels][n_in][kPanel]; the last panel is filled up with zeros.
constexpr int kPanel = 32;

struct Product {
    const void * weights; // packed
    const float * bias;     // [n_out] or nullptr
    const float * residual; // [n_out, n], added to the result, or nullptr
    const float * x;        // column j is x[j * step], ..., x[j * step + n_in - 1]: columns may overlap
    float * y;              // [n_out, n]
    int64_t n_in, n_out, n, step;
};

struct Kernels {
    const char * name;
    // The part of thread `ith` of `nth`.
    void (*product_f32)(const Product & p, int ith, int nth);
    void (*product_f16)(const Product & p, int ith, int nth); // nullptr: this CPU does not convert f16
    void (*elu)(const float * x, float * y, int64_t n);
};

// The best that this CPU runs; nullptr if the compiler could not make any.
const Kernels * kernels();

} // namespace moshi
