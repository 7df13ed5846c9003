// Complete models of a few kilobytes, with random weights: small enough to load in a millisecond.
#pragma once

#include "gguf/names.h"
#include "gguf_writer.h"

#include <cstdlib>
#include <string>
#include <vector>

namespace tiny {

// xorshift64*: the same numbers everywhere, unlike the distributions of <random>.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {}
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1du;
    }
    uint64_t below(uint64_t n) { return n ? (next() >> 16) % n : 0; }
    bool one_in(uint64_t n) { return below(n) == 0; }
    float real() { return static_cast<float>(next() >> 40) / static_cast<float>(1 << 24) * 2.0f - 1.0f; } // [-1, 1)
    template <typename T> const T & choice(const std::vector<T> & from) { return from[below(from.size())]; }

private:
    uint64_t state_;
};

inline gguf::Tensor tensor(Random & random, const std::string & name, std::vector<uint64_t> ne, ggml_type type = GGML_TYPE_F32,
                           float scale = 0.3f, float offset = 0.0f) {
    gguf::Tensor t{moshi::stored_name(name), static_cast<uint32_t>(type), ne, {}};
    uint64_t n = 1;
    for (const uint64_t d : ne) {
        n *= d;
    }
    std::vector<float> values(n);
    for (float & v : values) {
        v = offset + scale * random.real();
    }
    if (ne[0] % static_cast<uint64_t>(ggml_blck_size(type)) != 0) {
        t.type = type = GGML_TYPE_F32;
    }
    t.data.resize(n / static_cast<uint64_t>(ggml_blck_size(type)) * ggml_type_size(type));
    if (type == GGML_TYPE_F32) {
        std::memcpy(t.data.data(), values.data(), t.data.size());
    } else {
        ggml_quantize_chunk(type, values.data(), t.data.data(), 0, static_cast<int64_t>(n / ne[0]), static_cast<int64_t>(ne[0]), nullptr);
    }
    return t;
}

struct Lm {
    std::string model_type = "moshi";
    int dim = 16, n_layers = 2, n_heads = 2, context = 8, hidden = 12;
    int text_card = 12, card = 10;
    int n_q = 4, dep_q = 2;
    std::vector<int32_t> delays = {0, 0, 1, 0, 1};
    int depformer_dim = 8, depformer_layers = 1, depformer_heads = 2, depformer_hidden = 6;
    int low_rank = 0;
    std::vector<int32_t> schedule; // empty: a set per step
    int extra_heads = 0;
    bool packed = false; // projections of all depformer steps in one tensor
    ggml_type type = GGML_TYPE_F32;

    static Lm personaplex() {
        Lm c;
        c.model_type = "personaplex";
        c.dep_q = 4;
        return c;
    }

    gguf::File file(uint64_t seed = 1) const;

private:
    void add_layer(gguf::File & f, Random & r, const std::string & p, const std::vector<std::string> & gating, uint64_t d, uint64_t h,
                   bool pack) const;
};

inline void Lm::add_layer(gguf::File & f, Random & r, const std::string & p, const std::vector<std::string> & gating, uint64_t d,
                          uint64_t h, bool pack) const {
    f.tensors.push_back(tensor(r, p + "norm1.alpha", {d}, GGML_TYPE_F32, 0.1f, 1.0f));
    f.tensors.push_back(tensor(r, p + "norm2.alpha", {d}, GGML_TYPE_F32, 0.1f, 1.0f));
    const uint64_t n = gating.size();
    if (pack) {
        f.tensors.push_back(tensor(r, p + "self_attn.in_proj_weight", {d, 3 * d * n}, type));
        f.tensors.push_back(tensor(r, p + "self_attn.out_proj.weight", {d, d * n}, type));
    }
    for (uint64_t w = 0; w < n; ++w) {
        if (!pack) {
            f.tensors.push_back(tensor(r, p + "self_attn.in_projs." + std::to_string(w) + ".weight", {d, 3 * d}, type));
            f.tensors.push_back(tensor(r, p + "self_attn.out_projs." + std::to_string(w) + ".weight", {d, d}, type));
        }
        f.tensors.push_back(tensor(r, p + gating[w] + "linear_in.weight", {d, 2 * h}, type));
        f.tensors.push_back(tensor(r, p + gating[w] + "linear_out.weight", {h, d}, type));
    }
}

inline gguf::File Lm::file(uint64_t seed) const {
    Random r(seed);
    gguf::File f;
    const auto n = [](int i) { return std::to_string(i); };
    f.keys = {gguf::key("general.architecture", std::string("moshi")),
              gguf::key("moshi.model_type", model_type),
              gguf::key("moshi.dim", dim),
              gguf::key("moshi.num_layers", n_layers),
              gguf::key("moshi.num_heads", n_heads),
              gguf::key("moshi.context", context),
              gguf::key("moshi.text_card", text_card),
              gguf::key("moshi.card", card),
              gguf::key("moshi.n_q", n_q),
              gguf::key("moshi.dep_q", dep_q),
              gguf::key("moshi.delays", delays),
              gguf::key("moshi.max_period", 10000.0),
              gguf::key("moshi.norm", std::string("rms_norm_f32")),
              gguf::key("moshi.causal", true),
              gguf::key("moshi.lm_gen_config.temp", 0.8),
              gguf::key("moshi.extra_heads_num_heads", extra_heads)};
    const uint64_t D = static_cast<uint64_t>(dim), d = static_cast<uint64_t>(depformer_dim), C = static_cast<uint64_t>(card),
                   V = static_cast<uint64_t>(text_card);
    for (int k = 0; k < n_q; ++k) {
        f.tensors.push_back(tensor(r, "lm.emb." + n(k) + ".weight", {D, C + 1}, type, 1.0f));
    }
    f.tensors.push_back(tensor(r, "lm.text_emb.weight", {D, V + 1}, type, 1.0f));
    for (int l = 0; l < n_layers; ++l) {
        add_layer(f, r, "lm.transformer.layers." + n(l) + ".", {"gating."}, D, static_cast<uint64_t>(hidden), packed);
    }
    f.tensors.push_back(tensor(r, "lm.out_norm.alpha", {D}, GGML_TYPE_F32, 0.1f, 1.0f));
    f.tensors.push_back(tensor(r, "lm.text_linear.weight", {D, V}, type, 1.0f));
    for (int i = 0; i < extra_heads; ++i) {
        f.tensors.push_back(tensor(r, "lm.extra_heads." + n(i) + ".weight", {D, 6}, type));
    }
    if (dep_q == 0) {
        return f;
    }
    f.keys.push_back(gguf::key("moshi.depformer_dim", depformer_dim));
    f.keys.push_back(gguf::key("moshi.depformer_num_layers", depformer_layers));
    f.keys.push_back(gguf::key("moshi.depformer_num_heads", depformer_heads));
    f.keys.push_back(gguf::key("moshi.depformer_low_rank_embeddings", low_rank));
    int n_sets = dep_q;
    if (!schedule.empty()) {
        f.keys.push_back(gguf::key("moshi.depformer_weights_per_step_schedule", schedule));
        n_sets = 1;
        for (const int32_t w : schedule) {
            n_sets = w + 1 > n_sets ? w + 1 : n_sets;
        }
    }
    std::vector<std::string> gating;
    for (int w = 0; w < n_sets; ++w) {
        f.tensors.push_back(tensor(r, "lm.depformer_in." + n(w) + ".weight", {D, d}, type));
        gating.push_back("gating." + n(w) + ".");
    }
    const auto embedding = [&](const std::string & name, uint64_t rows) {
        f.tensors.push_back(tensor(r, name + ".weight", {low_rank ? static_cast<uint64_t>(low_rank) : d, rows}, type, 1.0f));
        if (low_rank) {
            f.tensors.push_back(tensor(r, name + ".low_rank.weight", {static_cast<uint64_t>(low_rank), d}, type));
        }
    };
    embedding("lm.depformer_text_emb", V + 1);
    for (int k = 0; k + 1 < dep_q; ++k) {
        embedding("lm.depformer_emb." + n(k), C + 1);
    }
    for (int l = 0; l < depformer_layers; ++l) {
        add_layer(f, r, "lm.depformer.layers." + n(l) + ".", gating, d, static_cast<uint64_t>(depformer_hidden), packed);
    }
    for (int k = 0; k < dep_q; ++k) {
        f.tensors.push_back(tensor(r, "lm.linears." + n(k) + ".weight", {d, C}, type, 1.0f));
    }
    return f;
}

struct Mimi {
    int n_filters = 2, dimension = 8, n_layers = 1, n_heads = 2, ffn = 16, context = 8;
    std::vector<int32_t> ratios = {2, 2};
    int kernel = 3, last_kernel = 3, residual_kernel = 3, compress = 2;
    int n_codebooks = 4, bins = 10, codebook_dim = 4;
    ggml_type type = GGML_TYPE_F32;

    int hop() const {
        int n = 1;
        for (const int32_t r : ratios) {
            n *= r;
        }
        return n;
    }
    int frame_size() const { return 2 * hop(); }
    gguf::File file(uint64_t seed = 2) const;

private:
    void add_conv(gguf::File & f, Random & r, const std::string & name, int c_in, int c_out, int k) const {
        f.tensors.push_back(tensor(r, name + ".conv.conv.weight", {uint64_t(k), uint64_t(c_in), uint64_t(c_out)}));
        f.tensors.push_back(tensor(r, name + ".conv.conv.bias", {1, uint64_t(c_out)}));
    }
    void add_block(gguf::File & f, Random & r, const std::string & name, int channels) const {
        add_conv(f, r, name + ".block.1", channels, channels / compress, residual_kernel);
        add_conv(f, r, name + ".block.3", channels / compress, channels, 1);
    }
    void add_seanet(gguf::File & f, Random & r) const;
    void add_transformer(gguf::File & f, Random & r, const std::string & name) const;
};

inline void Mimi::add_seanet(gguf::File & f, Random & r) const {
    const auto n = [](int i) { return std::to_string(i); };
    int index = 0, channels = n_filters;
    add_conv(f, r, "mimi.encoder.model.0", 1, channels, kernel);
    for (auto ratio = ratios.rbegin(); ratio != ratios.rend(); ++ratio) {
        add_block(f, r, "mimi.encoder.model." + n(index + 1), channels);
        add_conv(f, r, "mimi.encoder.model." + n(index + 3), channels, 2 * channels, 2 * *ratio);
        index += 3;
        channels *= 2;
    }
    add_conv(f, r, "mimi.encoder.model." + n(index + 2), channels, dimension, last_kernel);
    add_conv(f, r, "mimi.decoder.model.0", dimension, channels, kernel);
    index = 0;
    for (const int32_t ratio : ratios) {
        const std::string name = "mimi.decoder.model." + n(index + 2) + ".convtr.convtr";
        f.tensors.push_back(tensor(r, name + ".weight", {uint64_t(2 * ratio), uint64_t(channels / 2), uint64_t(channels)}));
        f.tensors.push_back(tensor(r, name + ".bias", {1, uint64_t(channels / 2)}));
        channels /= 2;
        add_block(f, r, "mimi.decoder.model." + n(index + 3), channels);
        index += 3;
    }
    add_conv(f, r, "mimi.decoder.model." + n(index + 2), channels, 1, last_kernel);
}

inline void Mimi::add_transformer(gguf::File & f, Random & r, const std::string & name) const {
    const uint64_t D = static_cast<uint64_t>(dimension), F = static_cast<uint64_t>(ffn);
    for (int l = 0; l < n_layers; ++l) {
        const std::string p = name + ".transformer.layers." + std::to_string(l) + ".";
        for (const char * leaf :
             {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "layer_scale_1.scale", "layer_scale_2.scale"}) {
            f.tensors.push_back(tensor(r, p + leaf, {D}, GGML_TYPE_F32, 0.1f, 0.5f));
        }
        f.tensors.push_back(tensor(r, p + "self_attn.in_projs.0.weight", {D, 3 * D}, type));
        f.tensors.push_back(tensor(r, p + "self_attn.out_projs.0.weight", {D, D}, type));
        f.tensors.push_back(tensor(r, p + "linear1.weight", {D, F}, type));
        f.tensors.push_back(tensor(r, p + "linear2.weight", {F, D}, type));
    }
}

inline gguf::File Mimi::file(uint64_t seed) const {
    Random r(seed);
    gguf::File f;
    f.keys = {gguf::key("general.architecture", std::string("moshi")),
              gguf::key("mimi.sample_rate", frame_size() * 25),
              gguf::key("mimi.frame_rate", 25.0),
              gguf::key("mimi.seanet.ratios", ratios),
              gguf::key("mimi.seanet.n_filters", n_filters),
              gguf::key("mimi.seanet.dimension", dimension),
              gguf::key("mimi.seanet.kernel_size", kernel),
              gguf::key("mimi.seanet.last_kernel_size", last_kernel),
              gguf::key("mimi.seanet.residual_kernel_size", residual_kernel),
              gguf::key("mimi.seanet.compress", compress),
              gguf::key("mimi.quantizer.n_q", n_codebooks),
              gguf::key("mimi.quantizer.bins", bins),
              gguf::key("mimi.quantizer.dimension", codebook_dim),
              gguf::key("mimi.transformer.num_layers", n_layers),
              gguf::key("mimi.transformer.num_heads", n_heads),
              gguf::key("mimi.transformer.dim_feedforward", ffn),
              gguf::key("mimi.transformer.context", context)};
    const uint64_t D = static_cast<uint64_t>(dimension), q = static_cast<uint64_t>(codebook_dim);
    add_seanet(f, r);
    add_transformer(f, r, "mimi.encoder_transformer");
    add_transformer(f, r, "mimi.decoder_transformer");
    f.tensors.push_back(tensor(r, "mimi.downsample.conv.conv.conv.weight", {4, D, D}));
    f.tensors.push_back(tensor(r, "mimi.upsample.convtr.convtr.convtr.weight", {4, 1, D}));
    for (const char * part : {"first", "rest"}) {
        const std::string p = std::string("mimi.quantizer.rvq_") + part;
        f.tensors.push_back(tensor(r, p + ".input_proj.weight", {1, D, q}));
        f.tensors.push_back(tensor(r, p + ".output_proj.weight", {1, q, D}));
    }
    for (int k = 0; k < n_codebooks; ++k) {
        const std::string level = k == 0 ? "rvq_first.vq.layers.0" : "rvq_rest.vq.layers." + std::to_string(k - 1);
        f.tensors.push_back(tensor(r, "mimi.quantizer." + level + "._codebook.embedding", {q, uint64_t(bins)}, GGML_TYPE_F32, 1.0f));
    }
    return f;
}

} // namespace tiny
