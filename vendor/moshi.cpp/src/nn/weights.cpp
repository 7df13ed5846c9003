#include "nn/weights.h"

#include "api/error.h"
#include "api/log.h"
#include "backend/pages.h"
#include "backend/products.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <system_error>
#include <thread>

namespace moshi {

namespace {

// Types that every ggml backend multiplies and gathers; others are refused here because the CPU backend does not check.
bool is_weight_type(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_BF16:
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q4_1:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q5_1:
        case GGML_TYPE_Q8_0:
        case GGML_TYPE_Q2_K:
        case GGML_TYPE_Q3_K:
        case GGML_TYPE_Q4_K:
        case GGML_TYPE_Q5_K:
        case GGML_TYPE_Q6_K:
        case GGML_TYPE_IQ4_NL:
        case GGML_TYPE_IQ4_XS: return true;
        default: return false;
    }
}

// ggml's CPU products round activations to the weights' type when that has 16 bits. Small models can afford to be exact:
// their 16-bit matrices are widened to f32.
constexpr size_t kWidenBelow = size_t(512) << 20;

bool supports_gather(ggml_backend_dev_t dev, ggml_type type, int64_t dim, int64_t n_rows) {
    ContextPtr ctx = new_context(4);
    ggml_tensor * w = ggml_new_tensor_2d(ctx.get(), type, dim, n_rows);
    return ggml_backend_dev_supports_op(dev, ggml_get_rows(ctx.get(), w, ggml_new_tensor_1d(ctx.get(), GGML_TYPE_I32, 1)));
}

} // namespace

WeightLoader::WeightLoader(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack)
    : file_(std::move(file)), compute_(compute) {
    const size_t n = 4096 + 32 * file_->tensors().size();
    widen_ = file_->mapping() && file_->mapping()->size() < kWidenBelow;
    mapped_ = new_context(n);
    device_ = new_context(n);
    repacked_ = new_context(n);
    if (repack && compute.is_cpu()) {
        repack_type_ = find_repack_type(compute.device().dev);
        if (repack_type_) {
            repack_probe_.reset(ggml_backend_buft_alloc_buffer(repack_type_, 0));
        }
    }
}

WeightLoader::~WeightLoader() = default;

void WeightLoader::set_halves(Halves halves) {
#if !defined(__x86_64__) && !defined(_M_X64)
    halves = halves == Halves::Split ? Halves::Widened : halves; // ggml's sums may be in f16 elsewhere
#endif
    halves_ = compute_.is_cpu() ? halves : Halves::Widened;
}

ggml_type WeightLoader::product_type(const TensorInfo & info, int64_t n_in) const {
    const bool is_long = static_cast<size_t>(n_in) * sizeof(float) > kShortRow; // else converting it takes longer than reading f32
    const bool keep = halves_ == Halves::Rounded || (halves_ == Halves::Split && is_long);
    return keep && info.type == GGML_TYPE_F16 ? info.type : GGML_TYPE_F32;
}

const TensorInfo & WeightLoader::checked(const std::string & name, const std::vector<int64_t> & shape) const {
    const TensorInfo & t = file_->require(name);
    std::array<int64_t, 4> expected = {1, 1, 1, 1};
    std::reverse_copy(shape.begin(), shape.end(), expected.begin());
    if (t.ne != expected) {
        fail(MOSHI_ERROR_FORMAT, "%s: tensor %s has shape %s; expected %s from the model's configuration", file_->path().c_str(),
             name.c_str(), t.shape_text().c_str(), shape_text(expected.data(), static_cast<int>(shape.size())).c_str());
    }
    if (!is_weight_type(t.type)) {
        fail(MOSHI_ERROR_UNSUPPORTED, "%s: tensor %s has type %s, which this engine cannot compute with", file_->path().c_str(),
             name.c_str(), ggml_type_name(t.type));
    }
    return t;
}

ggml_tensor * WeightLoader::matrix(const std::string & name, int64_t n_out, int64_t n_in) {
    const TensorInfo & t = checked(name, {n_out, n_in});
    return stored(t, t.data, n_out, n_in, true);
}

ggml_tensor * WeightLoader::matrix_rows(const std::string & name, int64_t n_rows, int64_t first, int64_t n_out, int64_t n_in) {
    const TensorInfo & t = checked(name, {n_rows, n_in});
    return stored(t, t.data + first * ggml_row_size(t.type, n_in), n_out, n_in, true);
}

ggml_tensor * WeightLoader::table(const std::string & name, int64_t n_rows, int64_t dim) {
    const TensorInfo & t = checked(name, {n_rows, dim});
    return stored(t, t.data, n_rows, dim, false);
}

ggml_tensor * WeightLoader::vector(const std::string & name, int64_t n) {
    const TensorInfo & t = file_->require(name);
    if (t.n_elements() != n || std::count(t.ne.begin(), t.ne.end(), 1) < (n == 1 ? 4 : 3)) {
        fail(MOSHI_ERROR_FORMAT, "%s: tensor %s has shape %s; expected %lld values", file_->path().c_str(), name.c_str(),
             t.shape_text().c_str(), (long long) n);
    }
    checked(name, std::vector<int64_t>(t.ne.rbegin(), t.ne.rend())); // for its type
    const std::string path = file_->path();
    return made({n}, [path, &t](float * out) { to_float(path, t, out); });
}

ggml_tensor * WeightLoader::made(ggml_type type, std::vector<int64_t> ne, std::function<void(float *)> fill) {
    ggml_tensor * t = ggml_new_tensor(device_.get(), type, static_cast<int>(ne.size()), ne.data());
    pending_.push_back({t, Place::Device, nullptr, std::move(fill)});
    return t;
}

ggml_tensor * WeightLoader::stored(const TensorInfo & info, const uint8_t * data, int64_t n_rows, int64_t dim, bool product) {
    if (product && widen_ && (info.type == GGML_TYPE_F16 || info.type == GGML_TYPE_BF16) && product_type(info, dim) == GGML_TYPE_F32) {
        TensorInfo part = info;
        part.ne = {dim, n_rows, 1, 1};
        part.n_bytes = ggml_row_size(info.type, dim) * static_cast<size_t>(n_rows);
        part.data = data;
        const std::string path = file_->path();
        return made({dim, n_rows}, [path, part](float * out) { to_float(path, part, out); });
    }
    ggml_backend_dev_t dev = compute_.device().dev;
    if (!(product ? supports_product(dev, info.type, dim, n_rows, nullptr) : supports_gather(dev, info.type, dim, n_rows))) {
        fail(MOSHI_ERROR_UNSUPPORTED, "%s: device %s cannot compute with tensor %s of type %s; convert the model to another type",
             file_->path().c_str(), compute_.device().name.c_str(), info.name.c_str(), ggml_type_name(info.type));
    }
    const Place place = place_of(info, data, n_rows, dim, product);
    ggml_context * ctx = (place == Place::Mapped ? mapped_ : place == Place::Repacked ? repacked_ : device_).get();
    ggml_tensor * t = ggml_new_tensor_2d(ctx, info.type, dim, n_rows);
    ggml_set_name(t, info.name.c_str());
    pending_.push_back({t, place, data, nullptr});
    return t;
}

WeightLoader::Place WeightLoader::place_of(const TensorInfo & info, const uint8_t * data, int64_t n_rows, int64_t dim, bool product) const {
    if (!compute_.is_cpu()) {
        return Place::Device;
    }
    if (product && repack_probe_ && supports_product(compute_.device().dev, info.type, dim, n_rows, repack_probe_.get())) {
        return Place::Repacked;
    }
    constexpr uintptr_t kCpuAlignment = 32; // ggml's for CPU tensors
    const bool aligned = reinterpret_cast<uintptr_t>(data) % kCpuAlignment == 0;
    return file_->mapping() && aligned ? Place::Mapped : Place::Device;
}

void WeightLoader::upload(const Pending & p) const {
    if (p.data) {
        ggml_backend_tensor_set(p.tensor, p.data, 0, ggml_nbytes(p.tensor));
        if (const MappedFile * mapping = file_->mapping()) {
            mapping->release(p.data, ggml_nbytes(p.tensor));
        }
        return;
    }
    std::vector<float> values(static_cast<size_t>(ggml_nelements(p.tensor)));
    p.fill(values.data());
    if (p.tensor->type == GGML_TYPE_F16) {
        std::vector<ggml_fp16_t> halves(values.size());
        ggml_fp32_to_fp16_row(values.data(), halves.data(), ggml_nelements(p.tensor));
        ggml_backend_tensor_set(p.tensor, halves.data(), 0, ggml_nbytes(p.tensor));
        return;
    }
    ggml_backend_tensor_set(p.tensor, values.data(), 0, ggml_nbytes(p.tensor));
}

void WeightLoader::upload_all(const Progress & progress) const {
    std::vector<const Pending *> work;
    uint64_t total = 0;
    for (const Pending & p : pending_) {
        if (p.place != Place::Mapped) {
            work.push_back(&p);
            total += ggml_nbytes(p.tensor);
        }
    }
    std::atomic<size_t> next{0};
    std::atomic<uint64_t> done{0};
    std::atomic<bool> stop{false};
    std::exception_ptr error;
    std::mutex error_mutex;
    const auto worker = [&](bool reports) {
        try {
            for (size_t i; !stop && (i = next++) < work.size();) {
                upload(*work[i]);
                done += ggml_nbytes(work[i]->tensor);
                if (reports && progress && !progress(static_cast<float>(done) / static_cast<float>(total))) {
                    fail(MOSHI_ERROR_CANCELLED, "loading %s was cancelled", file_->path().c_str());
                }
            }
        } catch (...) {
            std::lock_guard<std::mutex> lock(error_mutex);
            error = error ? error : std::current_exception();
            stop = true;
        }
    };
    std::vector<std::thread> helpers; // repacking is work for the cores; a GPU's queue is fed by one thread
    try {
        for (int i = 1; compute_.is_cpu() && i < compute_.n_threads(); ++i) {
            helpers.emplace_back(worker, false);
        }
    } catch (const std::system_error &) { // the system gives no more threads: those there are do the work
    }
    worker(true);
    for (std::thread & t : helpers) {
        t.join();
    }
    if (error) {
        std::rethrow_exception(error);
    }
    if (progress && !progress(1.0f)) { // the last tensor may have been a helper's
        fail(MOSHI_ERROR_CANCELLED, "loading %s was cancelled", file_->path().c_str());
    }
}

Weights WeightLoader::finish(const Progress & progress) {
    Weights out;
    out.file = file_;
    std::map<ggml_type, uint64_t> bytes;
    for (const Pending & p : pending_) {
        bytes[p.tensor->type] += ggml_nbytes(p.tensor);
        out.bytes += ggml_nbytes(p.tensor);
    }
    for (const auto & [type, n] : bytes) {
        out.main_type = n > bytes[out.main_type] ? type : out.main_type;
    }
    const auto keep = [&](ggml_context * ctx, ggml_backend_buffer_type_t type) {
        if (BufferPtr b = allocate(ctx, type, "model weights")) {
            ggml_backend_buffer_set_usage(b.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            out.buffers.push_back(std::move(b));
        }
    };
    keep(device_.get(), compute_.buffer_type());
    if (repack_type_) {
        keep(repacked_.get(), repack_type_);
    }
    if (const MappedFile * mapping = file_->mapping(); mapping && compute_.is_cpu()) {
        BufferPtr b(ggml_backend_dev_buffer_from_host_ptr(compute_.device().dev, const_cast<uint8_t *>(mapping->data()), mapping->size(),
                                                          mapping->size()));
        for (const Pending & p : pending_) {
            if (p.place == Place::Mapped) {
                ggml_backend_tensor_alloc(b.get(), p.tensor, const_cast<uint8_t *>(p.data));
            }
        }
        out.buffers.push_back(std::move(b));
    }
    upload_all(progress);
    if (const MappedFile * mapping = file_->mapping()) {
        mapping->release(mapping->data(), mapping->size()); // the system maps several pages for each that was read
    }
    return_freed_memory();
    for (ContextPtr * ctx : {&mapped_, &device_, &repacked_}) {
        out.contexts.push_back(std::move(*ctx));
    }
    return out;
}

} // namespace moshi
