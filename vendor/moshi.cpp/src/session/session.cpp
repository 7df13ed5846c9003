#include "session/session.h"

#include "api/enums.h"
#include "api/error.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace moshi {

namespace {

constexpr int kMinContext = 8;
constexpr int kMaxContext = 1 << 20;

void check(const Sampling & s, const char * what) {
    if (!(s.temperature >= 0 && s.temperature <= 100)) { // NaN fails too
        fail(MOSHI_ERROR_ARGUMENT, "%s temperature is %g; expected 0 (greedy) to 100", what, static_cast<double>(s.temperature));
    }
    if (s.top_k < 0) {
        fail(MOSHI_ERROR_ARGUMENT, "%s top-k is %d; expected 0 (all) or more", what, s.top_k);
    }
}

ggml_type kv_type(int type) {
    switch (type) {
        case MOSHI_KV_F16: return GGML_TYPE_F16;
        case MOSHI_KV_F32: return GGML_TYPE_F32;
        case MOSHI_KV_Q8_0: return GGML_TYPE_Q8_0;
        case MOSHI_KV_BF16: return GGML_TYPE_BF16;
    }
    fail(MOSHI_ERROR_ARGUMENT, "kv_type is %d; expected MOSHI_KV_F16, _F32, _Q8_0 or _BF16", type);
}

LmStreamParams lm_params(const Model & model, const moshi_session_params & p) {
    if (!model.lm) {
        fail(MOSHI_ERROR_ARGUMENT, "a session needs a language model; this model holds a codec only");
    }
    if (const int window = number_in(p.window); window < MOSHI_WINDOW_MODERN || window > MOSHI_WINDOW_FULL) {
        fail(MOSHI_ERROR_ARGUMENT, "window is %d; expected MOSHI_WINDOW_MODERN, _LEGACY or _FULL", window);
    }
    const LmConfig & c = model.lm->config;
    const int context = p.context == 0 ? c.context : p.context;
    if (p.context != 0 && (context < kMinContext || context > kMaxContext)) {
        fail(MOSHI_ERROR_ARGUMENT, "context is %d frames; expected %d to %d, or 0 for the model's %d", context, kMinContext, kMaxContext,
             c.context);
    }
    const int used = std::min(c.dep_q, c.n_agent());
    const int steps = p.depformer_steps == 0 ? used : p.depformer_steps;
    if (p.depformer_steps != 0 && (steps < used || steps > model.lm->n_steps)) {
        fail(MOSHI_ERROR_ARGUMENT,
             "depformer_steps is %d; expected %d to %d (all steps need all_depformer_steps when the model is loaded), or 0", steps, used,
             model.lm->n_steps);
    }
    return {context, kv_type(number_in(p.kv_type)), p.flash, p.window, steps, p.taps};
}

float elapsed_ms(std::chrono::steady_clock::time_point since) {
    return std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - since).count();
}

} // namespace

Session::Session(std::shared_ptr<Model> model, const moshi_session_params & params)
    : model_(std::move(model)), params_(params), lm_(*model_->lm, *model_->compute, lm_params(*model_, params)), ring_(model_->lm->config) {
    set_sampling({params.temperature, params.top_k}, {params.text_temperature, params.text_top_k});
    if (model_->mimi && model_->lm->config.n_q > 0) {
        mimi_ = std::make_unique<MimiStream>(*model_->mimi, *model_->compute,
                                             moshi_mimi_params{model_->n_codebooks(), params.window, 1, params.taps});
    }
}

void Session::set_sampling(const Sampling & audio, const Sampling & text) {
    check(audio, "audio");
    check(text, "text");
    params_.temperature = audio.temperature;
    params_.top_k = audio.top_k;
    params_.text_temperature = text.temperature;
    params_.text_top_k = text.top_k;
}

bool Session::can_be_forced(int32_t token) const {
    return token == MOSHI_TOKEN_NONE || (token >= 0 && token < model_->lm->config.text_card);
}

void Session::force_text(int32_t token) {
    if (!can_be_forced(token)) {
        fail(MOSHI_ERROR_ARGUMENT, "text token %d; expected 0 to %d, or %d for none", token, model_->lm->config.text_card - 1,
             MOSHI_TOKEN_NONE);
    }
    forced_text_ = token;
}

void Session::step(const float * pcm_in, float * pcm_out, moshi_frame & frame) {
    if (!mimi_) {
        fail(MOSHI_ERROR_STATE, "this session has no codec: load the model with its Mimi file, or use step_codes");
    }
    const LmConfig & c = model_->lm->config;
    frame = {};
    frame.text_token = MOSHI_TOKEN_NONE;
    std::vector<int32_t> codes(mimi_->n_codebooks());
    auto start = std::chrono::steady_clock::now();
    mimi_->encode(pcm_in, 1, codes.data());
    frame.encode_ms = elapsed_ms(start);
    frame.n_user_codes = c.n_user();
    std::copy_n(codes.begin(), frame.n_user_codes, frame.user_codes);

    start = std::chrono::steady_clock::now();
    const auto tokens = step_codes(codes.data(), c.n_user());
    frame.lm_ms = elapsed_ms(start);
    std::fill_n(pcm_out, mimi_->frame_size(), 0.0f);
    if (!tokens) {
        return;
    }
    frame.text_token = (*tokens)[0];
    frame.n_codes = c.n_agent();
    std::copy_n(tokens->begin() + 1, frame.n_codes, frame.codes);
    const bool audible =
        frame.n_codes > 0 && std::all_of(frame.codes, frame.codes + frame.n_codes, [&](int32_t t) { return t >= 0 && t < c.card; });
    if (audible) { // initial and zero tokens stand for no audio at all
        start = std::chrono::steady_clock::now();
        mimi_->decode(frame.codes, frame.n_codes, 1, pcm_out);
        frame.decode_ms = elapsed_ms(start);
    }
}

std::optional<std::vector<int32_t>> Session::step_codes(const int32_t * user_codes, int n_user) {
    const LmConfig & c = model_->lm->config;
    if (n_user != c.n_user()) {
        fail(MOSHI_ERROR_ARGUMENT, "%d user codes; this model expects %d", n_user, c.n_user());
    }
    std::vector<int32_t> given(1 + c.n_q, MOSHI_TOKEN_NONE);
    for (int k = 0; k < n_user; ++k) {
        if (user_codes[k] < 0 || user_codes[k] >= c.card) {
            fail(MOSHI_ERROR_ARGUMENT, "user code %d of codebook %d; expected 0 to %d", user_codes[k], k, c.card - 1);
        }
        given[1 + c.n_q - n_user + k] = user_codes[k];
    }
    if (ring_.computes_next()) {
        given[0] = forced_text_;
    }
    const TokenRing before = ring_;
    const StepPlan plan = ring_.begin(given);
    if (!plan.run) {
        return std::nullopt;
    }
    try {
        if (std::find(plan.input.begin(), plan.input.end(), MOSHI_TOKEN_NONE) != plan.input.end()) {
            fail(MOSHI_ERROR_STATE, "the token ring has a gap: a restored or replaced ring does not go on from here");
        }
        const Samples samples = lm_.step(plan.input.data(), plan.forced, {params_.text_temperature, params_.text_top_k},
                                         {params_.temperature, params_.top_k}, params_.seed, static_cast<uint64_t>(ring_.offset()));
        input_tap_.assign(plan.input.begin(), plan.input.end());
        forced_text_ = MOSHI_TOKEN_NONE;
        return ring_.finish(samples);
    } catch (...) {
        ring_ = before;
        throw;
    }
}

std::vector<int32_t> Session::checked_tokens(const int32_t * tokens, int frame) const {
    const LmConfig & c = model_->lm->config;
    std::vector<int32_t> out(tokens, tokens + 1 + c.n_q);
    for (int s = 0; s <= c.n_q; ++s) {
        const int top = s == 0 ? c.text_card : c.card;
        if (out[s] < MOSHI_TOKEN_NONE || out[s] > top) {
            fail(MOSHI_ERROR_ARGUMENT, "token %d of stream %d, frame %d of the prompt; expected 0 to %d", out[s], s, frame, top);
        }
    }
    return out;
}

void Session::prefill(const int32_t * tokens, const float * embeddings, int n, const Progress & progress) {
    const LmConfig & c = model_->lm->config;
    for (int64_t i = 0; embeddings && i < int64_t(n) * c.dim; ++i) {
        if (!std::isfinite(embeddings[i])) {
            fail(MOSHI_ERROR_ARGUMENT, "embedding %lld of the prompt is not a finite number", (long long) (i / c.dim));
        }
    }
    // All bookkeeping first, on a copy: what the model will see is known before anything is computed or changed.
    TokenRing ring = ring_;
    std::vector<int32_t> inputs;
    for (int i = 0; i < n; ++i) {
        const std::vector<int32_t> given = checked_tokens(tokens + size_t(i) * (1 + c.n_q), i);
        StepPlan plan = ring.begin(given);
        if (!plan.run && embeddings) { // the fork's empty first call must not swallow an embedding
            plan = ring.begin(given);
        }
        if (!plan.run) {
            continue;
        }
        const auto unknown = ring.first_unknown();
        if (unknown) {
            fail(MOSHI_ERROR_ARGUMENT, "stream %d of the prompt's frame %d is not given; a prompt cannot be sampled", *unknown, i);
        }
        if (!embeddings && std::find(plan.input.begin(), plan.input.end(), MOSHI_TOKEN_NONE) != plan.input.end()) {
            fail(MOSHI_ERROR_ARGUMENT, "a user stream of the prompt's frame %d or the one before is not given", i);
        }
        inputs.insert(inputs.end(), plan.input.begin(), plan.input.end());
        ring.finish({MOSHI_TOKEN_NONE, {}});
    }
    const int64_t position = lm_.position();
    const int total = static_cast<int>(inputs.size()) / (1 + c.n_q);
    lm_.clear_taps();
    try {
        int at = 0;
        const std::function<bool()> go_on = [&] { return !progress || progress(static_cast<float>(at) / static_cast<float>(total)); };
        while (at < total) {
            const int batch = std::min(LmStream::max_batch(), total - at);
            lm_.prefill(inputs.data() + size_t(at) * (1 + c.n_q), embeddings ? embeddings + size_t(at) * c.dim : nullptr, batch, go_on);
            at += batch;
            if (!go_on()) {
                fail(MOSHI_ERROR_CANCELLED, "the prompt was cancelled");
            }
        }
    } catch (...) {
        lm_.rewind(position);
        throw;
    }
    input_tap_.assign(inputs.begin(), inputs.end());
    ring_ = ring;
}

void Session::reset(uint64_t seed) {
    params_.seed = seed;
    lm_.rewind(0);
    lm_.clear_taps();
    ring_ = TokenRing(model_->lm->config);
    forced_text_ = MOSHI_TOKEN_NONE;
    reset_codec();
}

void Session::reset_codec() {
    if (mimi_) {
        mimi_->reset();
    }
}

const std::vector<float> & Session::tap(const std::string & name) const {
    if (name == "lm_input") {
        return input_tap_;
    }
    for (const Taps * taps : {&lm_.taps(), mimi_ ? &mimi_->taps() : nullptr}) {
        if (taps && taps->count(name)) {
            return taps->at(name);
        }
    }
    fail(MOSHI_ERROR_ARGUMENT, "no intermediate \"%s\" was kept by the last call; a session keeps them when made with taps", name.c_str());
}

void Session::set_ring(const int32_t * tokens, int n_streams, int length) {
    if (n_streams != ring_.n_streams() || length != ring_.length()) {
        fail(MOSHI_ERROR_ARGUMENT, "a token ring of [%d, %d]; this model's is [%d, %d]", n_streams, length, ring_.n_streams(),
             ring_.length());
    }
    const LmConfig & c = model_->lm->config;
    for (int i = 0; i < n_streams * length; ++i) {
        const int top = i < length ? c.text_card : c.card;
        if (tokens[i] < MOSHI_TOKEN_NONE || tokens[i] > top) {
            fail(MOSHI_ERROR_ARGUMENT, "token %d in stream %d of the ring; expected 0 to %d", tokens[i], i / length, top);
        }
    }
    ring_.set_tokens(tokens);
}

} // namespace moshi
