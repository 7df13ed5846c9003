// Types of weights by the names that ggml gives them.
#pragma once

#include "ggml.h"

namespace moshi {

// f32, f16, bf16, q8_0, q4_0 or q4_K. Throws Error(MOSHI_ERROR_ARGUMENT); `argument` is what the caller calls it.
ggml_type type_named(const char * name, const char * argument);
ggml_type float_type_named(const char * name, const char * argument); // f32, f16 or bf16

} // namespace moshi
