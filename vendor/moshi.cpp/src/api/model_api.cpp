#include "api/handles.h"
#include "api/log.h"

#include <algorithm>

using namespace moshi;

namespace {

void describe_lm(const LmModel & lm, moshi_model_info & out) {
    const LmConfig & c = lm.config;
    copy_text(out.model_type, sizeof(out.model_type), c.model_type);
    copy_text(out.weight_type, sizeof(out.weight_type), ggml_type_name(lm.weights.main_type));
    out.has_lm = true;
    out.dim = c.dim;
    out.n_layers = c.n_layers;
    out.n_heads = c.n_heads;
    out.context = c.context;
    out.text_card = c.text_card;
    out.text_card_out = c.text_card_out;
    out.card = c.card;
    out.n_q = c.n_q;
    out.dep_q = c.dep_q;
    out.n_user = c.n_user();
    out.n_agent = std::min(c.dep_q, c.n_agent());
    out.text_padding = c.text_padding;
    std::copy(c.delays.begin(), c.delays.end(), out.delays);
    out.max_delay = c.max_delay;
    out.n_extra_heads = c.n_extra_heads;
    out.extra_head_dim = c.n_extra_heads ? c.extra_head_dim : 0;
    out.temperature = c.temperature;
    out.text_temperature = c.text_temperature;
    out.top_k = c.top_k;
    out.text_top_k = c.text_top_k;
}

void describe_mimi(const MimiModel & mimi, moshi_model_info & out) {
    const MimiConfig & c = mimi.config;
    out.has_mimi = true;
    out.sample_rate = c.sample_rate;
    out.frame_size = c.frame_size;
    out.mimi_codebooks = c.n_codebooks;
    out.mimi_card = c.bins;
    out.mimi_latent_dim = c.dimension;
    out.mimi_context = c.context;
}

} // namespace

moshi_model_params moshi_model_default_params(void) {
    moshi_model_params p = {};
    p.device = "auto";
    p.repack = true;
    return p;
}

moshi_status moshi_model_load(const moshi_model_params * params, moshi_model ** out) {
    return guarded([&] {
        require(params, "params");
        require(out, "out");
        *out = nullptr;
        route_ggml_log();
        *out = new moshi_model{load_model(*params)};
    });
}

moshi_status moshi_model_get_info(const moshi_model * model, moshi_model_info * out) {
    return guarded([&] {
        require(model, "model");
        require(out, "out");
        const Model & m = *model->model;
        *out = {};
        copy_text(out->model_type, sizeof(out->model_type), "mimi");
        copy_text(out->device, sizeof(out->device), m.compute->device().name);
        copy_text(out->device_reason, sizeof(out->device_reason), m.device_reason);
        out->fingerprint = m.fingerprint;
        out->n_threads = m.compute->n_threads();
        out->weight_bytes = (m.lm ? m.lm->weights.bytes : 0) + (m.mimi ? m.mimi->weights.bytes : 0);
        if (m.mimi) {
            copy_text(out->weight_type, sizeof(out->weight_type), ggml_type_name(m.mimi->weights.main_type));
            describe_mimi(*m.mimi, *out);
        }
        if (m.lm) {
            describe_lm(*m.lm, *out);
        }
    });
}

void moshi_model_free(moshi_model * model) { delete model; }
