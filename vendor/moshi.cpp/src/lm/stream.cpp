#include "lm/stream.h"

#include "api/error.h"
#include "backend/pages.h"

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
    state_ctx_ = new_context(2 * static_cast<size_t>(c.n_layers + c.depformer.n_layers) + 8);
    ring_ =
        std::make_unique<KvRing>(state_ctx_.get(), KvRingShape{c.n_layers, c.n_heads, c.dim / c.n_heads, params.context, max_batch(),
                                                               ring_type(params, model), params.window, params.flash, compute.is_cpu()});
    // A handful of steps: nothing is gained by fewer bits, so only bf16, asked for to round as others do, is followed.
    depformer_cache_ =
        depformer_cache(state_ctx_.get(), model, params.n_steps, params.kv_type == GGML_TYPE_BF16 ? GGML_TYPE_BF16 : GGML_TYPE_F32);
    state_ = allocate_state(state_ctx_.get(), compute, "the conversation's context");

    output_ctx_ = new_context(2);
    samples_ = ggml_new_tensor_1d(output_ctx_.get(), GGML_TYPE_I32, 1 + params.n_steps);
    outputs_ = allocate(output_ctx_.get(), compute.buffer_type(), "the model's outputs");
}

LmStream::Pass::Pass(const KvRing & kv, const LmModel & model, const LmStreamParams & params, const Compute & compute, const Key & k)
    : key(k), ring(inputs, kv, k.n, k.n_kv) {
    const int n_streams = 1 + model.config.n_q, n_samples = 1 + params.n_steps;
    if (k.embeddings) {
        embeddings = inputs.add(GGML_TYPE_F32, model.config.dim, k.n);
    } else {
        const int64_t row = GGML_PAD(k.n, kIdAlignment);
        tokens.ids = inputs.add(GGML_TYPE_I32, row, n_streams);
        tokens.gains = k.zeros ? inputs.add(GGML_TYPE_F32, row, n_streams) : nullptr;
    }
    if (k.forced) {
        forced = {inputs.add(GGML_TYPE_I32, kIdAlignment, n_samples), inputs.add(GGML_TYPE_F32, n_samples),
                  inputs.add(GGML_TYPE_F32, n_samples)};
    }
    if (const int64_t n = k.text_candidates + int64_t(params.n_steps) * k.audio_candidates) {
        noise = inputs.add(GGML_TYPE_F32, n);
    }
    inputs.allocate(compute, "the model's inputs");
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

void LmStream::drop_prompt_passes() {
    const size_t before = passes_.size();
    passes_.remove_if([](const Pass & p) { return p.key.n > 1; });
    if (passes_.size() < before) {
        return_freed_memory();
    }
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
    Pass pass(*ring_, model_, params_, compute_, key);
    pass.graph = std::make_unique<Graph>(compute_, nodes);
    Graph & g = *pass.graph;
    ggml_context * ctx = g.ctx();
    ggml_tensor * x = key.embeddings ? pass.embeddings : embed_tokens(ctx, model_, pass.tokens, key.n); // [dim, n]
    const RingAttention ring = pass.ring.attention(c.n_heads, model_.rope);
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
                                key.text_candidates ? ggml_view_1d(ctx, pass.noise, key.text_candidates, 0) : nullptr);
    out(text, 0);
    if (params_.n_steps == 0) {
        return;
    }
    const int64_t n_noise = int64_t(params_.n_steps) * key.audio_candidates;
    const DepformerOptions options{params_.n_steps, params_.window == MOSHI_WINDOW_LEGACY, key.audio_candidates,
                                   n_noise ? ggml_view_1d(ctx, pass.noise, n_noise, key.text_candidates * sizeof(float)) : nullptr,
                                   key.forced ? &pass.forced : nullptr};
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

void LmStream::set_tokens(Pass & pass, const int32_t * tokens, int n) const {
    const int n_streams = 1 + model_.config.n_q;
    auto * ids = pass.inputs.host<int32_t>(pass.tokens.ids);
    auto * gains = pass.tokens.gains ? pass.inputs.host<float>(pass.tokens.gains) : nullptr;
    for (int s = 0; s < n_streams; ++s) {
        for (int i = 0; i < n; ++i) {
            const int32_t token = tokens[size_t(i) * n_streams + s];
            const int64_t at = s * pass.tokens.ids->ne[0] + i;
            ids[at] = std::max(token, 0);
            if (gains) {
                gains[at] = token == MOSHI_TOKEN_ZERO ? 0.0f : 1.0f;
            }
        }
    }
}

void LmStream::set_forced(Pass & pass, const Forced & forced) const {
    auto * ids = pass.inputs.host<int32_t>(pass.forced.ids);
    auto * sampled = pass.inputs.host<float>(pass.forced.sample_gain);
    auto * given = pass.inputs.host<float>(pass.forced.forced_gain);
    for (int i = 0; i < 1 + params_.n_steps; ++i) {
        const int32_t token = i < static_cast<int>(forced.tokens.size()) ? forced.tokens[i] : MOSHI_TOKEN_NONE;
        const bool sample = token == MOSHI_TOKEN_NONE;
        ids[size_t(i) * kIdAlignment] = std::max(token, 0);
        sampled[i] = sample ? 1.0f : 0.0f;
        given[i] = sample || token == MOSHI_TOKEN_ZERO ? 0.0f : 1.0f;
    }
}

Samples LmStream::step(const int32_t * tokens, const Forced & forced, const Sampling & text, const Sampling & audio, uint64_t seed,
                       uint64_t frame) {
    const LmConfig & c = model_.config;
    const bool zeros = std::find(tokens, tokens + 1 + c.n_q, MOSHI_TOKEN_ZERO) != tokens + 1 + c.n_q;
    const Key key{
        1, ring_->attended(position_, 1), false, zeros, forced.any(), true, candidates(text, c.text_card_out), candidates(audio, c.card)};
    Pass & pass = pass_for(key);
    drop_prompt_passes();
    set_tokens(pass, tokens, 1);
    pass.ring.set(pass.inputs, position_, 1);
    if (key.forced) {
        set_forced(pass, forced);
    }
    if (pass.noise) {
        float * noise = pass.inputs.host<float>(pass.noise);
        fill_noise(noise, key.text_candidates, text.temperature, seed, frame, 0);
        for (int k = 0; k < params_.n_steps; ++k) {
            fill_noise(noise + key.text_candidates + size_t(k) * key.audio_candidates, key.audio_candidates, audio.temperature, seed, frame,
                       1 + k);
        }
    }
    pass.inputs.upload();
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
        std::copy(embeddings, embeddings + size_t(n) * c.dim, pass.inputs.host<float>(pass.embeddings));
    } else {
        set_tokens(pass, tokens, n);
    }
    pass.ring.set(pass.inputs, position_, 1);
    pass.inputs.upload();
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
