#if defined(__AVX2__) && defined(__F16C__)

#include "kernels/tile.h"
#include "kernels/variants.h"

#include <immintrin.h>

namespace moshi {

namespace {

struct Avx2 {
    using V = __m256;
    static constexpr int kLanes = 8, kRows = 2, kSums = 12; // of 16 registers
    static V load(const float * p) { return _mm256_loadu_ps(p); }
    static V load(const uint16_t * p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
};

} // namespace

const Kernels kAvx2 = {"AVX2", product<Avx2, float>, product<Avx2, uint16_t>, elu};

} // namespace moshi

#endif
