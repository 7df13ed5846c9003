#include "lm/config.h"

#include "api/error.h"

#include <algorithm>

namespace moshi {

namespace {

constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxCard = 1 << 20;

[[noreturn]] void unsupported(const Metadata & md, const std::string & key, const std::string & found, const char * supported) {
    fail(MOSHI_ERROR_UNSUPPORTED, "%s: %s is %s; this engine computes %s", md.source().c_str(), key.c_str(), found.c_str(), supported);
}

void expect_text(const Metadata & md, const std::string & key, const std::string & supported) {
    const std::string found = md.get_string(key, supported);
    if (found != supported) {
        unsupported(md, key, found, supported.c_str());
    }
}

void expect_false(const Metadata & md, const std::string & key) {
    if (md.get_bool(key, false)) {
        unsupported(md, key, "true", "models without it");
    }
}

void check_heads(const Metadata & md, const char * what, int dim, int n_heads) {
    if (dim % n_heads != 0 || (dim / n_heads) % 2 != 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: %s of %d channels cannot have %d heads", md.source().c_str(), what, dim, n_heads);
    }
}

float read_norm(const Metadata & md) {
    const std::string norm = md.get_string("moshi.norm", "rms_norm_f32");
    if (norm == "rms_norm_f32") {
        return 1e-8f;
    }
    if (norm == "rms_norm") {
        return 1e-5f;
    }
    unsupported(md, "moshi.norm", norm, "rms_norm_f32 and rms_norm");
}

void read_depformer(const Metadata & md, LmConfig & c) {
    LmConfig::Depformer & d = c.depformer;
    d = {};
    if (c.dep_q == 0) {
        return;
    }
    expect_text(md, "moshi.depformer_gating", "silu");
    expect_text(md, "moshi.depformer_pos_emb", "none");
    expect_false(md, "moshi.depformer_norm");
    if (!md.get_bool("moshi.depformer_multi_linear", true) || !md.get_bool("moshi.depformer_weights_per_step", true)) {
        unsupported(md, "moshi.depformer_multi_linear or moshi.depformer_weights_per_step", "false",
                    "depformers with weights of their own per step");
    }
    d.dim = static_cast<int>(md.require_int("moshi.depformer_dim", 1, kMaxWidth));
    d.n_layers = static_cast<int>(md.require_int("moshi.depformer_num_layers", 1, 256));
    d.n_heads = static_cast<int>(md.require_int("moshi.depformer_num_heads", 1, 1024));
    check_heads(md, "a depformer", d.dim, d.n_heads);
    d.low_rank = static_cast<int>(md.get_int("moshi.depformer_low_rank_embeddings", 0, 0, kMaxWidth));
    const std::vector<int64_t> schedule = md.get_ints("moshi.depformer_weights_per_step_schedule", {}, 0, c.dep_q - 1, 64);
    for (int k = 0; k < c.dep_q; ++k) {
        d.schedule.push_back(k < static_cast<int>(schedule.size()) ? static_cast<int>(schedule[k]) : k);
    }
    if (!schedule.empty() && static_cast<int>(schedule.size()) != c.dep_q) {
        fail(MOSHI_ERROR_FORMAT, "%s: moshi.depformer_weights_per_step_schedule has %zu entries; expected dep_q = %d", md.source().c_str(),
             schedule.size(), c.dep_q);
    }
    d.n_weights = *std::max_element(d.schedule.begin(), d.schedule.end()) + 1;
}

void read_delays(const Metadata & md, LmConfig & c) {
    const std::vector<int64_t> delays = md.get_ints("moshi.delays", {}, 0, 64, 65);
    if (delays.size() != static_cast<size_t>(c.n_q) + 1) {
        fail(MOSHI_ERROR_FORMAT, "%s: moshi.delays has %zu entries; expected 1 + n_q = %d", md.source().c_str(), delays.size(), c.n_q + 1);
    }
    c.delays.assign(delays.begin(), delays.end());
    c.max_delay = *std::max_element(c.delays.begin(), c.delays.end());
}

std::string read_type(const Metadata & md, const LmConfig & c) {
    const std::string type = md.get_string("moshi.model_type", "");
    if (!type.empty()) {
        return type;
    }
    // NVIDIA publishes no type; its model is the one that also predicts the user's half of the streams.
    return c.dep_q == c.n_q && c.n_q % 2 == 0 && c.n_q > 0 ? "personaplex" : c.dep_q == 0 ? "stt" : "moshi";
}

} // namespace

LmConfig read_lm_config(const Metadata & md) {
    if (md.empty_below("moshi.")) {
        fail(MOSHI_ERROR_FORMAT, "%s: holds no model parameters (keys moshi.*), and no config.json was found beside it",
             md.source().c_str());
    }
    expect_text(md, "moshi.gating", "silu");
    expect_text(md, "moshi.positional_embedding", "rope");
    expect_false(md, "moshi.cross_attention");
    expect_false(md, "moshi.demux_second_stream");
    if (md.get_int("moshi.kv_repeat", 1, 1, 1024) != 1) {
        unsupported(md, "moshi.kv_repeat", "above 1", "models without grouped queries");
    }
    if (!md.get_bool("moshi.causal", true)) {
        unsupported(md, "moshi.causal", "false", "causal models");
    }
    LmConfig c{};
    c.dim = static_cast<int>(md.require_int("moshi.dim", 2, kMaxWidth));
    c.n_layers = static_cast<int>(md.require_int("moshi.num_layers", 1, 1024));
    c.n_heads = static_cast<int>(md.require_int("moshi.num_heads", 1, 1024));
    check_heads(md, "a temporal transformer", c.dim, c.n_heads);
    c.context = static_cast<int>(md.require_int("moshi.context", 4, 1 << 20));
    c.max_period = static_cast<float>(md.get_float("moshi.max_period", 10000, 1, 1e9));
    c.norm_eps = read_norm(md);
    c.text_card = static_cast<int>(md.require_int("moshi.text_card", 4, kMaxCard));
    c.text_card_out = static_cast<int>(md.get_int("moshi.text_card_out", c.text_card, 1, c.text_card));
    c.card = static_cast<int>(md.require_int("moshi.card", 1, kMaxCard));
    c.text_padding = static_cast<int>(md.get_int("moshi.existing_text_padding_id", 3, 0, c.text_card - 1));
    c.n_q = static_cast<int>(md.require_int("moshi.n_q", 0, MOSHI_MAX_CODEBOOKS));
    c.dep_q = static_cast<int>(md.require_int("moshi.dep_q", 0, c.n_q));
    c.model_type = read_type(md, c);
    if (c.personaplex() && (c.n_q % 2 != 0 || c.dep_q < c.n_q / 2)) {
        fail(MOSHI_ERROR_FORMAT, "%s: a personaplex model with n_q %d and dep_q %d; expected an even n_q and dep_q of at least its half",
             md.source().c_str(), c.n_q, c.dep_q);
    }
    read_delays(md, c);
    read_depformer(md, c);
    c.n_extra_heads = static_cast<int>(md.get_int("moshi.extra_heads_num_heads", 0, 0, 64));
    c.extra_head_dim = static_cast<int>(md.get_int("moshi.extra_heads_dim", 6, 1, kMaxWidth));
    c.temperature = static_cast<float>(md.get_float("moshi.lm_gen_config.temp", 0.8, 0, 100));
    c.text_temperature = static_cast<float>(md.get_float("moshi.lm_gen_config.temp_text", 0.7, 0, 100));
    c.top_k = static_cast<int>(md.get_int("moshi.lm_gen_config.top_k", 250, 0, kMaxCard));
    c.text_top_k = static_cast<int>(md.get_int("moshi.lm_gen_config.top_k_text", 25, 0, kMaxCard));
    return c;
}

} // namespace moshi
