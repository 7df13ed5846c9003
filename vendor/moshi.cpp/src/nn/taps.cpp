#include "nn/taps.h"

namespace moshi {

void TapPoints::keep(Graph & graph, const char * name, ggml_tensor * t) {
    ggml_set_output(t);
    graph.expand(t);
    points_.emplace_back(name, t);
}

void TapPoints::read(Taps & out, int n, int n_computed) const {
    for (const auto & [name, tensor] : points_) {
        std::vector<float> & values = out[name];
        const size_t size = static_cast<size_t>(ggml_nelements(tensor) / n_computed * n);
        values.resize(values.size() + size);
        ggml_backend_tensor_get(tensor, values.data() + values.size() - size, 0, size * sizeof(float));
    }
}

} // namespace moshi
