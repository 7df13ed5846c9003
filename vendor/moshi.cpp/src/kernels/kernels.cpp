#include "kernels/kernels.h"

#include "kernels/variants.h"

#if defined(__GNUC__) // vectors are an extension of GCC and Clang

#include "kernels/tile.h"

namespace moshi {

namespace {

struct Portable { // vectors of four: SSE and NEON
    typedef float V __attribute__((vector_size(16)));
    static constexpr int kLanes = 4, kRows = 2, kSums = 12;
    static V load(const float * p) {
        V v;
        __builtin_memcpy(&v, p, sizeof(v));
        return v;
    }
};

const Kernels kPortable = {"portable", product<Portable, float>, nullptr, elu};

} // namespace

std::vector<const Kernels *> runnable_kernels() {
    std::vector<const Kernels *> found;
#if defined(MOSHI_X86_KERNELS)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        found.push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
        found.push_back(&kAvx2);
    }
#endif
    found.push_back(&kPortable);
    return found;
}

} // namespace moshi

#else

std::vector<const moshi::Kernels *> moshi::runnable_kernels() { return {}; }

#endif

const moshi::Kernels * moshi::kernels() {
    static const std::vector<const Kernels *> found = runnable_kernels();
    return found.empty() ? nullptr : found.front();
}
