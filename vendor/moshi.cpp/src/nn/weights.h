// From a GGUF file to tensors on a device: every tensor is asked for by name with the shape that the model's
// configuration implies, so a wrong file fails here with a message and not later in a kernel.
#pragma once

#include "backend/compute.h"
#include "gguf/gguf_file.h"

#include <functional>

namespace moshi {

// Owns the tensors of one model file. Immutable once made.
struct Weights {
    std::shared_ptr<GgufFile> file; // mapped tensors live in it
    std::vector<ContextPtr> contexts;
    std::vector<BufferPtr> buffers;
    uint64_t bytes = 0;
    ggml_type main_type = GGML_TYPE_F32; // of most bytes
};

// Matrices of small models that are stored in f16, on a CPU. There ggml rounds the activations to f16, too.
enum class Halves {
    Widened, // to f32: exact
    Rounded, // as they are: half the bytes. For what is heard, not for what decides
    Split,   // as they are where rows are long, for product() of nn/ops.h: as good as exact
};

constexpr size_t kShortRow = 4096; // bytes: up to here rows of a matrix are best read one by one, in f32

using Progress = std::function<bool(float)>; // false: stop

class WeightLoader {
public:
    WeightLoader(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack);
    ~WeightLoader();

    // Weight of a matrix product, [n_out, n_in] in PyTorch's order, in the type it is stored in.
    ggml_tensor * matrix(const std::string & name, int64_t n_out, int64_t n_in);
    // Rows [first, first + n_out) of a matrix of `n_rows` rows: one step of a packed projection.
    ggml_tensor * matrix_rows(const std::string & name, int64_t n_rows, int64_t first, int64_t n_out, int64_t n_in);
    // Embedding table, in the type it is stored in.
    ggml_tensor * table(const std::string & name, int64_t n_rows, int64_t dim);
    // Norm gains, biases, scales: any shape with n values along one axis, converted to f32.
    ggml_tensor * vector(const std::string & name, int64_t n);
    // A tensor of shape `ne` computed from the file, f32 or f16; `fill` runs in finish(), perhaps in another thread.
    ggml_tensor * made(ggml_type type, std::vector<int64_t> ne, std::function<void(float *)> fill);
    ggml_tensor * made(std::vector<int64_t> ne, std::function<void(float *)> fill) {
        return made(GGML_TYPE_F32, std::move(ne), std::move(fill));
    }

    // How matrices that are stored in f16 are computed with from here on.
    void set_halves(Halves halves);
    Halves halves() const { return halves_; }
    // In which type a matrix with rows of `n_in` that is made from a stored tensor is to be.
    ggml_type product_type(const TensorInfo & info, int64_t n_in) const;

    bool is_cpu() const { return compute_.is_cpu(); }
    bool has(const std::string & name) const { return file_->find(name) != nullptr; }
    const GgufFile & file() const { return *file_; }
    // The stored tensor, its shape checked ([slowest, ..., fastest]).
    const TensorInfo & checked(const std::string & name, const std::vector<int64_t> & shape) const;

    Weights finish(const Progress & progress);

private:
    enum class Place { Mapped, Device, Repacked };
    struct Pending {
        ggml_tensor * tensor;
        Place place;
        const uint8_t * data; // nullptr: made by `fill`
        std::function<void(float *)> fill;
    };

    ggml_tensor * stored(const TensorInfo & info, const uint8_t * data, int64_t n_rows, int64_t dim, bool product);
    Place place_of(const TensorInfo & info, const uint8_t * data, int64_t n_rows, int64_t dim, bool product) const;
    void upload(const Pending & pending) const;
    void upload_all(const Progress & progress) const;

    std::shared_ptr<GgufFile> file_;
    const Compute & compute_;
    bool widen_ = false; // 16-bit matrices become f32
    Halves halves_ = Halves::Widened;
    ggml_backend_buffer_type_t repack_type_ = nullptr;
    BufferPtr repack_probe_;
    ContextPtr mapped_, device_, repacked_;
    std::vector<Pending> pending_;
};

} // namespace moshi
