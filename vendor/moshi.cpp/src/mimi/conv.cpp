#include "mimi/conv.h"

#include "nn/ops.h"

namespace moshi {

namespace {

constexpr int kTile = 16; // ggml's CPU products take 16 terms at a time, and fewer one by one

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

// A view of x with any strides, for operations that read them. ggml_view_2d refuses rows that overlap.
ggml_tensor * strided(ggml_context * ctx, ggml_tensor * x, int64_t ne0, int64_t ne1, size_t nb0, size_t nb1) {
    ggml_tensor * view = ggml_view_1d(ctx, x, 1, 0);
    view->ne[0] = ne0;
    view->ne[1] = ne1;
    view->nb[0] = nb0;
    view->nb[1] = nb1;
    view->nb[2] = view->nb[3] = ne1 * nb1;
    return view;
}

// Overlapping windows of `kernel` columns, one per output: [kernel * C, n]
ggml_tensor * windows(ggml_context * ctx, ggml_tensor * x, int kernel, int stride, int64_t n) {
    return ggml_cont(ctx, strided(ctx, x, kernel * x->ne[0], n, x->nb[0], stride * x->nb[1]));
}

ggml_tensor * add_bias(ggml_context * ctx, ggml_tensor * y, ggml_tensor * bias) { return bias ? ggml_add(ctx, y, bias) : y; }

} // namespace

Conv load_conv(WeightLoader & loader, const std::string & name, int c_in, int c_out, int kernel, int stride, bool bias) {
    const TensorInfo & t = loader.checked(name + ".weight", {c_out, c_in, kernel});
    const int64_t n_in = int64_t(kernel) * c_in;
    Conv w{nullptr, nullptr, c_in, c_out, kernel, stride, loader.halves(), loader.is_cpu() && n_in < kTile};
    const ggml_type type = w.by_tap ? GGML_TYPE_F32 : loader.product_type(t, n_in);
    const std::vector<int64_t> ne = w.by_tap ? std::vector<int64_t>{c_out, n_in} : std::vector<int64_t>{n_in, c_out};
    w.weight = loader.made(type, ne, [&loader, &t, c_in, c_out, kernel, n_in, by_tap = w.by_tap](float * out) {
        const std::vector<float> in = floats(loader, t);
        for (int o = 0; o < c_out; ++o) {
            for (int k = 0; k < kernel; ++k) {
                for (int c = 0; c < c_in; ++c) {
                    const int64_t row = int64_t(k) * c_in + c;
                    out[by_tap ? row * c_out + o : o * n_in + row] = in[(size_t(o) * c_in + c) * kernel + k];
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
    const ggml_type type = loader.product_type(t, 2 * int64_t(c_in));
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
    x = history ? with_history(graph, history, x) : x;
    if (w.by_tap) {
        ggml_tensor * taps = strided(ctx, x, n, w.weight->ne[1], w.stride * x->nb[1], x->nb[0]); // [n, kernel * c_in]
        return add_bias(ctx, ggml_out_prod(ctx, w.weight, taps), w.bias);
    }
    if (w.kernel > 1) {
        x = windows(ctx, x, w.kernel, w.stride, n);
    }
    return add_bias(ctx, product(graph, w.weight, x, w.halves), w.bias);    // [c_out, n]
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
