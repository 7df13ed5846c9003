#include "lm/stream.h"

#include "api/error.h"

#include <algorithm>

namespace moshi {

namespace {

constexpr size_t kMaxPasses = 4; // a step, a forced step, a prefill batch and its remainder

ggml_type ring_type(const LmStreamParams & p, const LmModel & m) {
    const int head_dim = m.config.dim / m.config.n_heads;
    if (head_dim % ggml_blck_size(p.kv_type) != 0) {
        fail(MOSHI_ERROR_UNSUPPORTED, "a KV cache of type %s needs heads of a multiple of %lld channels; this model's have %d",
             ggml_type_name(p.kv_type), (long long) ggml_blck_size(p.kv_type), head_dim);
    }
    return p.kv_type;
}

} // namespace

bool Forced::any() const {
    return std::any_of(tokens.begin(), tokens.end(), [](int32_t t) { return t != MOSHI_TOKEN_NONE; });
}

bool LmStream::Key::operator==(const Key & o) const {
    return n == o.n && n_kv == o.n_kv && embeddings == o.embeddings && zeros == o.zeros && forced == o.forced && head == o.head &&
           text_candidates == o.text_candidates && audio_candidates == o.audio_candidates;
}

LmStream::LmStream(const LmModel & model, Compute & compute, const LmStreamParams & params)
    : model_(model), compute_(compute), params_(params) {
    const LmConfig & c = model.config;
    const int B = max_batch(), S = 1 + params.n_steps;
    state_ctx_ = new_context(2 * static_cast<size_t>(c.n_layers + c.depformer.n_layers) + 8);
    ring_ = std::make_unique<KvRing>(state_ctx_.get(), KvRingShape{c.n_layers, c.n_heads, c.dim / c.n_heads, params.context, B,
                                                                   ring_type(params, model), params.window, params.flash});
    // A handful of steps: nothing is gained by fewer bits, so only bf16, asked for to round as others do, is followed.
    depformer_cache_ =
        depformer_cache(state_ctx_.get(), model, params.n_steps, params.kv_type == GGML_TYPE_BF16 ? GGML_TYPE_BF16 : GGML_TYPE_F32);
    state_ = allocate_state(state_ctx_.get(), compute, "the conversation's context");

    input_ctx_ = new_context(32);
    ggml_context * ctx = input_ctx_.get();
    tokens_ = {ggml_new_tensor_2d(ctx, GGML_TYPE_I32, B, 1 + c.n_q), ggml_new_tensor_2d(ctx, GGML_TYPE_F32, B, 1 + c.n_q)};
    forced_ = {ggml_new_tensor_2d(ctx, GGML_TYPE_I32, kIdAlignment, S), ggml_new_tensor_1d(ctx, GGML_TYPE_F32, S),
               ggml_new_tensor_1d(ctx, GGML_TYPE_F32, S)};
    embeddings_ = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, c.dim, B);
    ring_inputs_ = RingInputs(ctx, *ring_);
    noise_ = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, c.text_card_out + int64_t(params.n_steps) * c.card);
    samples_ = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, S);
    inputs_ = allocate(ctx, compute.buffer_type(), "the model's inputs");
}

LmStream::Pass & LmStream::pass_for(const Key & key) {
    const auto it = std::find_if(passes_.begin(), passes_.end(), [&](const Pass & p) { return p.key == key; });
    if (it != passes_.end()) {
        passes_.splice(passes_.begin(), passes_, it);
    } else {
        if (passes_.size() == kMaxPasses) {
            passes_.pop_back();
        }
        passes_.push_front(build(key));
    }
    return passes_.front();
}

void LmStream::keep(Pass & pass, const char * name, ggml_tensor * t) const {
    if (params_.taps) {
        pass.taps.keep(*pass.graph, name, t);
    }
}

LmStream::Pass LmStream::build(const Key & key) {
    const LmConfig & c = model_.config;
    const size_t nodes =
        512 + 8 * size_t(c.n_q) + 80 * size_t(c.n_layers) + size_t(params_.n_steps) * (48 + 40 * size_t(c.depformer.n_layers));
    Pass pass;
    pass.key = key;
    pass.graph = std::make_unique<Graph>(compute_, nodes);
    Graph & g = *pass.graph;
    ggml_context * ctx = g.ctx();
    ggml_tensor * x = nullptr;                                              // [dim, n]
    if (key.embeddings) {
        x = ggml_view_2d(ctx, embeddings_, c.dim, key.n, embeddings_->nb[1], 0);
    } else {
        x = embed_tokens(ctx, model_, {tokens_.ids, key.zeros ? tokens_.gains : nullptr}, key.n);
    }
    const RingAttention ring = ring_inputs_.attention(ctx, *ring_, c.n_heads, model_.rope, key.n, key.n_kv);
    x = temporal_transformer(g, model_, ring, x, key.head || params_.taps);
    if (x) {
        x = rms_norm(ctx, x, model_.out_norm, c.norm_eps);
        keep(pass, "transformer_out", x);
    }
    if (key.head) {
        build_head(pass, x);
    }
    g.finish("the language model");
    return pass;
}

void LmStream::build_head(Pass & pass, ggml_tensor * hidden) {
    const Key & key = pass.key;
    Graph & g = *pass.graph;
    ggml_context * ctx = g.ctx();
    const auto out = [&](ggml_tensor * token, int i) {
        g.expand(ggml_cpy(ctx, token, ggml_view_1d(ctx, samples_, 1, i * sizeof(int32_t))));
    };
    ggml_tensor * logits = ggml_mul_mat(ctx, model_.text_linear, hidden);   // [text_card_out, 1]
    keep(pass, "text_logits", logits);
    for (ggml_tensor * head : model_.extra_heads) {
        keep(pass, "extra_heads", ggml_soft_max(ctx, ggml_mul_mat(ctx, head, hidden)));
    }
    ggml_tensor * text = sample(ctx, compute_, logits, key.text_candidates,
                                key.text_candidates ? ggml_view_1d(ctx, noise_, key.text_candidates, 0) : nullptr);
    out(text, 0);
    if (params_.n_steps == 0) {
        return;
    }
    const DepformerOptions options{params_.n_steps, params_.window == MOSHI_WINDOW_LEGACY, key.audio_candidates,
                                   ggml_view_1d(ctx, noise_, noise_->ne[0] - key.text_candidates, key.text_candidates * sizeof(float)),
                                   key.forced ? &forced_ : nullptr};
    const DepformerRun run = depformer(g, compute_, model_, depformer_cache_, hidden, text, options);
    for (int k = 0; k < params_.n_steps; ++k) {
        out(run.tokens[k], 1 + k);
        keep(pass, "depformer_logits", run.logits[k]);
    }
}

// ggml's CPU kernels for batches take sixteen columns at a time, and those left over at several times the cost: it is
// cheaper to compute columns that nobody reads. Their keys and values land in slots of positions to come, which are
// written again before any query sees them.
int LmStream::padded(int n) const {
    constexpr int kColumns = 16, kWorthwhile = 4;
    return compute_.is_cpu() && n >= kWorthwhile ? GGML_PAD(n, kColumns) : n;
}

void LmStream::set_tokens(const int32_t * tokens, int n, int n_padded, bool zeros) {
    const int n_streams = 1 + model_.config.n_q;
    std::vector<int32_t> ids(n_padded, 0);
    std::vector<float> gains(n_padded, 0.0f);
    for (int s = 0; s < n_streams; ++s) {
        for (int i = 0; i < n; ++i) {
            const int32_t token = tokens[size_t(i) * n_streams + s];
            ids[i] = std::max(token, 0);
            gains[i] = token == MOSHI_TOKEN_ZERO ? 0.0f : 1.0f;
        }
        ggml_backend_tensor_set(tokens_.ids, ids.data(), s * tokens_.ids->nb[1], ids.size() * sizeof(int32_t));
        if (zeros) {
            ggml_backend_tensor_set(tokens_.gains, gains.data(), s * tokens_.gains->nb[1], gains.size() * sizeof(float));
        }
    }
}

void LmStream::set_forced(const Forced & forced) {
    const int n = 1 + params_.n_steps;
    std::vector<int32_t> ids(size_t(n) * kIdAlignment, 0);
    std::vector<float> sampled(n, 1.0f), given(n, 0.0f);
    for (int i = 0; i < n && i < static_cast<int>(forced.tokens.size()); ++i) {
        const int32_t token = forced.tokens[i];
        if (token != MOSHI_TOKEN_NONE) {
            ids[size_t(i) * kIdAlignment] = std::max(token, 0);
            sampled[i] = 0.0f;
            given[i] = token == MOSHI_TOKEN_ZERO ? 0.0f : 1.0f;
        }
    }
    ggml_backend_tensor_set(forced_.ids, ids.data(), 0, ids.size() * sizeof(int32_t));
    ggml_backend_tensor_set(forced_.sample_gain, sampled.data(), 0, n * sizeof(float));
    ggml_backend_tensor_set(forced_.forced_gain, given.data(), 0, n * sizeof(float));
}

Samples LmStream::step(const int32_t * tokens, const Forced & forced, const Sampling & text, const Sampling & audio, uint64_t seed,
                       uint64_t frame) {
    const LmConfig & c = model_.config;
    const bool zeros = std::find(tokens, tokens + 1 + c.n_q, MOSHI_TOKEN_ZERO) != tokens + 1 + c.n_q;
    const Key key{
        1, ring_->attended(position_, 1), false, zeros, forced.any(), true, candidates(text, c.text_card_out), candidates(audio, c.card)};
    Pass & pass = pass_for(key);
    set_tokens(tokens, 1, 1, zeros);
    ring_inputs_.set(*ring_, position_, 1, 1, key.n_kv);
    if (key.forced) {
        set_forced(forced);
    }
    std::vector<float> noise(key.text_candidates + size_t(params_.n_steps) * key.audio_candidates);
    fill_noise(noise.data(), key.text_candidates, text.temperature, seed, frame, 0);
    for (int k = 0; k < params_.n_steps; ++k) {
        fill_noise(noise.data() + key.text_candidates + size_t(k) * key.audio_candidates, key.audio_candidates, audio.temperature, seed,
                   frame, 1 + k);
    }
    if (!noise.empty()) {
        ggml_backend_tensor_set(noise_, noise.data(), 0, noise.size() * sizeof(float));
    }
    pass.graph->run();
    position_ += 1;
    std::vector<int32_t> samples(1 + params_.n_steps);
    ggml_backend_tensor_get(samples_, samples.data(), 0, samples.size() * sizeof(int32_t));
    clear_taps();
    pass.taps.read(taps_);
    return {samples[0], {samples.begin() + 1, samples.end()}};
}

void LmStream::prefill(const int32_t * tokens, const float * embeddings, int n, const std::function<bool()> & go_on) {
    const LmConfig & c = model_.config;
    const size_t n_tokens = embeddings ? 0 : size_t(n) * (1 + c.n_q);
    const bool zeros = std::find(tokens, tokens + n_tokens, MOSHI_TOKEN_ZERO) != tokens + n_tokens;
    const int n_padded = padded(n);
    const Key key{n_padded, ring_->attended(position_, n_padded), embeddings != nullptr, zeros, false, false, 0, 0};
    Pass & pass = pass_for(key);
    if (embeddings) {
        std::vector<float> rows(embeddings, embeddings + size_t(n) * c.dim);
        rows.resize(size_t(n_padded) * c.dim, 0.0f);
        ggml_backend_tensor_set(embeddings_, rows.data(), 0, rows.size() * sizeof(float));
    } else {
        set_tokens(tokens, n, n_padded, zeros);
    }
    ring_inputs_.set(*ring_, position_, n_padded, 1, key.n_kv);
    pass.graph->run(go_on);
    position_ += n;
    pass.taps.read(taps_, n, n_padded); // without the padding
}

void LmStream::save(BlobWriter & out) const {
    out.value(position_);
    ring_->save(out, position_);
}

void LmStream::restore(BlobReader & in) {
    position_ = in.value<int64_t>();
    ring_->restore(in, position_);
}

} // namespace moshi
