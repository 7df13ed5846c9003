// Which keys a query sees (MODELS.md 6.1), and where in the ring they lie.
#include "nn/kv_ring.h"

#include "backend/compute.h"
#include "check.h"

#include "ggml-cpu.h"

#include <set>

using namespace moshi;

namespace {

constexpr int kContext = 10;

struct Ring {
    ContextPtr ctx = new_context(8);
    KvRing ring;
    explicit Ring(moshi_window window, int max_push = 1, int context = kContext, bool exact = false)
        : ring(ctx.get(), KvRingShape{1, 2, 2, context, max_push, GGML_TYPE_F32, window, true, exact}) {}
};

// Positions that each of `n` queries from `first` on sees; `push` of them enter at a time. Checks the slots on the way.
std::vector<std::set<int64_t>> visible(const KvRing & ring, int64_t first, int n, int push) {
    const int n_kv = ring.attended(first, n);
    std::vector<int32_t> positions(static_cast<size_t>(n)), slots(positions.size());
    std::vector<ggml_fp16_t> mask(static_cast<size_t>(n) * static_cast<size_t>(n_kv));
    ring.fill_inputs(first, n, push, n_kv, positions.data(), slots.data(), mask.data());
    std::vector<std::set<int64_t>> out;
    for (int i = 0; i < n; ++i) {
        CHECK_EQ(positions[static_cast<size_t>(i)], first + i);
        CHECK_EQ(slots[static_cast<size_t>(i)], (first + i) % ring.slots());
        std::set<int64_t> seen;
        for (int64_t p = std::max<int64_t>(0, first + n - ring.slots()); p < first + n; ++p) { // what the ring holds after the push
            const float m =
                ggml_fp16_to_fp32(mask[static_cast<size_t>(i) * static_cast<size_t>(n_kv) + static_cast<size_t>(p % ring.slots())]);
            if (m == 0.0f) {
                seen.insert(p);
            } else {
                CHECK(std::isinf(m) && m < 0);
            }
        }
        size_t unmasked = 0;
        for (int s = 0; s < n_kv; ++s) {
            unmasked += ggml_fp16_to_fp32(mask[static_cast<size_t>(i) * static_cast<size_t>(n_kv) + static_cast<size_t>(s)]) == 0.0f;
        }
        CHECK_EQ(unmasked, seen.size()); // nothing else is visible
        out.push_back(seen);
    }
    return out;
}

void sees(const std::set<int64_t> & seen, int64_t oldest, int64_t newest) {
    CHECK_EQ(seen.size(), static_cast<size_t>(newest - oldest + 1));
    CHECK_EQ(*seen.begin(), oldest);
    CHECK_EQ(*seen.rbegin(), newest);
}

void a_query_sees_all_before_it_until_the_ring_is_full() {
    for (const moshi_window window : {MOSHI_WINDOW_MODERN, MOSHI_WINDOW_LEGACY, MOSHI_WINDOW_FULL}) {
        const Ring r(window);
        for (int64_t p = 0; p < kContext - 1; ++p) {
            sees(visible(r.ring, p, 1, 1)[0], 0, p);
        }
    }
}

void one_position_at_a_time_sees_the_context_or_one_less() {
    for (int64_t p = kContext - 1; p < 600; ++p) {
        sees(visible(Ring(MOSHI_WINDOW_MODERN).ring, p, 1, 1)[0], p - kContext + 1, p);
        sees(visible(Ring(MOSHI_WINDOW_FULL).ring, p, 1, 1)[0], p - kContext + 1, p);
        sees(visible(Ring(MOSHI_WINDOW_LEGACY).ring, p, 1, 1)[0], p - kContext + 2, p); // already when p = context - 1
    }
}

void of_two_at_a_time_the_first_sees_less_than_the_second() {
    for (int64_t p = 2 * kContext; p < 600; p += 2) {
        auto seen = visible(Ring(MOSHI_WINDOW_MODERN, 2).ring, p, 2, 2);
        sees(seen[0], p - kContext + 2, p); // context - 1 keys: the oldest was overwritten by the second
        sees(seen[1], p - kContext + 2, p + 1);
        seen = visible(Ring(MOSHI_WINDOW_LEGACY, 2).ring, p, 2, 2);
        sees(seen[0], p - kContext + 3, p);
        sees(seen[1], p - kContext + 3, p + 1);
        seen = visible(Ring(MOSHI_WINDOW_FULL, 2).ring, p, 2, 2);
        sees(seen[0], p - kContext + 1, p);
        sees(seen[1], p - kContext + 2, p + 1);
    }
}

void a_batch_sees_what_its_pushes_would_have_seen_one_by_one() {
    for (const moshi_window window : {MOSHI_WINDOW_MODERN, MOSHI_WINDOW_LEGACY, MOSHI_WINDOW_FULL}) {
        const Ring r(window, 16);
        for (const int64_t first : {int64_t(0), int64_t(6), int64_t(250), int64_t(1000)}) {
            const auto batch = visible(r.ring, first, 16, 2);
            for (int i = 0; i < 16; i += 2) {
                const auto pair = visible(r.ring, first + i, 2, 2);
                CHECK(batch[static_cast<size_t>(i)] == pair[0]);
                CHECK(batch[static_cast<size_t>(i) + 1] == pair[1]);
            }
        }
    }
}

void slots_suffice_for_the_context_and_a_push() {
    for (const int context : {4, 250, 256, 257, 3000}) {
        for (const int push : {1, 16, 64}) {
            const Ring r(MOSHI_WINDOW_FULL, push, context);
            CHECK(r.ring.slots() >= context + push - 1);
            CHECK_EQ(r.ring.slots() % KvRing::kStep, 0);
            const Ring exact(MOSHI_WINDOW_FULL, push, context, true);
            CHECK(exact.ring.slots() >= context + push - 1);
            CHECK(exact.ring.slots() < context + push + 7);
        }
    }
}

void attention_costs_what_is_filled() {
    const Ring r(MOSHI_WINDOW_FULL, 1, 3000);
    CHECK_EQ(r.ring.attended(0, 1), KvRing::kStep);
    CHECK_EQ(r.ring.attended(255, 1), 256);
    CHECK_EQ(r.ring.attended(256, 1), 512);
    CHECK_EQ(r.ring.attended(1 << 20, 1), r.ring.slots());
}

void snapshots_hold_what_is_filled() {
    const Ring r(MOSHI_WINDOW_FULL);
    CHECK_EQ(r.ring.filled_bytes(0), 0u);
    CHECK_EQ(r.ring.filled_bytes(3), 3u * 2 * 4 * sizeof(float));
    CHECK_EQ(r.ring.filled_bytes(1 << 30), size_t(2) * 4 * sizeof(float) * static_cast<size_t>(kContext));
}

void a_ring_with_other_slots_takes_a_snapshot() {
    constexpr int kPositions = 600; // both have gone round
    const Ring wide(MOSHI_WINDOW_FULL);
    Ring narrow(MOSHI_WINDOW_FULL, 1, kContext, true);
    const BufferPtr a(ggml_backend_alloc_ctx_tensors_from_buft(wide.ctx.get(), ggml_backend_cpu_buffer_type()));
    const BufferPtr b(ggml_backend_alloc_ctx_tensors_from_buft(narrow.ctx.get(), ggml_backend_cpu_buffer_type()));
    const auto row = [](const KvRing & ring, int64_t position, int head) {
        ggml_tensor * t = ring.v(0);
        return reinterpret_cast<float *>(static_cast<char *>(t->data) + head * t->nb[2] + position % ring.slots() * t->nb[1]);
    };
    for (int64_t p = 0; p < kPositions; ++p) {
        for (int h = 0; h < 2; ++h) {
            row(wide.ring, p, h)[0] = static_cast<float>(1000 * h + p);
        }
    }
    BlobWriter out;
    wide.ring.save(out, kPositions);
    CHECK_EQ(out.data().size(), wide.ring.filled_bytes(kPositions));
    BlobReader in(out.data().data(), out.data().size());
    narrow.ring.restore(in, kPositions);
    CHECK_EQ(in.left(), 0u);
    for (int64_t p = kPositions - kContext; p < kPositions; ++p) {
        CHECK_EQ(row(narrow.ring, p, 0)[0], static_cast<float>(p));
        CHECK_EQ(row(narrow.ring, p, 1)[0], static_cast<float>(1000 + p));
    }
}

} // namespace

int main() {
    return check::run({
        {"a query sees all before it until the ring is full", a_query_sees_all_before_it_until_the_ring_is_full},
        {"one position at a time sees the context, or one less", one_position_at_a_time_sees_the_context_or_one_less},
        {"of two at a time the first sees less than the second", of_two_at_a_time_the_first_sees_less_than_the_second},
        {"a batch sees what its pushes would have seen one by one", a_batch_sees_what_its_pushes_would_have_seen_one_by_one},
        {"slots suffice for the context and a push", slots_suffice_for_the_context_and_a_push},
        {"attention costs what is filled", attention_costs_what_is_filled},
        {"a ring with other slots takes a snapshot", a_ring_with_other_slots_takes_a_snapshot},
        {"snapshots hold what is filled", snapshots_hold_what_is_filled},
    });
}
