#include "mimi/config.h"

#include "api/error.h"

#include <algorithm>
#include <cmath>

namespace moshi {

namespace {

void expect_text(const Metadata & md, const std::string & key, const std::string & supported) {
    const std::string found = md.get_string(key, supported);
    if (found != supported) {
        fail(MOSHI_ERROR_UNSUPPORTED, "%s: %s is \"%s\"; this engine computes \"%s\"", md.source().c_str(), key.c_str(), found.c_str(),
             supported.c_str());
    }
}

void expect_int(const Metadata & md, const std::string & key, int64_t supported) {
    const int64_t found = md.get_int(key, supported, INT32_MIN, INT32_MAX);
    if (found != supported) {
        fail(MOSHI_ERROR_UNSUPPORTED, "%s: %s is %lld; this engine computes %lld", md.source().c_str(), key.c_str(), (long long) found,
             (long long) supported);
    }
}

} // namespace

MimiConfig read_mimi_config(const Metadata & md) {
    if (md.empty_below("mimi.")) {
        fail(MOSHI_ERROR_FORMAT, "%s: holds no codec parameters (keys mimi.*) and none were given beside it", md.source().c_str());
    }
    expect_text(md, "mimi.seanet.activation", "ELU");
    expect_text(md, "mimi.seanet.pad_mode", "constant");
    expect_text(md, "mimi.transformer.positional_embedding", "rope");
    expect_text(md, "mimi.transformer.norm", "layer_norm");
    expect_text(md, "mimi.transformer.gating", "none");
    expect_int(md, "mimi.channels", 1);
    expect_int(md, "mimi.seanet.channels", 1);
    expect_int(md, "mimi.seanet.n_residual_layers", 1);

    constexpr int64_t kMaxWidth = 1 << 14;
    constexpr double kMaxFrame = 1 << 16; // samples; Mimi's has 1920
    MimiConfig c;
    c.sample_rate = static_cast<int>(md.require_int("mimi.sample_rate", 1, 192000));
    const double frame_rate = md.get_float("mimi.frame_rate", 0, 0, 1000);
    int64_t hop = 1;
    for (const int64_t r : md.get_ints("mimi.seanet.ratios", {}, 1, 64, 8)) {
        c.ratios.push_back(static_cast<int>(r));
        hop *= r;
    }
    if (c.ratios.empty()) {
        fail(MOSHI_ERROR_FORMAT, "%s: mimi.seanet.ratios is missing", md.source().c_str());
    }
    const double frame = frame_rate > 0 ? c.sample_rate / frame_rate : 0;
    c.frame_size = static_cast<int>(std::lround(std::min(frame, 2.0 * kMaxFrame)));
    c.stride = static_cast<int>(c.frame_size / hop);
    if (frame < 1 || frame > kMaxFrame || std::fabs(frame - c.frame_size) > 1e-6 || c.frame_size % hop != 0 || c.stride != 2) {
        fail(MOSHI_ERROR_FORMAT,
             "%s: mimi.sample_rate %d at mimi.frame_rate %g with ratios of product %lld does not give two latents per frame",
             md.source().c_str(), c.sample_rate, frame_rate, (long long) hop);
    }
    c.n_filters = static_cast<int>(md.require_int("mimi.seanet.n_filters", 1, 1024));
    c.dimension = static_cast<int>(md.require_int("mimi.seanet.dimension", 1, kMaxWidth));
    c.kernel = static_cast<int>(md.get_int("mimi.seanet.kernel_size", 7, 1, 64));
    c.last_kernel = static_cast<int>(md.get_int("mimi.seanet.last_kernel_size", 3, 1, 64));
    c.residual_kernel = static_cast<int>(md.get_int("mimi.seanet.residual_kernel_size", 3, 1, 64));
    c.compress = static_cast<int>(md.get_int("mimi.seanet.compress", 2, 1, 64));
    c.n_codebooks = static_cast<int>(md.require_int("mimi.quantizer.n_q", 1, 64));
    c.bins = static_cast<int>(md.require_int("mimi.quantizer.bins", 1, 1 << 20));
    c.codebook_dim = static_cast<int>(md.require_int("mimi.quantizer.dimension", 1, kMaxWidth));
    c.n_layers = static_cast<int>(md.require_int("mimi.transformer.num_layers", 0, 256));
    c.n_heads = static_cast<int>(md.require_int("mimi.transformer.num_heads", 1, 1024));
    c.ffn = static_cast<int>(md.require_int("mimi.transformer.dim_feedforward", 1, 1 << 17));
    c.context = static_cast<int>(md.require_int("mimi.transformer.context", 4, 1 << 13));
    c.max_period = static_cast<float>(md.get_float("mimi.transformer.max_period", 10000, 1, 1e9));
    const int64_t d_model = md.get_int("mimi.transformer.d_model", c.dimension, 1, kMaxWidth);
    if (d_model != c.dimension || c.dimension % c.n_heads != 0 || (c.dimension / c.n_heads) % 2 != 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: mimi.transformer.d_model %lld with %d heads does not fit latents of %d channels", md.source().c_str(),
             (long long) d_model, c.n_heads, c.dimension);
    }
    return c;
}

} // namespace moshi
