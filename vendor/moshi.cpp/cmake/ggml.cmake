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
set(GGML_BUILD_TESTS OFF CACHE BOOL "")
set(GGML_BUILD_EXAMPLES OFF CACHE BOOL "")
set(GGML_CCACHE OFF CACHE BOOL "")
set(GGML_ALL_WARNINGS OFF CACHE BOOL "")  # gcc 12 with AVX-512: 12,000 lines of false -Wuninitialized
set(GGML_OPENMP OFF CACHE BOOL "")        # ggml's own persistent thread pool is as fast, and libgomp one library less
set(GGML_CUDA_GRAPHS_DEFAULT ON)          # one launch a frame instead of hundreds

# ggml asks git for the commit of its own tree and compiles it in. Unpacked inside another repository it would find
# that one's, and be rebuilt after each commit there.
cmake_path(GET MOSHI_GGML_SOURCE_DIR PARENT_PATH _above)
set(ENV{GIT_CEILING_DIRECTORIES} "${_above}")
add_subdirectory("${MOSHI_GGML_SOURCE_DIR}" "${CMAKE_CURRENT_BINARY_DIR}/ggml" EXCLUDE_FROM_ALL)
unset(ENV{GIT_CEILING_DIRECTORIES})

if(NOT TARGET ggml::ggml)
  add_library(ggml::ggml ALIAS ggml)
endif()
