// Hyper-parameters of the language model (MODELS.md 2.1); keys are those of the published config.json.
#pragma once

#include "gguf/metadata.h"

namespace moshi {

struct LmConfig {
    std::string model_type; // moshi, personaplex, stt, tts, hibiki
    int dim, n_layers, n_heads, context;
    float max_period, norm_eps;
    int text_card, text_card_out, card;
    int text_padding;
    int n_q, dep_q;
    std::vector<int> delays;    // [1 + n_q], text first
    int max_delay;
    struct Depformer {
        int dim, n_layers, n_heads;
        int low_rank;               // width of low-rank embedding tables, 0: none
        std::vector<int> schedule;  // weight set of each step
        int n_weights;              // weight sets
    } depformer;
    int n_extra_heads, extra_head_dim;
    float temperature, text_temperature;
    int top_k, text_top_k;

    bool personaplex() const { return model_type == "personaplex"; }
    int n_user() const { return personaplex() ? n_q / 2 : n_q - dep_q; }
    int n_agent() const { return personaplex() ? n_q / 2 : dep_q; } // streams that the model speaks with
};

LmConfig read_lm_config(const Metadata & metadata);

} // namespace moshi
