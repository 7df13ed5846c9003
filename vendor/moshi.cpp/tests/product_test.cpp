// Products in whichever form product() chooses: the same as a sum in double precision.
#include "nn/ops.h"

#include "check.h"

#include <random>

using namespace moshi;

namespace {

struct Case {
    int64_t n_in, n_out, columns;
    ggml_type type;
    Halves halves;
};

// The largest difference from sums of doubles over the weights as stored, relative to what the sums' terms add up to.
double error_of(const Case & c) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> w(static_cast<size_t>(c.n_in * c.n_out)), x(static_cast<size_t>(c.n_in * c.columns));
    for (auto * values : {&w, &x}) {
        for (float & v : *values) {
            v = normal(random);
        }
    }
    Compute compute(choose_device("cpu", 0).device, 2);
    const ContextPtr ctx = new_context(4);
    ggml_tensor * weight = ggml_new_tensor_2d(ctx.get(), c.type, c.n_in, c.n_out);
    ggml_tensor * input = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, c.n_in, c.columns);
    const BufferPtr buffer = allocate(ctx.get(), compute.buffer_type(), "the operands");
    if (c.type == GGML_TYPE_F16) {
        std::vector<ggml_fp16_t> halves(w.size());
        ggml_fp32_to_fp16_row(w.data(), halves.data(), static_cast<int64_t>(w.size()));
        ggml_fp16_to_fp32_row(halves.data(), w.data(), static_cast<int64_t>(w.size()));
        ggml_backend_tensor_set(weight, halves.data(), 0, ggml_nbytes(weight));
    } else {
        ggml_backend_tensor_set(weight, w.data(), 0, ggml_nbytes(weight));
    }
    ggml_backend_tensor_set(input, x.data(), 0, ggml_nbytes(input));
    Graph graph(compute, 64);
    ggml_tensor * y = product(graph, weight, input, c.halves);
    CHECK_EQ(y->ne[0], c.n_out);
    CHECK_EQ(y->ne[1], c.columns);
    CHECK(ggml_is_contiguous(y));
    ggml_set_output(y);
    graph.expand(y);
    graph.finish("a product");
    graph.run();
    std::vector<float> found(static_cast<size_t>(c.n_out * c.columns));
    ggml_backend_tensor_get(y, found.data(), 0, found.size() * sizeof(float));
    double worst = 0;
    for (int64_t t = 0; t < c.columns; ++t) {
        for (int64_t o = 0; o < c.n_out; ++o) {
            double sum = 0, size = 0;
            for (int64_t i = 0; i < c.n_in; ++i) {
                const double term = double(w[static_cast<size_t>(o * c.n_in + i)]) * x[static_cast<size_t>(t * c.n_in + i)];
                sum += term;
                size += std::abs(term);
            }
            worst = std::max(worst, std::abs(found[static_cast<size_t>(t * c.n_out + o)] - sum) / size);
        }
    }
    return worst;
}

constexpr double kExact = 1e-6, kRoundedToHalves = 1e-4;

void f32_is_exact_in_any_number_of_columns() {
    for (const int64_t columns : {1, 2, 3, 4, 5, 16}) {
        for (const int64_t n_in : {7, 512, 1024, 2048}) {
            CHECK(error_of({n_in, 48, columns, GGML_TYPE_F32, Halves::Rounded}) < kExact);
        }
    }
}

void split_halves_are_as_good_as_exact() {
    for (const int64_t columns : {1, 2, 3, 4, 5, 16}) {
        for (const int64_t n_in : {64, 2048}) {
            CHECK(error_of({n_in, 48, columns, GGML_TYPE_F16, Halves::Split}) < kExact);
        }
    }
}

void rounded_halves_are_near() {
    for (const int64_t columns : {1, 2, 16}) {
        for (const int64_t n_in : {512, 2048, 4096}) {
            const double error = error_of({n_in, 48, columns, GGML_TYPE_F16, Halves::Rounded});
            CHECK(error < kRoundedToHalves);
            CHECK(error > kExact); // or the test above shows nothing
        }
    }
}

} // namespace

int main() {
    return check::run({
        {"f32 is exact in any number of columns", f32_is_exact_in_any_number_of_columns},
        {"split halves are as good as exact", split_halves_are_as_good_as_exact},
        {"rounded halves are near", rounded_halves_are_near},
    });
}
