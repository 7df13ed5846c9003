#include "mimi/conv.h"

namespace moshi {

namespace {

std::vector<float> floats(const WeightLoader & loader, const TensorInfo & t) {
    std::vector<float> out(static_cast<size_t>(t.n_elements()));
    to_float(loader.file().path(), t, out.data());
    return out;
}

// The columns before x, then x; and the last `n` of them kept for the next call.
ggml_tensor * with_history(Graph & graph, ggml_tensor * history, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    ggml_tensor * all = ggml_concat(ctx, history, x, 1);                    // [C, P + T]
    const int64_t n = history->ne[1];
    ggml_tensor * last = ggml_view_2d(ctx, all, all->ne[0], n, all->nb[1], (all->ne[1] - n) * all->nb[1]);
    graph.expand(ggml_cpy(ctx, last, history));
    return all;
}

// Overlapping windows of `kernel` columns, one per output: [kernel * C, n]
ggml_tensor * windows(ggml_context * ctx, ggml_tensor * x, int kernel, int stride, int64_t n) {
    // ggml_view_2d refuses views whose rows overlap; the copy that follows reads any strides, so they are set here.
    ggml_tensor * view = ggml_view_2d(ctx, x, kernel * x->ne[0], 1, stride * x->nb[1], 0);
    view->ne[1] = n;
    view->nb[2] = view->nb[3] = n * view->nb[1];
    return ggml_cont(ctx, view);
}

ggml_tensor * add_bias(ggml_context * ctx, ggml_tensor * y, ggml_tensor * bias) { return bias ? ggml_add(ctx, y, bias) : y; }

} // namespace

Conv load_conv(WeightLoader & loader, const std::string & name, int c_in, int c_out, int kernel, int stride, bool bias) {
    const TensorInfo & t = loader.checked(name + ".weight", {c_out, c_in, kernel});
    Conv w{nullptr, nullptr, c_in, c_out, kernel, stride};
    w.weight = loader.made(loader.product_type(t), {int64_t(kernel) * c_in, c_out}, [&loader, &t, c_in, c_out, kernel](float * out) {
        const std::vector<float> in = floats(loader, t);
        for (int o = 0; o < c_out; ++o) {
            for (int k = 0; k < kernel; ++k) {
                for (int c = 0; c < c_in; ++c) {
                    *out++ = in[(size_t(o) * c_in + c) * kernel + k];
                }
            }
        }
    });
    w.bias = bias ? loader.vector(name + ".bias", c_out) : nullptr;
    return w;
}

ConvTranspose load_conv_transpose(WeightLoader & loader, const std::string & name, int c_in, int c_out, int stride) {
    const TensorInfo & t = loader.checked(name + ".weight", {c_in, c_out, 2 * stride});
    ConvTranspose w{nullptr, nullptr, c_in, c_out, stride};
    const ggml_type type = loader.product_type(t);
    w.weight = loader.made(type, {2 * int64_t(c_in), int64_t(stride) * c_out}, [&loader, &t, c_in, c_out, stride](float * out) {
        const std::vector<float> in = floats(loader, t);
        const int previous = stride, now = 0; // the kernel's halves: its tail reaches into the next column
        for (int j = 0; j < stride; ++j) {
            for (int o = 0; o < c_out; ++o) {
                for (const int half : {previous, now}) {
                    for (int c = 0; c < c_in; ++c) {
                        *out++ = in[(size_t(c) * c_out + o) * 2 * stride + half + j];
                    }
                }
            }
        }
    });
    w.bias = loader.vector(name + ".bias", c_out);
    return w;
}

DepthwiseUpsample load_upsample(WeightLoader & loader, const std::string & name, int channels, int stride) {
    const TensorInfo & t = loader.checked(name + ".weight", {channels, 1, 2 * stride});
    const auto half = [&loader, &t, channels, stride](int first) {
        return loader.made({channels, stride}, [&loader, &t, channels, stride, first](float * out) {
            const std::vector<float> in = floats(loader, t);
            for (int j = 0; j < stride; ++j) {
                for (int c = 0; c < channels; ++c) {
                    *out++ = in[size_t(c) * 2 * stride + first + j];
                }
            }
        });
    };
    return {half(0), half(stride), channels, stride};
}

ggml_tensor * conv(Graph & graph, const Conv & w, ggml_tensor * history, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    const int64_t n = x->ne[1] / w.stride;
    if (w.kernel > 1) {
        x = windows(ctx, history ? with_history(graph, history, x) : x, w.kernel, w.stride, n);
    }
    return add_bias(ctx, ggml_mul_mat(ctx, w.weight, x), w.bias);           // [c_out, n]
}

ggml_tensor * conv_transpose(Graph & graph, const ConvTranspose & w, ggml_tensor * history, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    const int64_t T = x->ne[1];
    ggml_tensor * pairs = windows(ctx, with_history(graph, history, x), 2, 1, T); // [2 c_in, T]
    ggml_tensor * y = ggml_mul_mat(ctx, w.weight, pairs);                   // [stride * c_out, T]
    return add_bias(ctx, ggml_reshape_2d(ctx, y, w.c_out, w.stride * T), w.bias);
}

ggml_tensor * upsample(Graph & graph, const DepthwiseUpsample & w, ggml_tensor * history, ggml_tensor * x) {
    ggml_context * ctx = graph.ctx();
    const int64_t C = w.channels, T = x->ne[1];
    const auto spread = [&](ggml_tensor * columns, ggml_tensor * gains) {
        return ggml_mul(ctx, ggml_repeat_4d(ctx, columns, C, w.stride, T, 1), gains);
    };
    ggml_tensor * all = with_history(graph, history, x);                    // [C, 1 + T]
    ggml_tensor * previous = ggml_view_3d(ctx, all, C, 1, T, all->nb[1], all->nb[1], 0);
    ggml_tensor * now = ggml_view_3d(ctx, all, C, 1, T, all->nb[1], all->nb[1], all->nb[1]);
    ggml_tensor * y = ggml_add(ctx, spread(now, w.now), spread(previous, w.previous));
    return ggml_reshape_2d(ctx, y, C, w.stride * T);
}

} // namespace moshi
