// Streaming convolutions, channel fastest ([C, T]), as matrix products (MODELS.md 1.1, 1.2).
#pragma once

#include "nn/weights.h"

namespace moshi {

struct Conv {
    ggml_tensor * weight = nullptr; // [kernel * c_in, c_out], tap-major: a window of columns is one row of the product
    ggml_tensor * bias = nullptr;   // [c_out] or nullptr
    int c_in, c_out, kernel, stride;
    Halves halves;
    bool by_tap; // few terms: weight is [c_out, kernel * c_in], for a sum of outer products

    int history() const { return kernel - stride; } // columns kept between calls
};

// ConvTranspose1d with kernel 2 * stride: every output depends on two input columns, so it is a product too.
struct ConvTranspose {
    ggml_tensor * weight = nullptr; // [2 * c_in, stride * c_out]: (previous, current) column -> stride columns
    ggml_tensor * bias = nullptr;
    int c_in, c_out, stride;
};

// y[t * stride + j] = now[:, j] * x[t] + previous[:, j] * x[t - 1], channel by channel
struct DepthwiseUpsample {
    ggml_tensor * now = nullptr;      // [channels, stride]
    ggml_tensor * previous = nullptr;
    int channels, stride;
};

// `name` is the stored name without ".weight"/".bias".
Conv load_conv(WeightLoader & loader, const std::string & name, int c_in, int c_out, int kernel, int stride, bool bias);
ConvTranspose load_conv_transpose(WeightLoader & loader, const std::string & name, int c_in, int c_out, int stride);
DepthwiseUpsample load_upsample(WeightLoader & loader, const std::string & name, int channels, int stride);

// `history` tensors are state: the columns that the next call needs. x: [c_in, T], T a multiple of the stride.
ggml_tensor * conv(Graph & graph, const Conv & w, ggml_tensor * history, ggml_tensor * x);
ggml_tensor * conv_transpose(Graph & graph, const ConvTranspose & w, ggml_tensor * history, ggml_tensor * x);
ggml_tensor * upsample(Graph & graph, const DepthwiseUpsample & w, ggml_tensor * history, ggml_tensor * x);

} // namespace moshi
