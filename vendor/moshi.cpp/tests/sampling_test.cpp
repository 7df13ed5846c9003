// Sampling in the graph: draws follow the softmax of the k best, seeds repeat, greedy is the first of the best.
#include "lm/sampling.h"

#include "check.h"

#include <algorithm>
#include <limits>

using namespace moshi;

namespace {

// One graph that samples from `logits`, run as often as wanted.
class Sampler {
public:
    Sampler(const std::vector<float> & logits, Sampling sampling)
        : sampling_(sampling), n_(candidates(sampling, static_cast<int>(logits.size()))), compute_(choose_device("cpu", 0).device, 1),
          input_ctx_(new_context(4)), graph_(compute_, 64) {
        logits_ = ggml_new_tensor_2d(input_ctx_.get(), GGML_TYPE_F32, static_cast<int64_t>(logits.size()), 1);
        noise_ = ggml_new_tensor_1d(input_ctx_.get(), GGML_TYPE_F32, std::max(n_, 1));
        inputs_ = allocate(input_ctx_.get(), compute_.buffer_type(), "inputs");
        token_ = sample(graph_.ctx(), compute_, logits_, n_, n_ ? noise_ : nullptr);
        ggml_set_output(token_);
        graph_.expand(token_);
        graph_.finish("sampling");
        ggml_backend_tensor_set(logits_, logits.data(), 0, logits.size() * sizeof(float));
    }
    int32_t draw(uint64_t seed, uint64_t frame = 0, int stream = 0) {
        std::vector<float> noise(static_cast<size_t>(n_));
        fill_noise(noise.data(), n_, sampling_.temperature, seed, frame, stream);
        if (n_) {
            ggml_backend_tensor_set(noise_, noise.data(), 0, noise.size() * sizeof(float));
        }
        graph_.run();
        int32_t token = -1;
        ggml_backend_tensor_get(token_, &token, 0, sizeof(token));
        return token;
    }

private:
    Sampling sampling_;
    int n_;
    Compute compute_;
    ContextPtr input_ctx_;
    Graph graph_;
    ggml_tensor *logits_, *noise_, *token_;
    BufferPtr inputs_;
};

const std::vector<float> kLogits = {0.5f, 2.0f, -1.0f, 1.5f, 0.0f, 1.0f};

// The frequencies of 20,000 draws lie within five standard deviations of the softmax over the `k` best.
void draws_follow_the_softmax(float temperature, int k) {
    constexpr int kDraws = 20000;
    Sampler sampler(kLogits, {temperature, k});
    std::vector<int> count(kLogits.size());
    for (int i = 0; i < kDraws; ++i) {
        const int32_t token = sampler.draw(1, static_cast<uint64_t>(i));
        CHECK(token >= 0 && token < static_cast<int32_t>(kLogits.size()));
        count[static_cast<size_t>(token)] += 1;
    }
    std::vector<float> sorted = kLogits;
    std::sort(sorted.rbegin(), sorted.rend());
    const float least = k == 0 ? sorted.back() : sorted[static_cast<size_t>(std::min<int>(k, static_cast<int>(sorted.size()))) - 1];
    double total = 0;
    for (const float l : kLogits) {
        total += l >= least ? std::exp(l / temperature) : 0;
    }
    for (size_t i = 0; i < kLogits.size(); ++i) {
        const double p = kLogits[i] >= least ? std::exp(kLogits[i] / temperature) / total : 0;
        CHECK(std::fabs(count[i] - kDraws * p) <= 5 * std::sqrt(kDraws * p * (1 - p)));
    }
}

void draws_follow_the_softmax_of_all() { draws_follow_the_softmax(0.8f, 0); }
void draws_follow_the_softmax_of_the_k_best() { draws_follow_the_softmax(0.8f, 3); }
void k_above_the_number_of_tokens_means_all() { draws_follow_the_softmax(1.5f, 1000); }
void hot_draws_follow_the_softmax_too() { draws_follow_the_softmax(50.0f, 4); }

void a_seed_repeats_its_draws() {
    Sampler sampler(kLogits, {1.0f, 4});
    std::vector<int32_t> first, again, other;
    for (uint64_t frame = 0; frame < 50; ++frame) {
        first.push_back(sampler.draw(7, frame));
        other.push_back(sampler.draw(8, frame));
    }
    for (uint64_t frame = 0; frame < 50; ++frame) {
        again.push_back(sampler.draw(7, frame));
    }
    CHECK(first == again);
    CHECK(first != other);
}

void streams_of_one_frame_draw_independently() {
    float a[4], b[4];
    fill_noise(a, 4, 1.0f, 7, 3, 0);
    fill_noise(b, 4, 1.0f, 7, 3, 1);
    CHECK(!std::equal(a, a + 4, b));
}

void noise_is_finite_and_scales_with_the_temperature() {
    std::vector<float> one(100000), half(one.size());
    fill_noise(one.data(), static_cast<int>(one.size()), 1.0f, 1, 2, 3);
    fill_noise(half.data(), static_cast<int>(half.size()), 0.5f, 1, 2, 3);
    for (size_t i = 0; i < one.size(); ++i) {
        CHECK(std::isfinite(one[i]));
        CHECK(std::fabs(half[i] - 0.5f * one[i]) <= 1e-6f * (1 + std::fabs(one[i])));
    }
}

void temperature_0_is_the_best() {
    CHECK_EQ(candidates({0.0f, 25}, 100), 0);
    Sampler sampler(kLogits, {0.0f, 25});
    for (uint64_t seed = 0; seed < 10; ++seed) {
        CHECK_EQ(sampler.draw(seed), 1);
    }
}

void a_top_k_of_1_is_the_best() {
    Sampler sampler(kLogits, {1.0f, 1});
    for (uint64_t seed = 0; seed < 10; ++seed) {
        CHECK_EQ(sampler.draw(seed), 1);
    }
}

void of_equals_the_first_is_taken() {
    CHECK_EQ(Sampler({1, 3, 2, 3, 3}, {0.0f, 0}).draw(1), 1);
    CHECK_EQ(Sampler(std::vector<float>(40, 0.0f), {0.0f, 0}).draw(1), 0);
}

void logits_that_are_no_numbers_still_give_a_token() {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (const std::vector<float> & logits : {std::vector<float>(300, nan),
                                              std::vector<float>(300, infinity),
                                              std::vector<float>(300, -infinity),
                                              {nan, 1, infinity, -infinity, nan}}) {
        for (const Sampling & s : {Sampling{0.0f, 0}, Sampling{1.0f, 0}, Sampling{1.0f, 3}}) {
            const int32_t token = Sampler(logits, s).draw(5);
            CHECK(token >= 0 && token < static_cast<int32_t>(logits.size()));
        }
    }
}

} // namespace

int main() {
    return check::run({
        {"draws follow the softmax of all", draws_follow_the_softmax_of_all},
        {"draws follow the softmax of the k best", draws_follow_the_softmax_of_the_k_best},
        {"k above the number of tokens means all", k_above_the_number_of_tokens_means_all},
        {"hot draws follow the softmax, too", hot_draws_follow_the_softmax_too},
        {"a seed repeats its draws", a_seed_repeats_its_draws},
        {"streams of one frame draw independently", streams_of_one_frame_draw_independently},
        {"noise is finite and scales with the temperature", noise_is_finite_and_scales_with_the_temperature},
        {"temperature 0 is the best", temperature_0_is_the_best},
        {"a top-k of 1 is the best", a_top_k_of_1_is_the_best},
        {"of equals the first is taken", of_equals_the_first_is_taken},
        {"logits that are no numbers still give a token", logits_that_are_no_numbers_still_give_a_token},
    });
}
