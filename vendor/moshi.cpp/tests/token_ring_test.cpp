// Delayed streams, against the texts of MODELS.md 2.6 (Kyutai) and 3.2 (NVIDIA's fork), followed literally here.
#include "session/token_ring.h"

#include "check.h"
#include "tiny_model.h"

#include <algorithm>

using namespace moshi;

namespace {

constexpr int kNone = MOSHI_TOKEN_NONE;

LmConfig config(bool fork, std::vector<int> delays, int dep_q) {
    LmConfig c{};
    c.model_type = fork ? "personaplex" : "moshi";
    c.text_card = 1000;
    c.card = 500;
    c.n_q = static_cast<int>(delays.size()) - 1;
    c.dep_q = dep_q;
    c.max_delay = *std::max_element(delays.begin(), delays.end());
    c.delays = std::move(delays);
    return c;
}
const std::vector<int> kDelays = {0, 0, 1, 1, 0, 1, 1}; // text, three of the model, three of the user
LmConfig kyutai() { return config(false, kDelays, 3); }
LmConfig fork() { return config(true, kDelays, 6); }

// What the tokens of call `n` are, so that each tells where it comes from.
int user(int n, int j) { return 100 + 3 * n + j; }
int text_sample(int n) { return 10 + n; }
int audio_sample(int n, int k) { return 300 + 6 * n + k; }

std::vector<int32_t> heard(int n) {
    std::vector<int32_t> given(7, kNone);
    for (int j = 0; j < 3; ++j) {
        given[static_cast<size_t>(4 + j)] = user(n, j);
    }
    return given;
}
Samples samples(int n, int steps) {
    Samples s{text_sample(n), {}};
    for (int k = 0; k < steps; ++k) {
        s.audio.push_back(audio_sample(n, k));
    }
    return s;
}

// MODELS.md 2.6, as a list of calls: nothing shared with the engine but the text.
struct ReferenceKyutai {
    LmConfig c;
    int64_t offset = 0;
    int CT;
    std::vector<std::vector<int>> cache;
    explicit ReferenceKyutai(const LmConfig & config)
        : c(config), CT(config.max_delay + 2), cache(static_cast<size_t>(1 + c.n_q), std::vector<int>(static_cast<size_t>(CT), kNone)) {}
    int & at(int k, int64_t n) { return cache[static_cast<size_t>(k)][static_cast<size_t>(n % CT)]; }

    std::vector<int32_t> input(const std::vector<int32_t> & given) {
        for (int k = 1 + c.dep_q; k <= c.n_q; ++k) {
            at(k, offset + c.delays[static_cast<size_t>(k)]) = given[static_cast<size_t>(k)];
        }
        std::vector<int32_t> out;
        for (int k = 0; k <= c.n_q; ++k) {
            out.push_back(offset <= c.delays[static_cast<size_t>(k)] ? (k ? c.card : c.text_card) : at(k, offset));
        }
        return out;
    }
    std::vector<int32_t> output(const Samples & s) {
        offset += 1;
        at(0, offset) = s.text;
        for (int k = 1; k <= c.dep_q; ++k) {
            at(k, offset) = s.audio[static_cast<size_t>(k - 1)];
        }
        std::vector<int32_t> out;
        for (int k = 0; offset > c.max_delay && k <= c.dep_q; ++k) {
            out.push_back(at(k, offset - c.max_delay + c.delays[static_cast<size_t>(k)]));
        }
        return out;
    }
};

// MODELS.md 3.2, likewise.
struct ReferenceFork {
    LmConfig c;
    int64_t n = 0;
    int CT;
    std::vector<std::vector<int>> cache;
    std::vector<std::vector<bool>> given_at;
    explicit ReferenceFork(const LmConfig & config)
        : c(config), CT(config.max_delay + 3), cache(static_cast<size_t>(1 + c.n_q), std::vector<int>(static_cast<size_t>(CT), kNone)),
          given_at(static_cast<size_t>(1 + c.n_q), std::vector<bool>(static_cast<size_t>(CT), false)) {}
    size_t slot(int64_t step) const { return static_cast<size_t>(step % CT); }

    // The input; nothing in the first call. Then `forced`: the target where provided.
    std::vector<int32_t> input(const std::vector<int32_t> & given, std::vector<int32_t> & forced) {
        for (size_t k = 0; k < cache.size(); ++k) {
            if (given[k] != kNone) {
                cache[k][slot(n + c.delays[k])] = given[k];
                given_at[k][slot(n + c.delays[k])] = true;
            }
        }
        for (size_t k = 0; k < cache.size(); ++k) {
            if (n <= c.delays[k]) {
                cache[k][slot(n)] = k ? c.card : c.text_card;
                given_at[k][slot(n)] = true;
            }
        }
        std::vector<int32_t> out;
        if (n == 0) {
            for (size_t k = 0; k < cache.size(); ++k) {
                cache[k][0] = k ? c.card : c.text_card;
            }
            n = 1;
            return out;
        }
        forced.clear();
        for (size_t k = 0; k < cache.size(); ++k) {
            out.push_back(cache[k][slot(n - 1)]);
            forced.push_back(given_at[k][slot(n)] ? cache[k][slot(n)] : kNone);
        }
        return out;
    }
    std::vector<int32_t> output(const Samples & s) {
        for (size_t k = 0; k < cache.size(); ++k) {
            given_at[k][slot(n - 1)] = false;
            if (!given_at[k][slot(n)]) {
                cache[k][slot(n)] = k ? s.audio[k - 1] : s.text;
            }
        }
        std::vector<int32_t> out;
        for (size_t k = 0; n > c.max_delay && k < cache.size(); ++k) {
            out.push_back(cache[k][slot(n - c.max_delay + c.delays[k])]);
        }
        n += 1;
        return out;
    }
};

const std::vector<std::vector<int>> kManyDelays = {
    kDelays, {0, 0, 0, 0, 0, 0, 0}, {2, 0, 1, 3, 0, 2, 2}, {0, 5, 5, 5, 5, 5, 5}, {1, 1, 1, 1, 1, 1, 1}};

void kyutais_protocol_is_followed_to_the_letter() {
    for (const std::vector<int> & delays : kManyDelays) {
        const LmConfig c = config(false, delays, 3);
        TokenRing ring(c);
        ReferenceKyutai reference(c);
        CHECK_EQ(ring.length(), c.max_delay + 2);
        for (int n = 0; n < 40; ++n) {
            const StepPlan plan = ring.begin(heard(n));
            CHECK(plan.run);
            CHECK(plan.input == reference.input(heard(n)));
            const Samples s = samples(n, 3);
            CHECK(ring.finish(s).value_or(std::vector<int32_t>()) == reference.output(s));
        }
    }
}

void the_forks_protocol_is_followed_to_the_letter() {
    tiny::Random random(3);
    for (const std::vector<int> & delays : kManyDelays) {
        const LmConfig c = config(true, delays, 6);
        TokenRing ring(c);
        ReferenceFork reference(c);
        CHECK_EQ(ring.length(), c.max_delay + 3);
        for (int n = 0; n < 60; ++n) {
            std::vector<int32_t> given = heard(n), forced;
            for (size_t k = 0; k < 4; ++k) { // text and the model's codes are told now and then
                given[k] = random.one_in(3) ? 400 + n : kNone;
            }
            const StepPlan plan = ring.begin(given);
            CHECK(plan.input == reference.input(given, forced));
            CHECK_EQ(plan.run, n > 0);
            if (!plan.run) {
                continue;
            }
            CHECK(plan.forced.tokens == forced);
            const Samples s = samples(n, 6);
            CHECK(ring.finish(s).value_or(std::vector<int32_t>()) == reference.output(s));
        }
    }
}

void at_first_everything_is_initial() {
    TokenRing ring(kyutai());
    const std::vector<int32_t> input = ring.begin(heard(0)).input;
    CHECK(input == std::vector<int32_t>({1000, 500, 500, 500, 500, 500, 500}));
    CHECK(!ring.finish(samples(0, 3))); // call 0 returns nothing
    const std::vector<int32_t> second = ring.begin(heard(1)).input; // streams of delay 1 are still initial
    CHECK(second == std::vector<int32_t>({text_sample(0), audio_sample(0, 0), 500, 500, user(1, 0), 500, 500}));
}

void frames_come_out_aligned() {
    TokenRing ring(kyutai());
    for (int n = 0; n < 20; ++n) {
        ring.begin(heard(n));
        const auto frame = ring.finish(samples(n, 3));
        CHECK_EQ(frame.has_value(), n > 0);
        if (frame) { // text and codebook 0 of the call before, the others of this one
            CHECK(*frame == std::vector<int32_t>({text_sample(n - 1), audio_sample(n - 1, 0), audio_sample(n, 1), audio_sample(n, 2)}));
        }
    }
}

void what_the_user_said_is_never_overwritten() {
    TokenRing ring(fork());
    for (int n = 0; n < 30; ++n) {
        const StepPlan plan = ring.begin(heard(n));
        if (!plan.run) {
            continue;
        }
        // The fork feeds what was heard two calls before: one of latency, one of delay.
        if (n > 2) {
            CHECK_EQ(plan.input[4], user(n - 1, 0));
            CHECK_EQ(plan.input[5], user(n - 2, 1));
            CHECK_EQ(plan.input[6], user(n - 2, 2));
        }
        const auto frame = ring.finish(samples(n, 6)); // predictions for the user's streams as well
        if (frame && n > 2) {
            CHECK_EQ((*frame)[4], user(n - 1, 0));
            CHECK_EQ((*frame)[5], user(n - 1, 1));
            CHECK_EQ((*frame)[6], user(n - 1, 2));
        }
    }
}

void the_users_half_need_not_be_computed() {
    TokenRing all(fork()), half(fork());
    for (int n = 0; n < 30; ++n) {
        const StepPlan a = all.begin(heard(n)), b = half.begin(heard(n));
        CHECK(a.input == b.input);
        if (a.run) {
            CHECK(all.finish(samples(n, 6)) == half.finish(samples(n, 3)));
        }
    }
}

void the_forks_first_call_runs_nothing() {
    TokenRing ring(fork());
    CHECK(!ring.begin(heard(0)).run);
    CHECK_EQ(ring.offset(), 1);
    CHECK(ring.begin(heard(1)).run);
}

void what_a_prompt_does_not_say_is_named() {
    TokenRing ring(fork());
    std::vector<int32_t> given(7, 3);
    ring.begin(given);
    ring.begin(given);
    CHECK(!ring.first_unknown());
    ring.finish({kNone, {}});
    given[0] = kNone;
    ring.begin(given);
    CHECK_EQ(ring.first_unknown().value_or(-1), 0);
}

void a_saved_ring_goes_on() {
    for (const LmConfig & c : {kyutai(), fork()}) {
        const int steps = c.dep_q;
        TokenRing first(c);
        for (int n = 0; n < 7; ++n) {
            if (first.begin(heard(n)).run) {
                first.finish(samples(n, steps));
            }
        }
        BlobWriter out;
        first.save(out);
        TokenRing second(c);
        BlobReader in(out.data().data(), out.data().size());
        second.restore(in);
        CHECK_EQ(in.left(), 0u);
        for (int n = 7; n < 15; ++n) {
            CHECK(first.begin(heard(n)).input == second.begin(heard(n)).input);
            CHECK(first.finish(samples(n, steps)) == second.finish(samples(n, steps)));
        }
    }
}

void a_damaged_ring_is_refused() {
    TokenRing ring(fork());
    BlobWriter out;
    ring.save(out);
    const auto restore = [&](std::vector<uint8_t> data) {
        TokenRing other(fork());
        BlobReader in(data.data(), data.size());
        other.restore(in);
    };
    std::vector<uint8_t> data = out.data();
    data.resize(data.size() - 1);
    CHECK_FAILS(restore(data), MOSHI_ERROR_FORMAT, "truncated");
    for (const int32_t token : {1001, -3, INT32_MAX, INT32_MIN}) {
        data = out.data();
        std::memcpy(data.data() + sizeof(int64_t), &token, sizeof(token));
        CHECK_FAILS(restore(data), MOSHI_ERROR_FORMAT, "damaged");
    }
    for (const int64_t offset : {int64_t(-1), INT64_MIN, INT64_MAX, INT64_MAX - 3}) {
        data = out.data();
        std::memcpy(data.data(), &offset, sizeof(offset));
        CHECK_FAILS(restore(data), MOSHI_ERROR_FORMAT, "damaged");
    }
}

} // namespace

int main() {
    return check::run({
        {"Kyutai's protocol is followed to the letter", kyutais_protocol_is_followed_to_the_letter},
        {"the fork's protocol is followed to the letter", the_forks_protocol_is_followed_to_the_letter},
        {"at first everything is initial", at_first_everything_is_initial},
        {"frames come out aligned", frames_come_out_aligned},
        {"what the user said is never overwritten", what_the_user_said_is_never_overwritten},
        {"the user's half need not be computed", the_users_half_need_not_be_computed},
        {"the fork's first call runs nothing", the_forks_first_call_runs_nothing},
        {"what a prompt does not say is named", what_a_prompt_does_not_say_is_named},
        {"a saved ring goes on", a_saved_ring_goes_on},
        {"a damaged ring is refused", a_damaged_ring_is_refused},
    });
}
