#include "nn/kv_ring.h"

#include <algorithm>
#include <cmath>

namespace moshi {

namespace {
constexpr int kExactStep = 8;
}

// Slots beyond the context keep what a batched push overwrites readable for the first queries of that push.
KvRing::KvRing(ggml_context * state, const KvRingShape & shape)
    : shape_(shape), slots_(static_cast<int>(GGML_PAD(shape.context + shape.max_push - 1, shape.exact ? kExactStep : kStep))) {
    for (int l = 0; l < shape.n_layers; ++l) {
        k_.push_back(ggml_new_tensor_3d(state, shape.type, shape.head_dim, slots_, shape.n_heads));
        v_.push_back(ggml_new_tensor_3d(state, shape.type, shape.head_dim, slots_, shape.n_heads));
    }
}

int KvRing::attended(int64_t first, int n) const { return static_cast<int>(std::min<int64_t>(slots_, GGML_PAD(first + n, kStep))); }

int64_t KvRing::oldest_visible(int64_t query, int64_t push_end) const {
    switch (shape_.window) {
        case MOSHI_WINDOW_FULL: return query - shape_.context + 1;
        case MOSHI_WINDOW_LEGACY: return push_end - shape_.context + 1;
        default: return push_end - shape_.context;
    }
}

void KvRing::fill_inputs(int64_t first, int n, int push, int n_kv, int32_t * positions, int32_t * slots, ggml_fp16_t * mask) const {
    const ggml_fp16_t hidden = ggml_fp32_to_fp16(-INFINITY);
    const ggml_fp16_t visible = ggml_fp32_to_fp16(0.0f);
    std::fill(mask, mask + static_cast<size_t>(n) * n_kv, hidden);
    for (int i = 0; i < n; ++i) {
        const int64_t query = first + i;
        const int64_t push_end = first + (i / push + 1) * push;
        positions[i] = static_cast<int32_t>(query);
        slots[i] = static_cast<int32_t>(query % slots_);
        for (int64_t p = std::max<int64_t>(0, oldest_visible(query, push_end)); p <= query; ++p) {
            mask[static_cast<size_t>(i) * n_kv + p % slots_] = visible;
        }
    }
}

int64_t KvRing::kept(int64_t positions) const { return std::min<int64_t>(positions, shape_.context + shape_.max_push - 1); }

size_t KvRing::filled_bytes(int64_t positions) const {
    return k_.empty() ? 0 : 2 * k_.size() * shape_.n_heads * static_cast<size_t>(kept(positions)) * k_[0]->nb[1];
}

template <typename Visit> void KvRing::for_each_run(int64_t positions, Visit visit) const {
    for (size_t l = 0; l < k_.size(); ++l) {
        for (ggml_tensor * t : {k_[l], v_[l]}) {
            for (int h = 0; h < shape_.n_heads; ++h) {
                for (int64_t p = positions - kept(positions); p < positions;) {
                    const int64_t slot = p % slots_, n = std::min(positions - p, slots_ - slot);
                    visit(t, h * t->nb[2] + slot * t->nb[1], static_cast<size_t>(n) * t->nb[1]);
                    p += n;
                }
            }
        }
    }
}

void KvRing::save(BlobWriter & out, int64_t positions) const {
    for_each_run(positions, [&out](ggml_tensor * t, size_t begin, size_t n) { out.tensor(t, begin, n); });
}

void KvRing::restore(BlobReader & in, int64_t positions) {
    for_each_run(positions, [&in](ggml_tensor * t, size_t begin, size_t n) { in.tensor(t, begin, n); });
}

} // namespace moshi
