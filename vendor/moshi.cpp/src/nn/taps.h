// Intermediates of graphs, kept for those who compare them with a reference.
#pragma once

#include "backend/compute.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace moshi {

using Taps = std::map<std::string, std::vector<float>>;

// The tensors of one graph that are read after it has run.
class TapPoints {
public:
    void keep(Graph & graph, const char * name, ggml_tensor * t);
    // Appends what was computed to `out`: of `n_computed` columns the first `n`.
    void read(Taps & out, int n = 1, int n_computed = 1) const;

private:
    std::vector<std::pair<const char *, ggml_tensor *>> points_; // a name may stand for several tensors, in order
};

} // namespace moshi
