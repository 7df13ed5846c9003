// Which matrices a device multiplies, and in which layout it does so fastest.
#pragma once

#include "ggml-backend.h"

#include <cstdint>

namespace moshi {

// The CPU's buffers whose weights are laid out for its fastest kernels; nullptr if this processor has none.
ggml_backend_buffer_type_t find_repack_type(ggml_backend_dev_t dev);

// Whether the device multiplies a matrix of `type`, [n_in, n_out], with activations. `buffer`: where it lies, if that matters.
bool supports_product(ggml_backend_dev_t dev, ggml_type type, int64_t n_in, int64_t n_out, ggml_backend_buffer_t buffer);

} // namespace moshi
