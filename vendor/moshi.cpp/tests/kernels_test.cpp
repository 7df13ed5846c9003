// The CPU's own kernels against sums in double precision, every variant that this machine runs.
#include "kernels/variants.h"

#include "check.h"
#include "ggml.h"

#include <string>

using namespace moshi;

namespace {

struct Shape {
    int64_t n_in, n_out, n, step;
};
// A first convolution, windows that overlap, an uneven last panel, long sums, columns that leave room between them.
const Shape kShapes[] = {{7, 64, 100, 1}, {192, 32, 50, 64}, {40, 17, 5, 40}, {5000, 33, 2, 5000}, {64, 96, 13, 70}, {256, 256, 1, 256}};

std::vector<float> noise(int64_t n, unsigned seed) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float & v : out) {
        seed = seed * 1664525u + 1013904223u;
        v = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
    }
    return out;
}

struct Case {
    Shape s;
    std::vector<float> weights, x, bias, residual, y; // weights: packed
    std::vector<ggml_fp16_t> halves;

    explicit Case(const Shape & shape)
        : s(shape), weights(noise((s.n_out + kPanel - 1) / kPanel * kPanel * s.n_in, 1)), x(noise((s.n - 1) * s.step + s.n_in, 2)),
          bias(noise(s.n_out, 3)), residual(noise(s.n_out * s.n, 4)), y(residual.size()), halves(weights.size()) {
        ggml_fp32_to_fp16_row(weights.data(), halves.data(), static_cast<int64_t>(weights.size()));
        ggml_fp16_to_fp32_row(halves.data(), weights.data(), static_cast<int64_t>(weights.size())); // both types hold the same
    }
    Product product(const void * w, bool extras) {
        return {w, extras ? bias.data() : nullptr, extras ? residual.data() : nullptr, x.data(), y.data(), s.n_in, s.n_out, s.n, s.step};
    }
    double exact(int64_t o, int64_t j) const {
        double sum = 0;
        for (int64_t i = 0; i < s.n_in; ++i) {
            sum += double(weights[static_cast<size_t>((o / kPanel * s.n_in + i) * kPanel + o % kPanel)]) *
                   x[static_cast<size_t>(j * s.step + i)];
        }
        return sum;
    }
};

void expect_exact(const Case & c, bool extras, const char * kernel) {
    for (int64_t j = 0; j < c.s.n; ++j) {
        for (int64_t o = 0; o < c.s.n_out; ++o) {
            const auto at = static_cast<size_t>(j * c.s.n_out + o);
            const double expected = c.exact(o, j) + (extras ? c.bias[static_cast<size_t>(o)] + c.residual[at] : 0.0);
            const double allowed = 4e-7 * std::sqrt(static_cast<double>(c.s.n_in)) + 5e-7; // one long sum would err by more
            if (!(std::abs(c.y[at] - expected) < allowed)) {
                check::stop(std::string(kernel) + ": " + std::to_string(c.y[at]) + "; expected " + std::to_string(expected), __FILE__,
                            __LINE__);
            }
        }
    }
}

void products_are_those_of_double_precision() {
    for (const Kernels * k : runnable_kernels()) {
        for (const Shape & s : kShapes) {
            Case c(s);
            for (const bool extras : {false, true}) {
                k->product_f32(c.product(c.weights.data(), extras), 0, 1);
                expect_exact(c, extras, k->name);
            }
        }
    }
}

void weights_in_f16_are_widened_not_activations_narrowed() {
    for (const Kernels * k : runnable_kernels()) {
        for (const Shape & s : kShapes) {
            if (k->product_f16) {
                Case c(s);
                k->product_f16(c.product(c.halves.data(), true), 0, 1);
                expect_exact(c, true, k->name);
            }
        }
    }
}

void threads_share_a_product_without_changing_it() {
    for (const Kernels * k : runnable_kernels()) {
        for (const Shape & s : kShapes) {
            Case one(s), five(s);
            k->product_f32(one.product(one.weights.data(), true), 0, 1);
            for (int ith = 0; ith < 5; ++ith) {
                k->product_f32(five.product(five.weights.data(), true), ith, 5);
            }
            CHECK(one.y == five.y);
        }
    }
}

void elu_is_exact_and_lets_nan_through() {
    for (const Kernels * k : runnable_kernels()) {
        std::vector<float> x, y;
        for (float v = -120.0f; v < 20.0f; v += 0.0137f) {
            x.push_back(v);
        }
        x.insert(x.end(), {-1e-6f, 0.0f, 1e-6f, -3e38f, 3e38f, -INFINITY, NAN});
        y.resize(x.size());
        k->elu(x.data(), y.data(), static_cast<int64_t>(x.size()));
        for (size_t i = 0; i + 1 < x.size(); ++i) {
            const double expected = x[i] > 0 ? x[i] : std::expm1(double(x[i]));
            CHECK(std::abs(y[i] - expected) <= 2e-7 * std::abs(expected));
        }
        CHECK(std::isnan(y.back()));
    }
}

} // namespace

int main() {
    return check::run({
        {"products are those of double precision", products_are_those_of_double_precision},
        {"weights in f16 are widened, not activations narrowed", weights_in_f16_are_widened_not_activations_narrowed},
        {"threads share a product without changing it", threads_share_a_product_without_changing_it},
        {"ELU is exact and lets NaN through", elu_is_exact_and_lets_nan_through},
    });
}
