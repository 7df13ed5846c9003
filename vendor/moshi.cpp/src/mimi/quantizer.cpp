#include "mimi/quantizer.h"

namespace moshi {

namespace {

// A 1x1 convolution is a matrix; files keep its trailing axis.
ggml_tensor * load_projection(WeightLoader & loader, const std::string & name, int n_out, int n_in) {
    const TensorInfo & t = loader.checked(name, {n_out, n_in, 1});
    return loader.made({n_in, n_out}, [&loader, &t](float * out) { to_float(loader.file().path(), t, out); });
}

Codebook load_codebook(WeightLoader & loader, const std::string & name, int bins, int dim) {
    const TensorInfo & t = loader.checked(name, {bins, dim});
    const auto read = [&loader, &t](float * out) { to_float(loader.file().path(), t, out); };
    Codebook w;
    // Read where they lie, those that a language model does not use take no memory: it hears by 8 of 32.
    w.vectors = t.type == GGML_TYPE_F32 ? loader.table(name, bins, dim) : loader.made({dim, bins}, read);
    w.half_norms = loader.made({bins}, [read, bins, dim](float * out) {
        std::vector<float> e(static_cast<size_t>(bins) * dim);
        read(e.data());
        for (int j = 0; j < bins; ++j) {
            double sum = 0;
            for (int i = 0; i < dim; ++i) {
                sum += double(e[size_t(j) * dim + i]) * e[size_t(j) * dim + i];
            }
            out[j] = static_cast<float>(-0.5 * sum);
        }
    });
    return w;
}

} // namespace

Quantizer load_quantizer(WeightLoader & loader, const MimiConfig & c) {
    const std::string first = "mimi.quantizer.rvq_first.", rest = "mimi.quantizer.rvq_rest.";
    Quantizer w;
    w.first_in = load_projection(loader, first + "input_proj.weight", c.codebook_dim, c.dimension);
    w.first_out = load_projection(loader, first + "output_proj.weight", c.dimension, c.codebook_dim);
    w.rest_in = load_projection(loader, rest + "input_proj.weight", c.codebook_dim, c.dimension);
    w.rest_out = load_projection(loader, rest + "output_proj.weight", c.dimension, c.codebook_dim);
    for (int k = 0; k < c.n_codebooks; ++k) {
        const std::string level = k == 0 ? first + "vq.layers.0" : rest + "vq.layers." + std::to_string(k - 1);
        w.codebooks.push_back(load_codebook(loader, level + "._codebook.embedding", c.bins, c.codebook_dim));
    }
    return w;
}

std::vector<ggml_tensor *> quantize(ggml_context * ctx, const Quantizer & w, ggml_tensor * latents, int n_codebooks) {
    std::vector<ggml_tensor *> codes;
    ggml_tensor * residual = nullptr;                                       // [codebook_dim, T]
    for (int k = 0; k < n_codebooks; ++k) {
        const Codebook & book = w.codebooks[k];
        if (k < 2) {
            residual = ggml_mul_mat(ctx, k == 0 ? w.first_in : w.rest_in, latents);
        }
        // argmin |r - e|^2 = argmax r.e - |e|^2 / 2: the search is a matrix product
        ggml_tensor * score = ggml_add(ctx, ggml_mul_mat(ctx, book.vectors, residual), book.half_norms); // [bins, T]
        codes.push_back(ggml_argmax(ctx, score));
        residual = ggml_sub(ctx, residual, ggml_get_rows(ctx, book.vectors, codes.back()));
    }
    return codes;
}

ggml_tensor * dequantize(ggml_context * ctx, const Quantizer & w, const std::vector<ggml_tensor *> & codes) {
    const auto vectors = [&](size_t k) { return ggml_get_rows(ctx, w.codebooks[k].vectors, codes[k]); };
    ggml_tensor * out = ggml_mul_mat(ctx, w.first_out, vectors(0));
    ggml_tensor * sum = nullptr;
    for (size_t k = 1; k < codes.size(); ++k) {
        sum = sum ? ggml_add(ctx, sum, vectors(k)) : vectors(k);
    }
    return sum ? ggml_add(ctx, out, ggml_mul_mat(ctx, w.rest_out, sum)) : out;
}

} // namespace moshi
