#include "nn/ring_inputs.h"

namespace moshi {

RingInputs::RingInputs(ggml_context * ctx, const KvRing & ring)
    : positions_(ggml_new_tensor_1d(ctx, GGML_TYPE_I32, ring.shape().max_push)),
      slots_(ggml_new_tensor_1d(ctx, GGML_TYPE_I32, ring.shape().max_push)),
      mask_(ggml_new_tensor_1d(ctx, GGML_TYPE_F16, int64_t(ring.slots()) * ring.shape().max_push)) {}

RingAttention RingInputs::attention(ggml_context * ctx, const KvRing & ring, int n_heads, const RopeTable & rope, int n, int n_kv) const {
    return {ring,
            n_heads,
            {ggml_view_1d(ctx, positions_, n, 0), rope},
            ggml_view_1d(ctx, slots_, n, 0),
            ggml_view_2d(ctx, mask_, n_kv, n, n_kv * sizeof(ggml_fp16_t), 0)};
}

void RingInputs::set(const KvRing & ring, int64_t first, int n, int push, int n_kv) const {
    std::vector<int32_t> positions(n), slots(n);
    std::vector<ggml_fp16_t> mask(static_cast<size_t>(n) * n_kv);
    ring.fill_inputs(first, n, push, n_kv, positions.data(), slots.data(), mask.data());
    ggml_backend_tensor_set(positions_, positions.data(), 0, n * sizeof(int32_t));
    ggml_backend_tensor_set(slots_, slots.data(), 0, n * sizeof(int32_t));
    ggml_backend_tensor_set(mask_, mask.data(), 0, mask.size() * sizeof(ggml_fp16_t));
}

} // namespace moshi
