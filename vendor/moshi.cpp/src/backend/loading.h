// Builds for machines that are not known yet keep ggml's backends in libraries of their own, beside libmoshi: the
// CPU's code once for each generation of processors, and a GPU's, which needs a driver. What fits is loaded here.
#pragma once

#include "ggml-backend.h"

#include <string>

namespace moshi {

// Loads, the first time, the best library of each backend from the folder of libmoshi and from nowhere else. Any thread
// may call it; ggml's registry is complete after it. Builds with the backends inside have nothing to load.
// Throws Error(MOSHI_ERROR_DEVICE) if there is no code for this machine's processor.
void load_backends();

// For which processors the backend's code is, e.g. "haswell"; "" if it was not chosen among several.
std::string variant_of(ggml_backend_reg_t reg);

} // namespace moshi
