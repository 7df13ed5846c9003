#include "api/types.h"

#include "api/error.h"

#include <cstring>
#include <initializer_list>

namespace moshi {

namespace {

ggml_type among(std::initializer_list<ggml_type> types, const char * name, const char * argument, const char * expected) {
    if (!name) {
        fail(MOSHI_ERROR_ARGUMENT, "%s is NULL", argument);
    }
    for (const ggml_type t : types) {
        if (std::strcmp(name, ggml_type_name(t)) == 0) {
            return t;
        }
    }
    fail(MOSHI_ERROR_ARGUMENT, "%s is \"%s\"; expected %s", argument, name, expected);
}

} // namespace

ggml_type type_named(const char * name, const char * argument) {
    return among({GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K}, name, argument,
                 "f32, f16, bf16, q8_0, q4_0 or q4_K");
}

ggml_type float_type_named(const char * name, const char * argument) {
    return among({GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}, name, argument, "f32, f16 or bf16");
}

} // namespace moshi
