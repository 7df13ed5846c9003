#if defined(__AVX512F__)

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" // GCC 12's own header
#endif

#include "kernels/tile.h"
#include "kernels/variants.h"

#include <immintrin.h>

namespace moshi {

namespace {

struct Avx512 {
    using V = __m512;
    static constexpr int kLanes = 16, kRows = 2, kSums = 24; // of 32 registers
    static V load(const float * p) { return _mm512_loadu_ps(p); }
    static V load(const uint16_t * p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))); }
};

} // namespace

const Kernels kAvx512 = {"AVX-512", product<Avx512, float>, product<Avx512, uint16_t>, elu};

} // namespace moshi

#endif
