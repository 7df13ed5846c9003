#include "mimi/seanet.h"

#include "nn/ops.h"

namespace moshi {

namespace {

Conv load(WeightLoader & loader, const std::string & name, int c_in, int c_out, int kernel, int stride = 1) {
    return load_conv(loader, name + ".conv.conv", c_in, c_out, kernel, stride, true);
}

ResidualBlock load_block(WeightLoader & loader, const std::string & name, int channels, const MimiConfig & c) {
    const int hidden = channels / c.compress;
    return {load(loader, name + ".block.1", channels, hidden, c.residual_kernel), load(loader, name + ".block.3", hidden, channels, 1)};
}

ggml_tensor * history_of(ggml_context * state, const Conv & w) {
    return w.history() > 0 ? ggml_new_tensor_2d(state, GGML_TYPE_F32, w.c_in, w.history()) : nullptr;
}

void add_block(std::vector<ggml_tensor *> & out, ggml_context * state, const ResidualBlock & w) {
    out.push_back(history_of(state, w.narrow));
    out.push_back(history_of(state, w.widen));
}

using Elu = ggml_tensor * (*) (const Graph & graph, ggml_tensor * x);

ggml_tensor * exact_elu(const Graph & graph, ggml_tensor * x) { return ggml_elu(graph.ctx(), x); }

#if defined(MOSHI_VECTOR_MATH)
constexpr bool kVectorMath = true;
#else
constexpr bool kVectorMath = false;
#endif

// Without vector math (cmake/vector_math.cmake) a CPU computes ggml's ELU one number at a time by expm1f, a seventh of the
// codec's time; its expm1 is expf(x) - 1, off by 1e-7 at most. That cannot be heard, but it can tip a code, so the encoder
// stays with the former.
ggml_tensor * quick_elu(const Graph & graph, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    if (kVectorMath || !graph.compute().is_cpu()) {
        return ggml_elu(ctx, x);
    }
    ggml_tensor * positive = ggml_relu(ctx, x);
    return ggml_add_inplace(ctx, ggml_expm1_inplace(ctx, ggml_sub(ctx, x, positive)), positive);
}

ggml_tensor * residual(Graph & graph, const ResidualBlock & w, SeanetHistory & history, Elu elu, ggml_tensor * x) {
    ggml_tensor * y = conv(graph, w.narrow, history.take(), elu(graph, x));
    y = conv(graph, w.widen, history.take(), elu(graph, y));
    return ggml_add(graph.ctx(), x, y);
}

} // namespace

SeanetEncoder load_seanet_encoder(WeightLoader & loader, const MimiConfig & c) {
    SeanetEncoder w;
    int index = 0, channels = c.n_filters, columns = c.frame_size;
    const auto name = [&] { return "mimi.encoder.model." + std::to_string(index); };
    w.first = load(loader, name(), 1, channels, c.kernel);
    for (auto ratio = c.ratios.rbegin(); ratio != c.ratios.rend(); ++ratio) { // the encoder mirrors the decoder
        index += 1;
        w.blocks.push_back(load_block(loader, name(), channels, c));
        index += 2; // an ELU stands between
        columns /= *ratio;
        loader.set_halves(columns <= kFewColumns ? Halves::Split : Halves::Widened);
        w.downsamples.push_back(load(loader, name(), channels, 2 * channels, 2 * *ratio, *ratio));
        channels *= 2;
    }
    index += 2;
    w.last = load(loader, name(), channels, c.dimension, c.last_kernel);
    loader.set_halves(Halves::Widened);
    return w;
}

SeanetDecoder load_seanet_decoder(WeightLoader & loader, const MimiConfig & c) {
    SeanetDecoder w;
    int index = 0, channels = c.n_filters << c.ratios.size();
    const auto name = [&] { return "mimi.decoder.model." + std::to_string(index); };
    w.first = load(loader, name(), c.dimension, channels, c.kernel);
    for (const int ratio : c.ratios) {
        index += 2;
        w.upsamples.push_back(load_conv_transpose(loader, name() + ".convtr.convtr", channels, channels / 2, ratio));
        channels /= 2;
        index += 1;
        w.blocks.push_back(load_block(loader, name(), channels, c));
    }
    index += 2;
    w.last = load(loader, name(), channels, 1, c.last_kernel);
    return w;
}

SeanetHistory encoder_history(ggml_context * state, const SeanetEncoder & w) {
    SeanetHistory h;
    h.columns.push_back(history_of(state, w.first));
    for (size_t i = 0; i < w.blocks.size(); ++i) {
        add_block(h.columns, state, w.blocks[i]);
        h.columns.push_back(history_of(state, w.downsamples[i]));
    }
    h.columns.push_back(history_of(state, w.last));
    return h;
}

SeanetHistory decoder_history(ggml_context * state, const SeanetDecoder & w) {
    SeanetHistory h;
    h.columns.push_back(history_of(state, w.first));
    for (size_t i = 0; i < w.blocks.size(); ++i) {
        h.columns.push_back(ggml_new_tensor_2d(state, GGML_TYPE_F32, w.upsamples[i].c_in, 1));
        add_block(h.columns, state, w.blocks[i]);
    }
    h.columns.push_back(history_of(state, w.last));
    return h;
}

ggml_tensor * seanet_encode(Graph & graph, const SeanetEncoder & w, SeanetHistory history, ggml_tensor * pcm) {
    ggml_tensor * x = conv(graph, w.first, history.take(), pcm);
    for (size_t i = 0; i < w.blocks.size(); ++i) {
        x = residual(graph, w.blocks[i], history, exact_elu, x);
        x = conv(graph, w.downsamples[i], history.take(), exact_elu(graph, x));
    }
    return conv(graph, w.last, history.take(), exact_elu(graph, x));
}

ggml_tensor * seanet_decode(Graph & graph, const SeanetDecoder & w, SeanetHistory history, ggml_tensor * latents) {
    ggml_tensor * x = conv(graph, w.first, history.take(), latents);
    for (size_t i = 0; i < w.blocks.size(); ++i) {
        x = conv_transpose(graph, w.upsamples[i], history.take(), quick_elu(graph, x));
        x = residual(graph, w.blocks[i], history, quick_elu, x);
    }
    return conv(graph, w.last, history.take(), quick_elu(graph, x));
}

} // namespace moshi
