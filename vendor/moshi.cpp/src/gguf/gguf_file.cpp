#include "gguf/gguf_file.h"

#include "api/error.h"

#include <algorithm>
#include <cstring>

namespace moshi {

namespace {

constexpr uint32_t kMaxVersion = 3;
constexpr uint64_t kMaxCount = 1 << 20;        // tensors or keys; real files have hundreds
constexpr uint64_t kMaxName = GGML_MAX_NAME - 1;
constexpr uint64_t kMinAlignment = 8; // the format's rule; blocks of weights are read in place
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxElements = uint64_t(1) << 40;

enum GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// A cursor that refuses to step over the end.
class Cursor {
public:
    Cursor(const uint8_t * data, size_t size, const std::string & path) : data_(data), size_(size), path_(path) {}

    template <typename T> T take(const char * what) {
        T value;
        std::memcpy(&value, bytes(sizeof(T), what), sizeof(T));
        return value;
    }

    std::string string(const char * what, uint64_t max_length) {
        const uint64_t n = take<uint64_t>(what);
        if (n > max_length) {
            fail(MOSHI_ERROR_FORMAT, "%s: %s has a length of %llu bytes; at most %llu are accepted", path_.c_str(), what,
                 (unsigned long long) n, (unsigned long long) max_length);
        }
        const uint8_t * p = bytes(n, what);
        return std::string(reinterpret_cast<const char *>(p), n);
    }

    const uint8_t * bytes(uint64_t n, const char * what) {
        if (n > size_ - at_) {
            fail(MOSHI_ERROR_FORMAT, "%s: the file ends inside %s: %llu bytes wanted at offset %zu, %zu left; it is truncated or damaged",
                 path_.c_str(), what, (unsigned long long) n, at_, size_ - at_);
        }
        const uint8_t * p = data_ + at_;
        at_ += n;
        return p;
    }

    size_t at() const { return at_; }
    size_t left() const { return size_ - at_; }

private:
    const uint8_t * data_;
    size_t size_;
    const std::string & path_;
    size_t at_ = 0;
};

size_t scalar_size(uint32_t type) {
    switch (type) {
        case kU8:
        case kI8:
        case kBool: return 1;
        case kU16:
        case kI16: return 2;
        case kU32:
        case kI32:
        case kF32: return 4;
        case kU64:
        case kI64:
        case kF64: return 8;
        default: return 0;
    }
}

template <typename T> T load(const uint8_t * p) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    return value;
}

int64_t load_int(const uint8_t * p, uint32_t type) {
    switch (type) {
        case kU8: return load<uint8_t>(p);
        case kI8: return load<int8_t>(p);
        case kU16: return load<uint16_t>(p);
        case kI16: return load<int16_t>(p);
        case kU32: return load<uint32_t>(p);
        case kI32: return load<int32_t>(p);
        case kU64: return static_cast<int64_t>(std::min<uint64_t>(load<uint64_t>(p), INT64_MAX));
        default: return load<int64_t>(p);
    }
}

Metadata::Value read_array(Cursor & in, const std::string & path, const std::string & key) {
    const uint32_t type = in.take<uint32_t>("an array's type");
    const uint64_t n = in.take<uint64_t>("an array's length");
    if (type == kString) {
        std::vector<std::string> out;
        if (n > in.left() / 8) {
            fail(MOSHI_ERROR_FORMAT, "%s: key %s claims %llu strings, more than the file can hold", path.c_str(), key.c_str(),
                 (unsigned long long) n);
        }
        for (uint64_t i = 0; i < n; ++i) {
            out.push_back(in.string("a string of an array", UINT32_MAX));
        }
        return out;
    }
    const size_t size = scalar_size(type);
    if (size == 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: key %s is an array of unknown type %u", path.c_str(), key.c_str(), type);
    }
    if (n > in.left() / size) {
        fail(MOSHI_ERROR_FORMAT, "%s: key %s claims %llu array entries, more than the file can hold", path.c_str(), key.c_str(),
             (unsigned long long) n);
    }
    const uint8_t * p = in.bytes(n * size, "an array");
    if (type == kF32 || type == kF64) {
        std::vector<double> out(n);
        for (uint64_t i = 0; i < n; ++i) {
            out[i] = type == kF32 ? load<float>(p + 4 * i) : load<double>(p + 8 * i);
        }
        return out;
    }
    std::vector<int64_t> out(n);
    for (uint64_t i = 0; i < n; ++i) {
        out[i] = type == kBool ? (p[i] != 0) : load_int(p + size * i, type);
    }
    return out;
}

Metadata::Value read_value(Cursor & in, const std::string & path, const std::string & key) {
    const uint32_t type = in.take<uint32_t>("a key's type");
    if (type == kArray) {
        return read_array(in, path, key);
    }
    if (type == kString) {
        return in.string("a key's text", UINT32_MAX);
    }
    const size_t size = scalar_size(type);
    if (size == 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: key %s has unknown type %u", path.c_str(), key.c_str(), type);
    }
    const uint8_t * p = in.bytes(size, "a key's value");
    switch (type) {
        case kBool: return *p != 0;
        case kF32: return static_cast<double>(load<float>(p));
        case kF64: return load<double>(p);
        default: return load_int(p, type);
    }
}

TensorInfo read_tensor(Cursor & in, const std::string & path) {
    TensorInfo t;
    t.name = in.string("a tensor's name", kMaxName);
    if (t.name.empty() || t.name.find('\0') != std::string::npos) {
        fail(MOSHI_ERROR_FORMAT, "%s: a tensor at offset %zu has an empty or binary name", path.c_str(), in.at());
    }
    const uint32_t n_dims = in.take<uint32_t>("a tensor's rank");
    if (n_dims < 1 || n_dims > 4) {
        fail(MOSHI_ERROR_FORMAT, "%s: tensor %s has %u dimensions; expected 1 to 4", path.c_str(), t.name.c_str(), n_dims);
    }
    t.n_dims = static_cast<int>(n_dims);
    t.ne = {1, 1, 1, 1};
    uint64_t elements = 1;
    for (uint32_t i = 0; i < n_dims; ++i) {
        const uint64_t n = in.take<uint64_t>("a tensor's shape");
        if (n == 0 || n > kMaxElements || elements > kMaxElements / n) {
            fail(MOSHI_ERROR_FORMAT, "%s: tensor %s has an impossible dimension %llu", path.c_str(), t.name.c_str(),
                 (unsigned long long) n);
        }
        elements *= n;
        t.ne[i] = static_cast<int64_t>(n);
    }
    const uint32_t type = in.take<uint32_t>("a tensor's type");
    if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) <= 0 || ggml_type_size(static_cast<ggml_type>(type)) == 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: tensor %s has unknown type %u", path.c_str(), t.name.c_str(), type);
    }
    t.type = static_cast<ggml_type>(type);
    const int64_t block = ggml_blck_size(t.type);
    if (t.ne[0] % block != 0) {
        fail(MOSHI_ERROR_FORMAT, "%s: tensor %s of type %s has rows of %lld values; expected a multiple of %lld", path.c_str(),
             t.name.c_str(), ggml_type_name(t.type), (long long) t.ne[0], (long long) block);
    }
    t.n_bytes = elements / static_cast<uint64_t>(block) * ggml_type_size(t.type);
    t.file_offset = in.take<uint64_t>("a tensor's offset"); // relative to the data section until parse() adds its start
    return t;
}

void check_overlaps(const std::vector<TensorInfo> & tensors, const std::string & path) {
    std::vector<const TensorInfo *> order;
    for (const TensorInfo & t : tensors) {
        order.push_back(&t);
    }
    std::sort(order.begin(), order.end(), [](const TensorInfo * a, const TensorInfo * b) { return a->file_offset < b->file_offset; });
    for (size_t i = 1; i < order.size(); ++i) {
        if (order[i - 1]->file_offset + order[i - 1]->n_bytes > order[i]->file_offset) {
            fail(MOSHI_ERROR_FORMAT, "%s: tensors %s and %s overlap in the file", path.c_str(), order[i - 1]->name.c_str(),
                 order[i]->name.c_str());
        }
    }
}

} // namespace

std::string shape_text(const int64_t * ne, int n_dims) {
    std::string out = "[";
    for (int i = 0; i < n_dims; ++i) {
        out += (i ? ", " : "") + std::to_string(ne[i]);
    }
    return out + "]";
}

std::string TensorInfo::shape_text() const { return moshi::shape_text(ne.data(), n_dims); }

GgufFile::GgufFile(const std::string & path) : path_(path), file_(new MappedFile(path)), metadata_(path) {
    parse(file_->data(), file_->size());
}

GgufFile::GgufFile(const uint8_t * data, size_t size, const std::string & name) : path_(name), metadata_(name) { parse(data, size); }

void GgufFile::parse(const uint8_t * data, size_t size) {
    Cursor in(data, size, path_);
    if (size < 4 || std::memcmp(data, "GGUF", 4) != 0) {
        const bool safetensors = size > 9 && data[8] == '{';
        fail(MOSHI_ERROR_FORMAT, "%s: not a GGUF file%s", path_.c_str(),
             safetensors ? " but probably safetensors; `pymoshi convert` makes a GGUF file from it" : " (it does not start with \"GGUF\")");
    }
    in.bytes(4, "the magic");
    const uint32_t version = in.take<uint32_t>("the version");
    if (version < 2 || version > kMaxVersion) {
        fail(MOSHI_ERROR_FORMAT, "%s: GGUF version %u%s; expected 2 or 3", path_.c_str(), version,
             (version & 0xffff) == 0 && version != 0 ? " (a big-endian file)" : "");
    }
    const uint64_t n_tensors = in.take<uint64_t>("the tensor count");
    const uint64_t n_keys = in.take<uint64_t>("the key count");
    if (n_tensors > kMaxCount || n_keys > kMaxCount) {
        fail(MOSHI_ERROR_FORMAT, "%s: claims %llu tensors and %llu keys; the file is damaged", path_.c_str(),
             (unsigned long long) n_tensors, (unsigned long long) n_keys);
    }
    for (uint64_t i = 0; i < n_keys; ++i) {
        const std::string key = in.string("a key", 65535);
        if (key.empty() || metadata_.has(key)) {
            fail(MOSHI_ERROR_FORMAT, "%s: key %llu \"%.80s\" is empty or stands twice", path_.c_str(), (unsigned long long) i, key.c_str());
        }
        metadata_.set(key, read_value(in, path_, key));
    }
    const uint64_t alignment = static_cast<uint64_t>(metadata_.get_int("general.alignment", 32, kMinAlignment, kMaxAlignment));
    if (alignment & (alignment - 1)) {
        fail(MOSHI_ERROR_FORMAT, "%s: general.alignment is %llu; expected a power of two", path_.c_str(), (unsigned long long) alignment);
    }
    for (uint64_t i = 0; i < n_tensors; ++i) {
        TensorInfo t = read_tensor(in, path_);
        if (!index_.emplace(t.name, tensors_.size()).second) {
            fail(MOSHI_ERROR_FORMAT, "%s: tensor %s stands twice", path_.c_str(), t.name.c_str());
        }
        tensors_.push_back(std::move(t));
    }
    const uint64_t start = (in.at() + alignment - 1) / alignment * alignment;
    for (TensorInfo & t : tensors_) {
        if (t.file_offset % alignment != 0) {
            fail(MOSHI_ERROR_FORMAT, "%s: tensor %s starts at offset %llu, which is not a multiple of %llu", path_.c_str(), t.name.c_str(),
                 (unsigned long long) t.file_offset, (unsigned long long) alignment);
        }
        if (start > size || t.file_offset > size - start || t.n_bytes > size - start - t.file_offset) {
            fail(MOSHI_ERROR_FORMAT,
                 "%s: tensor %s (%llu bytes at offset %llu) reaches beyond the file's %zu bytes; it is truncated or damaged", path_.c_str(),
                 t.name.c_str(), (unsigned long long) t.n_bytes, (unsigned long long) t.file_offset, size);
        }
        t.file_offset += start;
        t.data = data + t.file_offset;
    }
    check_overlaps(tensors_, path_);
}

const TensorInfo * GgufFile::find(const std::string & name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
}

const TensorInfo & GgufFile::require(const std::string & name) const {
    if (const TensorInfo * t = find(name)) {
        return *t;
    }
    fail(MOSHI_ERROR_FORMAT, "%s: tensor %s is missing", path_.c_str(), name.c_str());
}

void to_float(const std::string & path, const TensorInfo & t, float * out) {
    const size_t n = static_cast<size_t>(t.n_elements());
    if (t.type == GGML_TYPE_F32) {
        std::memcpy(out, t.data, n * sizeof(float));
        return;
    }
    const ggml_to_float_t convert = ggml_get_type_traits(t.type)->to_float;
    if (!convert) {
        fail(MOSHI_ERROR_UNSUPPORTED, "%s: tensor %s of type %s cannot be converted to f32", path.c_str(), t.name.c_str(),
             ggml_type_name(t.type));
    }
    if (reinterpret_cast<uintptr_t>(t.data) % 8 == 0) {
        convert(t.data, out, t.n_elements());
        return;
    }
    const std::vector<uint8_t> aligned(t.data, t.data + t.n_bytes); // files may choose an alignment below that of the types
    convert(aligned.data(), out, t.n_elements());
}

} // namespace moshi
