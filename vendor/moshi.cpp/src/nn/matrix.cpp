#include "nn/matrix.h"

#include "kernels/kernels.h"

#include <algorithm>
#include <memory>

namespace moshi {

namespace {

constexpr int64_t kFewestRows = kPanel / 2; // a panel emptier than that is not worth its zeros

void compute_product(ggml_tensor * y, int ith, int nth, void *) {
    const ggml_tensor *w = y->src[0], *x = y->src[1], *bias = y->src[2], *residual = y->src[3];
    const auto floats = [](const ggml_tensor * t) { return t ? static_cast<const float *>(t->data) : nullptr; };
    const Product p = {w->data,
                       floats(bias),
                       floats(residual),
                       floats(x),
                       static_cast<float *>(y->data),
                       w->ne[1],
                       y->ne[0],
                       y->ne[1],
                       static_cast<int64_t>(x->nb[1] / sizeof(float))};
    (w->type == GGML_TYPE_F16 ? kernels()->product_f16 : kernels()->product_f32)(p, ith, nth);
}

void compute_rows(ggml_tensor * y, int ith, int, void *) {
    const ggml_tensor *w = y->src[0], *ids = y->src[1];
    const int64_t n_in = w->ne[1];
    for (int64_t j = 0; ith == 0 && j < y->ne[1]; ++j) {
        const int32_t id = static_cast<const int32_t *>(ids->data)[j];
        const int64_t first = id / kPanel * kPanel * n_in + id % kPanel;
        float * out = static_cast<float *>(y->data) + j * n_in;
        for (int64_t i = 0; i < n_in; ++i) {
            const int64_t at = first + i * kPanel;
            out[i] = w->type == GGML_TYPE_F16 ? ggml_fp16_to_fp32(static_cast<const ggml_fp16_t *>(w->data)[at])
                                              : static_cast<const float *>(w->data)[at];
        }
    }
}

void pack(const float * plain, int64_t n_out, int64_t n_in, float * packed) {
    constexpr int64_t kStep = 16; // a cache line of each row at a time: rows of powers of two would evict each other
    for (int64_t first = 0; first < n_out; first += kPanel, packed += kPanel * n_in) {
        const int64_t n = std::min<int64_t>(kPanel, n_out - first);
        for (int64_t from = 0; from < n_in; from += kStep) {
            const int64_t to = std::min(from + kStep, n_in);
            for (int64_t o = 0; o < kPanel; ++o) {
                for (int64_t i = from; i < to; ++i) {
                    packed[i * kPanel + o] = o < n ? plain[(first + o) * n_in + i] : 0.0f;
                }
            }
        }
    }
}

// `fill` writes the packed matrix.
Matrix make_packed(WeightLoader & loader, const TensorInfo & stored, int64_t n_out, int64_t n_in, std::function<void(float *)> fill) {
    Matrix w;
    w.n_out = n_out;
    w.packed = true;
    const ggml_type type = stored.type == GGML_TYPE_F16 && kernels()->product_f16 ? GGML_TYPE_F16 : GGML_TYPE_F32;
    w.weight = loader.made({kPanel, n_in, (n_out + kPanel - 1) / kPanel}, std::move(fill), type);
    return w;
}

} // namespace

Matrix make_matrix(WeightLoader & loader, const TensorInfo & stored, int64_t n_out, int64_t n_in, std::function<void(float *)> fill) {
    if (!loader.packs() || n_out < kFewestRows) {
        return loader.made({n_in, n_out}, std::move(fill));
    }
    return make_packed(loader, stored, n_out, n_in, [fill = std::move(fill), n_out, n_in](float * out) {
        const std::unique_ptr<float[]> plain(new float[static_cast<size_t>(n_out * n_in)]); // not zeroed first
        fill(plain.get());
        pack(plain.get(), n_out, n_in, out);
    });
}

Matrix make_matrix(WeightLoader & loader, const TensorInfo & t, int64_t n_out, int64_t n_in) {
    const bool readable = t.type == GGML_TYPE_F32 && reinterpret_cast<uintptr_t>(t.data) % alignof(float) == 0;
    if (readable && loader.packs() && n_out >= kFewestRows) { // without a copy in between
        return make_packed(loader, t, n_out, n_in,
                           [&t, n_out, n_in](float * out) { pack(reinterpret_cast<const float *>(t.data), n_out, n_in, out); });
    }
    return make_matrix(loader, t, n_out, n_in, [&loader, &t](float * out) { to_float(loader.file().path(), t, out); });
}

Matrix load_matrix(WeightLoader & loader, const std::string & name, int64_t n_out, int64_t n_in) {
    const TensorInfo & t = loader.checked(name, {n_out, n_in});
    const bool floats = t.type == GGML_TYPE_F32 || t.type == GGML_TYPE_F16 || t.type == GGML_TYPE_BF16;
    if (!floats || !loader.packs()) {
        return loader.matrix(name, n_out, n_in);
    }
    return make_matrix(loader, t, n_out, n_in);
}

ggml_tensor * product(ggml_context * ctx, const Matrix & w, ggml_tensor * x, ggml_tensor * bias, ggml_tensor * residual) {
    if (w.packed) {
        ggml_tensor * args[] = {w.weight, x, bias, residual};
        return ggml_custom_4d(ctx, GGML_TYPE_F32, w.n_out, x->ne[1], 1, 1, args, 4, compute_product, GGML_N_TASKS_MAX, nullptr);
    }
    ggml_tensor * y = ggml_mul_mat(ctx, w.weight, ggml_is_contiguous(x) ? x : ggml_cont(ctx, x));
    y = bias ? ggml_add(ctx, y, bias) : y;
    return residual ? ggml_add(ctx, residual, y) : y;
}

ggml_tensor * rows(ggml_context * ctx, const Matrix & w, ggml_tensor * ids) {
    if (!w.packed) {
        return ggml_get_rows(ctx, w.weight, ids);
    }
    ggml_tensor * args[] = {w.weight, ids};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, w.weight->ne[1], ids->ne[0], 1, 1, args, 2, compute_rows, 1, nullptr);
}

} // namespace moshi
