// One running language model: its KV ring, and one graph per frame for everything between tokens in and tokens out.
#pragma once

#include "lm/depformer.h"
#include "lm/temporal.h"
#include "nn/blob.h"
#include "nn/ring_inputs.h"
#include "nn/taps.h"

#include <list>

namespace moshi {

struct LmStreamParams {
    int context;
    ggml_type kv_type;
    bool flash;
    moshi_window window;
    int n_steps; // depformer steps per frame
    bool taps;
};

// What is fed instead of a sample: entry 0 for the text token, 1 + k for that of depformer step k.
struct Forced {
    std::vector<int32_t> tokens; // MOSHI_TOKEN_NONE: the sample
    bool any() const;
};

struct Samples {
    int32_t text;
    std::vector<int32_t> audio; // [n_steps]
};

class LmStream {
public:
    LmStream(const LmModel & model, Compute & compute, const LmStreamParams & params);

    // One position: tokens [1 + n_q], text first. `frame` numbers the draw of random numbers.
    Samples step(const int32_t * tokens, const Forced & forced, const Sampling & text, const Sampling & audio, uint64_t seed,
                 uint64_t frame);
    // Up to max_batch() positions without depformer. tokens: [n][1 + n_q], or embeddings: [n][dim].
    void prefill(const int32_t * tokens, const float * embeddings, int n, const std::function<bool()> & go_on);

    static int max_batch() { return 64; }
    int64_t position() const { return position_; }
    void rewind(int64_t position) { position_ = position; } // forgets what came later
    const LmStreamParams & params() const { return params_; }
    const Taps & taps() const { return taps_; }
    void clear_taps() { taps_.clear(); }

    void save(BlobWriter & out) const;
    void restore(BlobReader & in); // of a snapshot whose size has been checked
    size_t snapshot_bytes(int64_t position) const { return sizeof(position_) + ring_->filled_bytes(position); }

private:
    // A graph serves every frame with the same key.
    struct Key {
        int n, n_kv;
        bool embeddings, zeros, forced, head;
        int text_candidates, audio_candidates;
        bool operator==(const Key & o) const;
    };
    struct Pass {
        Pass(const KvRing & ring, const LmModel & model, const LmStreamParams & params, const Compute & compute, const Key & key);
        Key key;
        GraphInputs inputs{8};
        RingInputs ring;
        TokenInputs tokens{};               // either these,
        ggml_tensor * embeddings = nullptr; // f32 [dim, n], or these
        ForcedInputs forced{};
        ggml_tensor * noise = nullptr; // f32 [text_candidates + steps * audio_candidates]
        std::unique_ptr<Graph> graph;
        TapPoints taps;
    };

    Pass & pass_for(const Key & key);
    void drop_prompt_passes(); // tens of megabytes that a conversation does not need
    Pass build(const Key & key);
    void build_head(Pass & pass, ggml_tensor * x);
    void keep(Pass & pass, const char * name, ggml_tensor * t) const;
    void set_tokens(Pass & pass, const int32_t * tokens, int n) const;
    int padded(int n) const;
    void set_forced(Pass & pass, const Forced & forced) const;

    const LmModel & model_;
    Compute & compute_;
    LmStreamParams params_;

    ContextPtr state_ctx_, output_ctx_;
    std::unique_ptr<KvRing> ring_;
    DepformerCache depformer_cache_;
    StateBuffer state_;
    ggml_tensor * samples_; // i32 [1 + steps], of the last frame
    BufferPtr outputs_;

    int64_t position_ = 0;
    std::list<Pass> passes_; // most recently used first
    Taps taps_;
};

} // namespace moshi
