# Gives the target ggml::ggml: the parent project's, or built from MOSHI_GGML_SOURCE_DIR, or an installed one.
set(MOSHI_GGML_SOURCE_DIR "" CACHE PATH "A ggml source tree to build with; empty: find_package(ggml)")

if(TARGET ggml::ggml)
  return()
elseif(NOT MOSHI_GGML_SOURCE_DIR)
  find_package(ggml CONFIG REQUIRED)
  return()
elseif(NOT EXISTS "${MOSHI_GGML_SOURCE_DIR}/include/ggml.h")
  message(FATAL_ERROR "${MOSHI_GGML_SOURCE_DIR} is not a ggml source tree: it has no include/ggml.h")
endif()

option(BUILD_SHARED_LIBS "ggml as libraries of its own, not inside libmoshi" OFF)
if(GGML_BACKEND_DL)  # libmoshi, and the tests, look for backends in their own folder: all go to the one that ggml takes
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
endif()
set(GGML_BUILD_TESTS OFF CACHE BOOL "")
set(GGML_BUILD_EXAMPLES OFF CACHE BOOL "")
set(GGML_CCACHE OFF CACHE BOOL "")
set(GGML_ALL_WARNINGS OFF CACHE BOOL "")  # gcc 12 with AVX-512: 12,000 lines of false -Wuninitialized
set(GGML_OPENMP OFF CACHE BOOL "")        # ggml's own persistent thread pool is as fast, and libgomp one library less
set(GGML_LLAMAFILE_DEFAULT ON)            # products of several columns in tiles: a fifth of the codec's time
set(GGML_CUDA_GRAPHS_DEFAULT ON)          # one launch a frame instead of hundreds

# ggml asks git for the commit of its own tree and compiles it in. Unpacked inside another repository it would find
# that one's, and be rebuilt after each commit there.
cmake_path(GET MOSHI_GGML_SOURCE_DIR PARENT_PATH _above)
set(ENV{GIT_CEILING_DIRECTORIES} "${_above}")
add_subdirectory("${MOSHI_GGML_SOURCE_DIR}" "${CMAKE_CURRENT_BINARY_DIR}/ggml" EXCLUDE_FROM_ALL)
unset(ENV{GIT_CEILING_DIRECTORIES})

# GCC takes a processor that it does not know yet for an older one and tunes for that: GCC 12's code for AVX-512 on Zen 4
# multiplies matrices 15 % slower than its code for no processor in particular.
if(TARGET ggml-cpu AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  target_compile_options(ggml-cpu PRIVATE -mtune=generic)
endif()

# Only in builds for this machine: elsewhere they would not load where glibc is older than 2.35.
if(TARGET ggml-cpu AND GGML_NATIVE AND NOT GGML_BACKEND_DL)
  include("${CMAKE_CURRENT_LIST_DIR}/vector_math.cmake")
  if(MOSHI_HAVE_VECTOR_MATH)
    moshi_use_vector_math(ggml-cpu)
    set(MOSHI_VECTOR_MATH ON)
  endif()
endif()

if(BUILD_SHARED_LIBS)
  # Names of our own: the loader takes a library for loaded if one of its name is, be it another package's ggml. And
  # without versions in them: they need symbolic links, of which a wheel makes copies.
  foreach(_lib ggml ggml-base)
    set_target_properties(${_lib} PROPERTIES OUTPUT_NAME moshi-${_lib})
  endforeach()
  foreach(_lib ggml ggml-base ${GGML_AVAILABLE_BACKENDS})
    if(TARGET ${_lib})
      set_property(TARGET ${_lib} PROPERTY VERSION)
      set_property(TARGET ${_lib} PROPERTY SOVERSION)
    endif()
  endforeach()
endif()

if(NOT TARGET ggml::ggml)
  add_library(ggml::ggml ALIAS ggml)
endif()
