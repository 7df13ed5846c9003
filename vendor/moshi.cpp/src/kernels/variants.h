// The kernels that were compiled; which of them this CPU runs is known at run time.
#pragma once

#include "kernels/kernels.h"

#include <vector>

namespace moshi {

extern const Kernels kAvx512, kAvx2; // where MOSHI_X86_KERNELS is defined

std::vector<const Kernels *> runnable_kernels(); // the best first

} // namespace moshi
