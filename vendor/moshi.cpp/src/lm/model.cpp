#include "lm/model.h"

#include "gguf/names.h"

#include <algorithm>

namespace moshi {

namespace {

std::string numbered(const std::string & stem, int i, const std::string & leaf = ".weight") { return stem + std::to_string(i) + leaf; }

// Projection `w` of `n_weights`: a tensor of its own, or a row block of a packed one (MODELS.md 0.1).
ggml_tensor * load_projection(WeightLoader & loader, const std::string & stem, const char * packed, int w, int n_weights, int64_t n_out,
                              int64_t n_in) {
    const std::string own = numbered(stem + "s.", w);
    const std::string name = find_name(loader.file(), {own, stem + packed, stem + ".weight"});
    return name == own ? loader.matrix(name, n_out, n_in) : loader.matrix_rows(name, n_weights * n_out, w * n_out, n_out, n_in);
}

GatedLayer load_layer(WeightLoader & loader, const std::string & layer, const std::string & gating, int w, int n_weights, int64_t dim) {
    GatedLayer out;
    out.in_proj = load_projection(loader, layer + "self_attn.in_proj", "_weight", w, n_weights, 3 * dim, dim);
    out.out_proj = load_projection(loader, layer + "self_attn.out_proj", ".weight", w, n_weights, dim, dim);
    // The file decides the width: existing config.json files give a hidden_scale that their weights do not have.
    const int64_t hidden = loader.file().require(gating + "linear_out.weight").ne[0];
    out.linear_in = loader.matrix(gating + "linear_in.weight", 2 * hidden, dim);
    out.linear_out = loader.matrix(gating + "linear_out.weight", dim, hidden);
    return out;
}

Embedding load_embedding(WeightLoader & loader, const std::string & name, int card, int64_t dim, int low_rank) {
    Embedding e;
    e.table = loader.table(name + ".weight", int64_t(card) + 1, low_rank ? low_rank : dim); // the last row: initial token
    e.low_rank = low_rank ? loader.matrix(name + ".low_rank.weight", dim, low_rank) : nullptr;
    return e;
}

void load_temporal(WeightLoader & loader, LmModel & m) {
    const LmConfig & c = m.config;
    for (int k = 0; k < c.n_q; ++k) {
        m.emb.push_back(load_embedding(loader, numbered("lm.emb.", k, ""), c.card, c.dim, 0));
    }
    m.text_emb = load_embedding(loader, "lm.text_emb", c.text_card, c.dim, 0);
    m.rope = load_rope(loader, c.dim / c.n_heads, c.max_period);
    for (int l = 0; l < c.n_layers; ++l) {
        const std::string p = numbered("lm.transformer.layers.", l, ".");
        TemporalLayer layer;
        layer.norm1 = loader.vector(p + "norm1.alpha", c.dim);
        layer.norm2 = loader.vector(p + "norm2.alpha", c.dim);
        layer.w = load_layer(loader, p, p + "gating.", 0, 1, c.dim);
        m.layers.push_back(layer);
    }
    m.out_norm = loader.vector("lm.out_norm.alpha", c.dim);
    m.text_linear = loader.matrix("lm.text_linear.weight", c.text_card_out, c.dim);
    for (int i = 0; i < c.n_extra_heads; ++i) {
        m.extra_heads.push_back(loader.matrix(numbered("lm.extra_heads.", i), c.extra_head_dim, c.dim));
    }
}

void load_depformer(WeightLoader & loader, LmModel & m) {
    const LmConfig & c = m.config;
    const LmConfig::Depformer & d = c.depformer;
    if (m.n_steps == 0) {
        return;
    }
    const int n_sets = *std::max_element(d.schedule.begin(), d.schedule.begin() + m.n_steps) + 1;
    for (int w = 0; w < n_sets; ++w) {
        m.depformer_in.push_back(loader.matrix(numbered("lm.depformer_in.", w), d.dim, c.dim));
    }
    m.depformer_text_emb = load_embedding(loader, "lm.depformer_text_emb", c.text_card, d.dim, d.low_rank);
    for (int k = 0; k + 1 < m.n_steps; ++k) {
        m.depformer_emb.push_back(load_embedding(loader, numbered("lm.depformer_emb.", k, ""), c.card, d.dim, d.low_rank));
    }
    for (int l = 0; l < d.n_layers; ++l) {
        const std::string p = numbered("lm.depformer.layers.", l, ".");
        DepformerLayer layer;
        layer.norm1 = loader.vector(p + "norm1.alpha", d.dim);
        layer.norm2 = loader.vector(p + "norm2.alpha", d.dim);
        for (int w = 0; w < n_sets; ++w) {
            layer.w.push_back(load_layer(loader, p, numbered(p + "gating.", w, "."), w, d.n_weights, d.dim));
        }
        m.depformer_layers.push_back(std::move(layer));
    }
    for (int k = 0; k < m.n_steps; ++k) {
        m.linears.push_back(loader.matrix(numbered("lm.linears.", k), c.card, d.dim));
    }
}

} // namespace

std::unique_ptr<LmModel> load_lm(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack, bool all_steps,
                                 const Progress & progress) {
    auto model = std::make_unique<LmModel>();
    model->config = read_lm_config(file->metadata());
    model->n_steps = all_steps ? model->config.dep_q : std::min(model->config.dep_q, model->config.n_agent());
    WeightLoader loader(file, compute, repack);
    load_temporal(loader, *model);
    load_depformer(loader, *model);
    model->weights = loader.finish(progress);
    return model;
}

} // namespace moshi
