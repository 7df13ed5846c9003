// Tensor names in GGUF files (GGUF_LAYOUTS.md 2.1).
#pragma once

#include "gguf/gguf_file.h"

#include <initializer_list>

namespace moshi {

// ggml names hold 63 characters; longer ones are stored as a checksum, by the rule of the files that exist.
std::string stored_name(const std::string & name);

// The first of `candidates` that the file has, as stored; the error names the first one.
std::string find_name(const GgufFile & file, std::initializer_list<std::string> candidates);

} // namespace moshi
