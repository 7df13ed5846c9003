// Included before ggml's sources by cmake/vector_math.cmake: glibc's libmvec computes these for whole vectors, which its own
// headers tell the compiler under -ffast-math only, and ggml forbids that.
#include <math.h>

#ifdef __cplusplus
extern "C" {
__attribute__((__simd__("notinbranch"))) float expm1f(float) noexcept;
__attribute__((__simd__("notinbranch"))) float erff(float) noexcept;
}
#endif
