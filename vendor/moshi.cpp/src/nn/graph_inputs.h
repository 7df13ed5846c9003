// What a graph is told before each run: tensors that lie together, so that one transfer brings them all to the device.
#pragma once

#include "backend/compute.h"

#include <cstdint>
#include <vector>

namespace moshi {

class GraphInputs {
public:
    explicit GraphInputs(size_t max_tensors) : ctx_(new_context(max_tensors + 1)) {}

    // To be declared before allocate(), written in host memory before each upload(). Zero at first.
    ggml_tensor * add(ggml_type type, int64_t ne0, int64_t ne1 = 1) { return ggml_new_tensor_2d(ctx_.get(), type, ne0, ne1); }
    void allocate(const Compute & compute, const char * what);
    template <typename T> T * host(const ggml_tensor * t) { return reinterpret_cast<T *>(staged_.data() + offset(t)); }
    void upload() const;

private:
    size_t offset(const ggml_tensor * t) const;

    ContextPtr ctx_;
    BufferPtr buffer_;
    ggml_tensor * whole_ = nullptr; // i8, all of the buffer
    std::vector<uint8_t> staged_;
};

} // namespace moshi
