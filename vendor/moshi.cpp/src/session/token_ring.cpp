#include "session/token_ring.h"

namespace moshi {

TokenRing::TokenRing(const LmConfig & config) : config_(config), fork_(config.personaplex()), length_(config.max_delay + (fork_ ? 3 : 2)) {
    tokens_.assign(size_t(n_streams()) * length_, MOSHI_TOKEN_NONE);
    provided_.assign(tokens_.size(), 0);
}

StepPlan TokenRing::begin(const std::vector<int32_t> & given) {
    given_ = given;
    StepPlan plan = fork_ ? begin_fork(given) : begin_kyutai(given);
    running_ = plan.run;
    return plan;
}

StepPlan TokenRing::begin_kyutai(const std::vector<int32_t> & given) {
    StepPlan plan{true, {}, {}};
    for (int s = 1 + config_.dep_q; s < n_streams(); ++s) {
        at(s, offset_ + config_.delays[s]) = given[s];
    }
    for (int s = 0; s < n_streams(); ++s) {
        plan.input.push_back(offset_ <= config_.delays[s] ? initial(s) : at(s, offset_));
    }
    plan.forced.tokens.assign(given.begin(), given.begin() + 1 + config_.dep_q);
    return plan;
}

StepPlan TokenRing::begin_fork(const std::vector<int32_t> & given) {
    StepPlan plan{true, {}, {}};
    for (int s = 0; s < n_streams(); ++s) {
        const int64_t step = offset_ + config_.delays[s];
        if (given[s] != MOSHI_TOKEN_NONE) {
            at(s, step) = given[s];
            provided(s, step) = 1;
        }
        if (offset_ <= config_.delays[s]) {
            at(s, offset_) = initial(s);
            provided(s, offset_) = 1;
        }
    }
    if (offset_ == 0) { // the fork's first call only fills column 0
        for (int s = 0; s < n_streams(); ++s) {
            at(s, 0) = initial(s);
        }
        offset_ = 1;
        plan.run = false;
        return plan;
    }
    for (int s = 0; s < n_streams(); ++s) {
        plan.input.push_back(at(s, offset_ - 1));
    }
    for (int s = 0; s <= config_.dep_q; ++s) {
        plan.forced.tokens.push_back(provided(s, offset_) ? at(s, offset_) : MOSHI_TOKEN_NONE);
    }
    return plan;
}

std::optional<int> TokenRing::first_unknown() const {
    const int64_t column = offset_ % length_;
    for (int s = 0; s <= config_.dep_q; ++s) {
        const bool known = fork_ ? provided_[size_t(s) * length_ + column] != 0 : given_[s] != MOSHI_TOKEN_NONE;
        if (!known) {
            return s;
        }
    }
    return std::nullopt;
}

std::optional<std::vector<int32_t>> TokenRing::finish(const Samples & samples) {
    const auto sample_of = [&](int s) {
        return s == 0 ? samples.text : s <= static_cast<int>(samples.audio.size()) ? samples.audio[s - 1] : MOSHI_TOKEN_NONE;
    };
    if (fork_) {
        for (int s = 0; s < n_streams(); ++s) {
            provided(s, offset_ - 1) = 0;
            // The user's tokens were given: what the depformer predicts for them never takes their place.
            if (!provided(s, offset_) && s <= config_.dep_q && sample_of(s) != MOSHI_TOKEN_NONE) {
                at(s, offset_) = sample_of(s);
            }
        }
        const int64_t newest = offset_++;
        return newest <= config_.max_delay ? std::nullopt : std::make_optional(aligned(newest));
    }
    offset_ += 1;
    for (int s = 0; s <= config_.dep_q; ++s) {
        at(s, offset_) = given_[s] != MOSHI_TOKEN_NONE ? given_[s] : sample_of(s);
    }
    return offset_ <= config_.max_delay ? std::nullopt : std::make_optional(aligned(offset_));
}

std::vector<int32_t> TokenRing::aligned(int64_t newest) {
    std::vector<int32_t> out;
    for (int s = 0; s <= n_out(); ++s) {
        out.push_back(at(s, newest - config_.max_delay + config_.delays[s]));
    }
    return out;
}

void TokenRing::set_tokens(const int32_t * tokens) { tokens_.assign(tokens, tokens + tokens_.size()); }

void TokenRing::save(BlobWriter & out) const {
    out.value(offset_);
    out.bytes(tokens_.data(), tokens_.size() * sizeof(int32_t));
    out.bytes(provided_.data(), provided_.size());
}

void TokenRing::restore(BlobReader & in) {
    const int64_t offset = in.value<int64_t>();
    constexpr int64_t kMost = int64_t(1) << 40; // 2,800 years
    if (offset < 0 || offset > kMost) {
        fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged: it is at frame %lld", (long long) offset);
    }
    std::vector<int32_t> tokens(tokens_.size());
    std::memcpy(tokens.data(), in.take(tokens.size() * sizeof(int32_t)), tokens.size() * sizeof(int32_t));
    for (size_t i = 0; i < tokens.size(); ++i) {
        const int32_t top = initial(static_cast<int>(i / length_));
        if (tokens[i] < MOSHI_TOKEN_NONE || tokens[i] > top) {
            fail(MOSHI_ERROR_FORMAT, "the snapshot is damaged: token %d where 0 to %d are possible", tokens[i], top);
        }
    }
    std::memcpy(provided_.data(), in.take(provided_.size()), provided_.size());
    tokens_ = std::move(tokens);
    offset_ = offset;
}

} // namespace moshi
