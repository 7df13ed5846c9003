// How fast a device gets through weights: with one frame at a time that, and little else, is its speed.
#pragma once

#include "moshi.h"

#include "ggml.h"

#include <string>

namespace moshi {

// Products of `n_bytes` of matrices of `type` with a vector, for about `seconds`. 0: more than a cache holds.
moshi_bandwidth_result measure_products(const std::string & device, int n_threads, ggml_type type, uint64_t n_bytes, double seconds);

// Keys and values in f16 that the attention of one frame goes through; on a CPU it is not the memory that holds it up.
// Throws Error(MOSHI_ERROR_UNSUPPORTED) on devices without fused attention.
moshi_bandwidth_result measure_attention(const std::string & device, int n_threads, uint64_t n_bytes, double seconds);

} // namespace moshi
