#include "backend/products.h"

#include "backend/compute.h"

#include <cstring>

namespace moshi {

ggml_backend_buffer_type_t find_repack_type(ggml_backend_dev_t dev) {
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev), "ggml_backend_dev_get_extra_bufts"));
    for (auto * type = extra ? extra(dev) : nullptr; type && *type; ++type) {
        if (std::strstr(ggml_backend_buft_name(*type), "REPACK")) {
            return *type;
        }
    }
    return nullptr;
}

bool supports_product(ggml_backend_dev_t dev, ggml_type type, int64_t n_in, int64_t n_out, ggml_backend_buffer_t buffer) {
    ContextPtr ctx = new_context(4);
    ggml_tensor * w = ggml_new_tensor_2d(ctx.get(), type, n_in, n_out);
    ggml_tensor * x = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, n_in, 16);
    w->buffer = buffer;
    return ggml_backend_dev_supports_op(dev, ggml_mul_mat(ctx.get(), w, x));
}

} // namespace moshi
