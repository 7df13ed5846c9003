// Weights as matrices, in the layout of the kernels that multiply them.
#pragma once

#include "nn/weights.h"

namespace moshi {

struct Matrix {
    ggml_tensor * weight = nullptr; // [n_in, n_out]; packed: [kPanel, n_in, panels] (kernels/kernels.h)
    int64_t n_out = 0;
    bool packed = false;

    Matrix() = default;
    Matrix(ggml_tensor * plain) : weight(plain), n_out(plain->ne[1]) {}
};

// A matrix of `n_out` rows that `fill` computes from a stored tensor: f32, or f16 if the stored one is and the CPU's kernels take it.
Matrix make_matrix(WeightLoader & loader, const TensorInfo & stored, int64_t n_out, int64_t n_in, std::function<void(float *)> fill);
// The same, its rows being those that are stored.
Matrix make_matrix(WeightLoader & loader, const TensorInfo & stored, int64_t n_out, int64_t n_in);
// As WeightLoader::matrix, but packed where that helps.
Matrix load_matrix(WeightLoader & loader, const std::string & name, int64_t n_out, int64_t n_in);

// w x + bias + residual. x: [n_in, n], whose columns may overlap; bias [n_out] and residual [n_out, n] may be nullptr.
ggml_tensor * product(ggml_context * ctx, const Matrix & w, ggml_tensor * x, ggml_tensor * bias = nullptr,
                      ggml_tensor * residual = nullptr);
// Rows of w, an embedding each: i32 [n] -> [n_in, n]
ggml_tensor * rows(ggml_context * ctx, const Matrix & w, ggml_tensor * ids);

} // namespace moshi
