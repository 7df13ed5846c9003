#include "nn/ring_inputs.h"

namespace moshi {

RingInputs::RingInputs(GraphInputs & inputs, const KvRing & ring, int n, int n_kv)
    : ring_(ring), positions_(inputs.add(GGML_TYPE_I32, n)), slots_(inputs.add(GGML_TYPE_I32, n)),
      mask_(inputs.add(GGML_TYPE_F16, n_kv, n)) {}

RingAttention RingInputs::attention(int n_heads, const RopeTable & rope) const {
    return {ring_, n_heads, {positions_, rope}, slots_, mask_};
}

void RingInputs::set(GraphInputs & inputs, int64_t first, int push) const {
    ring_.fill_inputs(first, static_cast<int>(mask_->ne[1]), push, static_cast<int>(mask_->ne[0]), inputs.host<int32_t>(positions_),
                      inputs.host<int32_t>(slots_), inputs.host<ggml_fp16_t>(mask_));
}

} // namespace moshi
