// Bookkeeping of delayed token streams: which tokens a step feeds, which samples it keeps, what it returns.
// Two protocols: Kyutai's (MODELS.md 2.6) and that of NVIDIA's fork (3.2), which runs one frame later and may be
// told any stream's tokens beforehand.
#pragma once

#include "lm/config.h"
#include "lm/stream.h"
#include "nn/blob.h"

#include <optional>

namespace moshi {

struct StepPlan {
    bool run;                   // false: the first call of the fork, which only sets up the ring
    std::vector<int32_t> input; // [1 + n_q]
    Forced forced;              // [1 + dep_q]
};

class TokenRing {
public:
    explicit TokenRing(const LmConfig & config);

    // `given`: [1 + n_q] tokens of this frame, MOSHI_TOKEN_NONE where the model chooses. The user's streams are always given.
    StepPlan begin(const std::vector<int32_t> & given);
    // The samples of that step; audio may be shorter than dep_q. Returns the aligned frame: text and `n_out()` audio
    // tokens; nothing while the delays fill.
    std::optional<std::vector<int32_t>> finish(const Samples & samples);
    // True if nothing of the step would have to be sampled; to be asked between begin() and finish().
    std::optional<int> first_unknown() const;

    int n_out() const { return config_.personaplex() ? config_.n_q : config_.dep_q; }
    int64_t offset() const { return offset_; }
    bool computes_next() const { return !fork_ || offset_ > 0; } // the fork's first call computes nothing
    int n_streams() const { return 1 + config_.n_q; }
    int length() const { return length_; }
    const std::vector<int32_t> & tokens() const { return tokens_; } // [stream][slot]
    void set_tokens(const int32_t * tokens);

    void save(BlobWriter & out) const;
    void restore(BlobReader & in);

private:
    int32_t initial(int stream) const { return stream == 0 ? config_.text_card : config_.card; }
    int32_t & at(int stream, int64_t step) { return tokens_[size_t(stream) * length_ + step % length_]; }
    uint8_t & provided(int stream, int64_t step) { return provided_[size_t(stream) * length_ + step % length_]; }
    StepPlan begin_kyutai(const std::vector<int32_t> & given);
    StepPlan begin_fork(const std::vector<int32_t> & given);
    std::vector<int32_t> aligned(int64_t newest);

    LmConfig config_;
    bool fork_;
    int length_;
    int64_t offset_ = 0;
    std::vector<int32_t> tokens_;
    std::vector<uint8_t> provided_;  // the fork's: set where a token was given, not sampled
    std::vector<int32_t> given_;     // of the step under way
    bool running_ = false;
};

} // namespace moshi
