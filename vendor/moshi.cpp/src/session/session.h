// One conversation: codec state, token ring, language model state. Microphone frame in, loudspeaker frame out.
#pragma once

#include "session/model.h"
#include "session/token_ring.h"

namespace moshi {

class Session {
public:
    Session(std::shared_ptr<Model> model, const moshi_session_params & params);

    void step(const float * pcm_in, float * pcm_out, moshi_frame & frame);
    // Returns the aligned tokens, text first; nothing while the delays fill.
    std::optional<std::vector<int32_t>> step_codes(const int32_t * user_codes, int n_user);
    void prefill(const int32_t * tokens, const float * embeddings, int n, const Progress & progress);
    void reset(uint64_t seed);
    void reset_codec();
    void set_sampling(const Sampling & audio, const Sampling & text);
    void set_seed(uint64_t seed) { params_.seed = seed; }
    void force_text(int32_t token); // of the next frame that is computed; MOSHI_TOKEN_NONE: the sample
    const std::vector<float> & tap(const std::string & name) const;

    const TokenRing & ring() const { return ring_; }
    void set_ring(const int32_t * tokens, int n_streams, int length);
    int n_out() const { return 1 + ring_.n_out(); }
    const Model & model() const { return *model_; }

    size_t snapshot_size() const;
    std::vector<uint8_t> save() const;
    void restore(const void * data, size_t size);

private:
    std::vector<int32_t> checked_tokens(const int32_t * tokens, int frame) const;
    bool can_be_forced(int32_t token) const;

    std::shared_ptr<Model> model_;
    moshi_session_params params_;
    LmStream lm_;
    std::unique_ptr<MimiStream> mimi_;
    TokenRing ring_;
    int32_t forced_text_ = MOSHI_TOKEN_NONE;
    std::vector<float> input_tap_;
};

} // namespace moshi
