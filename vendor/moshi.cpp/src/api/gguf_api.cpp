#include "api/handles.h"
#include "api/log.h"

using namespace moshi;

namespace {

const TensorInfo & tensor(const moshi_gguf * file, const char * name) {
    require(file, "file");
    require(name, "name");
    return file->file.require(name);
}

} // namespace

moshi_status moshi_gguf_open(const char * path, moshi_gguf ** out) {
    return guarded([&] {
        require(path, "path");
        require(out, "out");
        *out = nullptr;
        route_ggml_log();
        auto handle = std::unique_ptr<moshi_gguf>(new moshi_gguf{GgufFile(std::string(path)), {}, {}, {}});
        for (const auto & [key, value] : handle->file.metadata().values()) {
            handle->keys.push_back(key);
            handle->types.push_back(Metadata::type_name(value));
            handle->values.push_back(Metadata::text(value));
        }
        *out = handle.release();
    });
}

int64_t moshi_gguf_n_tensors(const moshi_gguf * file) { return file ? static_cast<int64_t>(file->file.tensors().size()) : 0; }

int64_t moshi_gguf_n_keys(const moshi_gguf * file) { return file ? static_cast<int64_t>(file->keys.size()) : 0; }

moshi_status moshi_gguf_get_tensor(const moshi_gguf * file, int64_t index, moshi_gguf_tensor * out) {
    return guarded([&] {
        require(file, "file");
        require(out, "out");
        if (index < 0 || index >= moshi_gguf_n_tensors(file)) {
            fail(MOSHI_ERROR_ARGUMENT, "tensor %lld; the file has %lld", (long long) index, (long long) moshi_gguf_n_tensors(file));
        }
        const TensorInfo & t = file->file.tensors()[index];
        *out = {};
        copy_text(out->name, sizeof(out->name), t.name);
        copy_text(out->type, sizeof(out->type), ggml_type_name(t.type));
        out->n_dims = t.n_dims;
        std::copy(t.ne.begin(), t.ne.end(), out->ne);
        out->n_bytes = t.n_bytes;
        out->file_offset = t.file_offset;
    });
}

moshi_status moshi_gguf_get_key(const moshi_gguf * file, int64_t index, const char ** key, const char ** type, const char ** value) {
    return guarded([&] {
        require(file, "file");
        if (index < 0 || index >= moshi_gguf_n_keys(file)) {
            fail(MOSHI_ERROR_ARGUMENT, "key %lld; the file has %lld", (long long) index, (long long) moshi_gguf_n_keys(file));
        }
        for (const auto & [out, list] : {std::pair{key, &file->keys}, {type, &file->types}, {value, &file->values}}) {
            if (out) {
                *out = (*list)[index].c_str();
            }
        }
    });
}

moshi_status moshi_gguf_read_f32(const moshi_gguf * file, const char * name, float * out, size_t n) {
    return guarded([&] {
        const TensorInfo & t = tensor(file, name);
        require(out, "out");
        if (n != static_cast<size_t>(t.n_elements())) {
            fail(MOSHI_ERROR_ARGUMENT, "room for %zu values; tensor %s has %lld", n, name, (long long) t.n_elements());
        }
        to_float(file->file.path(), t, out);
    });
}

moshi_status moshi_gguf_read_raw(const moshi_gguf * file, const char * name, void * out, size_t n_bytes) {
    return guarded([&] {
        const TensorInfo & t = tensor(file, name);
        require(out, "out");
        if (n_bytes != t.n_bytes) {
            fail(MOSHI_ERROR_ARGUMENT, "room for %zu bytes; tensor %s has %llu", n_bytes, name, (unsigned long long) t.n_bytes);
        }
        std::memcpy(out, t.data, n_bytes);
    });
}

void moshi_gguf_free(moshi_gguf * file) { delete file; }
