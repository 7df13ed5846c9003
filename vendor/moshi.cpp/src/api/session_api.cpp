#include "api/handles.h"

#include <algorithm>

using namespace moshi;

moshi_session_params moshi_session_default_params(const moshi_model * model) {
    moshi_session_params p = {};
    p.kv_type = MOSHI_KV_F16;
    p.flash = true;
    p.window = MOSHI_WINDOW_MODERN;
    if (model && model->model->lm) {
        const LmConfig & c = model->model->lm->config;
        p.temperature = c.temperature;
        p.text_temperature = c.text_temperature;
        p.top_k = c.top_k;
        p.text_top_k = c.text_top_k;
    }
    return p;
}

moshi_status moshi_session_new(moshi_model * model, const moshi_session_params * params, moshi_session ** out) {
    return guarded([&] {
        require(model, "model");
        require(params, "params");
        require(out, "out");
        *out = nullptr;
        *out = new moshi_session{Session(model->model, *params)};
    });
}

moshi_status moshi_session_step(moshi_session * session, const float * pcm_in, float * pcm_out, moshi_frame * frame) {
    return in_turn(session, "session", [&] {
        require(pcm_in, "pcm_in");
        require(pcm_out, "pcm_out");
        moshi_frame unused;
        session->session.step(pcm_in, pcm_out, frame ? *frame : unused);
    });
}

moshi_status moshi_session_step_codes(moshi_session * session, const int32_t * user_codes, int32_t n_user, int32_t * out_tokens,
                                      int32_t * out_n) {
    return in_turn(session, "session", [&] {
        if (n_user != 0) {
            require(user_codes, "user_codes");
        }
        require(out_tokens, "out_tokens");
        const auto tokens = session->session.step_codes(user_codes, n_user);
        const int n = session->session.n_out();
        if (tokens) {
            std::copy(tokens->begin(), tokens->end(), out_tokens);
        } else {
            std::fill_n(out_tokens, n, static_cast<int32_t>(MOSHI_TOKEN_NONE));
        }
        if (out_n) {
            *out_n = n;
        }
    });
}

moshi_status moshi_session_reset(moshi_session * session, uint64_t seed) {
    return in_turn(session, "session", [&] { session->session.reset(seed); });
}

moshi_status moshi_session_reset_codec(moshi_session * session) {
    return in_turn(session, "session", [&] { session->session.reset_codec(); });
}

moshi_status moshi_session_set_sampling(moshi_session * session, float temperature, int32_t top_k, float text_temperature,
                                        int32_t text_top_k) {
    return in_turn(session, "session", [&] { session->session.set_sampling({temperature, top_k}, {text_temperature, text_top_k}); });
}

moshi_status moshi_session_set_seed(moshi_session * session, uint64_t seed) {
    return in_turn(session, "session", [&] { session->session.set_seed(seed); });
}

moshi_status moshi_session_force_text(moshi_session * session, int32_t token) {
    return in_turn(session, "session", [&] { session->session.force_text(token); });
}

int64_t moshi_session_offset(const moshi_session * session) { return session ? session->session.ring().offset() : 0; }

moshi_status moshi_session_tap(moshi_session * session, const char * name, float * out, size_t * n) {
    return in_turn(session, "session", [&] {
        require(name, "name");
        copy_floats(session->session.tap(name), out, n);
    });
}

void moshi_session_free(moshi_session * session) { delete session; }

moshi_status moshi_session_prefill(moshi_session * session, const int32_t * tokens, const float * embeddings, int32_t n,
                                   moshi_progress_callback progress, void * progress_user) {
    return in_turn(session, "session", [&] {
        require(tokens, "tokens");
        constexpr int32_t kMost = 1 << 20;
        if (n < 1 || n > kMost) {
            fail(MOSHI_ERROR_ARGUMENT, "a prompt of %d frames; expected 1 to %d", n, kMost);
        }
        Progress report;
        if (progress) {
            report = [=](float fraction) { return progress(fraction, progress_user); };
        }
        session->session.prefill(tokens, embeddings, n, report);
    });
}

moshi_status moshi_session_get_ring(const moshi_session * session, int32_t * tokens, int32_t * n_streams, int32_t * length) {
    return in_turn(session, "session", [&] {
        const TokenRing & ring = session->session.ring();
        if (n_streams) {
            *n_streams = ring.n_streams();
        }
        if (length) {
            *length = ring.length();
        }
        if (tokens) {
            std::copy(ring.tokens().begin(), ring.tokens().end(), tokens);
        }
    });
}

moshi_status moshi_session_set_ring(moshi_session * session, const int32_t * tokens, int32_t n_streams, int32_t length) {
    return in_turn(session, "session", [&] {
        require(tokens, "tokens");
        session->session.set_ring(tokens, n_streams, length);
    });
}

size_t moshi_session_snapshot_size(moshi_session * session) {
    size_t n = 0;
    in_turn(session, "session", [&] { n = session->session.snapshot_size(); });
    return n;
}

moshi_status moshi_session_save(moshi_session * session, void * data, size_t size, size_t * written) {
    return in_turn(session, "session", [&] {
        require(data, "data");
        const std::vector<uint8_t> snapshot = session->session.save();
        if (snapshot.size() > size) {
            fail(MOSHI_ERROR_ARGUMENT, "room for %zu bytes; the snapshot has %zu", size, snapshot.size());
        }
        std::memcpy(data, snapshot.data(), snapshot.size());
        if (written) {
            *written = snapshot.size();
        }
    });
}

moshi_status moshi_session_restore(moshi_session * session, const void * data, size_t size) {
    return in_turn(session, "session", [&] {
        require(data, "data");
        session->session.restore(data, size);
    });
}
