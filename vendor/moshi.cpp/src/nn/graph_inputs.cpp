#include "nn/graph_inputs.h"

#include "api/error.h"

namespace moshi {

void GraphInputs::allocate(const Compute & compute, const char * what) {
    buffer_ = moshi::allocate(ctx_.get(), compute.buffer_type(), what);
    const size_t size = ggml_backend_buffer_get_size(buffer_.get());
    whole_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_I8, static_cast<int64_t>(size));
    if (ggml_backend_tensor_alloc(buffer_.get(), whole_, ggml_backend_buffer_get_base(buffer_.get())) != GGML_STATUS_SUCCESS) {
        fail(MOSHI_ERROR_MEMORY, "the memory for %s cannot be used", what);
    }
    staged_.assign(size, 0);
}

void GraphInputs::upload() const { ggml_backend_tensor_set(whole_, staged_.data(), 0, staged_.size()); }

size_t GraphInputs::offset(const ggml_tensor * t) const {
    return static_cast<size_t>(static_cast<const uint8_t *>(t->data) - static_cast<const uint8_t *>(whole_->data));
}

} // namespace moshi
