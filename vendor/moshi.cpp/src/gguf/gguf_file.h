// GGUF files, read defensively: every count, offset and size is checked against the file before it is used, so that
// nothing malformed ever reaches ggml (which aborts). ggml's own reader is not used because it cannot say which tensor
// or key is at fault, and copies where we map.
#pragma once

#include "gguf/mapped_file.h"
#include "gguf/metadata.h"

#include "ggml.h"

#include <array>
#include <memory>
#include <unordered_map>

namespace moshi {

struct TensorInfo {
    std::string name;
    ggml_type type;
    int n_dims;
    std::array<int64_t, 4> ne; // fastest first, 1 beyond n_dims
    uint64_t n_bytes;
    const uint8_t * data;
    uint64_t file_offset;

    int64_t n_elements() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
    std::string shape_text() const; // "[4096, 32001]", ggml order
};

std::string shape_text(const int64_t * ne, int n_dims);

class GgufFile {
public:
    explicit GgufFile(const std::string & path);
    // Parses bytes that the caller keeps alive; `name` stands for the path in errors.
    GgufFile(const uint8_t * data, size_t size, const std::string & name);

    const std::string & path() const { return path_; }
    const Metadata & metadata() const { return metadata_; }
    Metadata & metadata() { return metadata_; }
    const std::vector<TensorInfo> & tensors() const { return tensors_; }
    const TensorInfo * find(const std::string & name) const;
    const TensorInfo & require(const std::string & name) const;
    const MappedFile * mapping() const { return file_.get(); } // nullptr when parsed from bytes

private:
    void parse(const uint8_t * data, size_t size);

    std::string path_;
    std::unique_ptr<MappedFile> file_;
    Metadata metadata_;
    std::vector<TensorInfo> tensors_;
    std::unordered_map<std::string, size_t> index_;
};

// Converts a whole tensor to f32. `out` holds n_elements() values.
void to_float(const std::string & path, const TensorInfo & tensor, float * out);

} // namespace moshi
