#include "api/enums.h"
#include "api/handles.h"

using namespace moshi;

moshi_mimi_params moshi_mimi_default_params(const moshi_model *) {
    moshi_mimi_params p = {};
    p.window = MOSHI_WINDOW_MODERN;
    p.frames_per_call = 1;
    return p;
}

moshi_status moshi_mimi_new(moshi_model * model, const moshi_mimi_params * params, moshi_mimi ** out) {
    return guarded([&] {
        require(model, "model");
        require(params, "params");
        require(out, "out");
        *out = nullptr;
        const std::shared_ptr<Model> m = model->model;
        if (!m->mimi) {
            fail(MOSHI_ERROR_STATE, "this model was loaded without a codec");
        }
        if (const int window = number_in(params->window); window < MOSHI_WINDOW_MODERN || window > MOSHI_WINDOW_FULL) {
            fail(MOSHI_ERROR_ARGUMENT, "window is %d; expected MOSHI_WINDOW_MODERN, _LEGACY or _FULL", window);
        }
        moshi_mimi_params p = *params;
        p.n_codebooks = p.n_codebooks == 0 ? m->n_codebooks() : p.n_codebooks;
        *out = new moshi_mimi{m, MimiStream(*m->mimi, *m->compute, p)};
    });
}

moshi_status moshi_mimi_encode(moshi_mimi * mimi, const float * pcm, int32_t n_frames, int32_t * codes) {
    return in_turn(mimi, "mimi stream", [&] {
        require(pcm, "pcm");
        require(codes, "codes");
        mimi->stream.encode(pcm, n_frames, codes);
    });
}

moshi_status moshi_mimi_decode(moshi_mimi * mimi, const int32_t * codes, int32_t n_codebooks, int32_t n_frames, float * pcm) {
    return in_turn(mimi, "mimi stream", [&] {
        require(codes, "codes");
        require(pcm, "pcm");
        mimi->stream.decode(codes, n_codebooks, n_frames, pcm);
    });
}

moshi_status moshi_mimi_reset(moshi_mimi * mimi) {
    return in_turn(mimi, "mimi stream", [&] { mimi->stream.reset(); });
}

moshi_status moshi_mimi_tap(moshi_mimi * mimi, const char * name, float * out, size_t * n) {
    return in_turn(mimi, "mimi stream", [&] {
        require(name, "name");
        const auto it = mimi->stream.taps().find(name);
        if (it == mimi->stream.taps().end()) {
            fail(MOSHI_ERROR_ARGUMENT, "no intermediate \"%s\" was kept by the last call; a stream keeps them when made with taps", name);
        }
        copy_floats(it->second, out, n);
    });
}

void moshi_mimi_free(moshi_mimi * mimi) { delete mimi; }
