# ELU and GELU many numbers at a time. ggml writes both as loops over expm1f and erff, a seventh of the codec's time; GCC
# makes them calls of glibc's vector math (libmvec, since 2.35), which is within 4 units in the last place.
include(CheckCXXSourceCompiles)

set(_header "${CMAKE_CURRENT_LIST_DIR}/vector_math.h")
set(CMAKE_REQUIRED_FLAGS "-O3 -fno-math-errno -include \"${_header}\"")
set(CMAKE_REQUIRED_LIBRARIES mvec m)
check_cxx_source_compiles("
#if !defined(__GNUC__) || defined(__clang__)
#error other compilers do not know the attribute
#endif
float x[256], y[256];
int main() {
    for (int i = 0; i < 256; ++i) { y[i] = expm1f(x[i]) + erff(x[i]); }
    return static_cast<int>(y[17]);
}" MOSHI_HAVE_VECTOR_MATH)
unset(CMAKE_REQUIRED_FLAGS)
unset(CMAKE_REQUIRED_LIBRARIES)

function(moshi_use_vector_math target)
  get_target_property(_folder ${target} SOURCE_DIR)
  foreach(_source unary-ops.cpp ops.cpp)
    set_property(SOURCE "${_folder}/ggml-cpu/${_source}" TARGET_DIRECTORY ${target} APPEND_STRING PROPERTY COMPILE_FLAGS
      " -fno-math-errno -include \"${_header}\"")
  endforeach()
  target_link_libraries(${target} PRIVATE mvec)
endfunction()
