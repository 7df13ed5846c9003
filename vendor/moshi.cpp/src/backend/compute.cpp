#include "backend/compute.h"

#include "api/error.h"
#include "api/log.h"
#include "backend/pages.h"

#include <cstdlib>

namespace moshi {

namespace {

template <typename Fn> Fn proc(ggml_backend_dev_t dev, const char * name) {
    return reinterpret_cast<Fn>(ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev), name));
}

} // namespace

Compute::Compute(const Device & device, int n_threads) : device_(device), n_threads_(n_threads) {
    backend_ = ggml_backend_dev_init(device.dev, nullptr);
    if (!backend_) {
        fail(MOSHI_ERROR_DEVICE, "device %s (%s) cannot be opened", device.name.c_str(), device.description.c_str());
    }
    if (const auto set_threads = proc<ggml_backend_set_n_threads_t>(device.dev, "ggml_backend_set_n_threads")) {
        set_threads(backend_, n_threads);
    }
    if (const auto set_abort = proc<ggml_backend_set_abort_callback_t>(device.dev, "ggml_backend_set_abort_callback")) {
        set_abort(backend_, should_abort, this);
    }
    if (is_cpu() && n_threads > 1) {
        using NewPool = ggml_threadpool_t (*)(ggml_threadpool_params *);
        using SetPool = void (*)(ggml_backend_t, ggml_threadpool_t);
        const auto new_pool = proc<NewPool>(device.dev, "ggml_threadpool_new");
        const auto set_pool = proc<SetPool>(device.dev, "ggml_backend_cpu_set_threadpool");
        free_pool_ = proc<void (*)(ggml_threadpool_t)>(device.dev, "ggml_threadpool_free");
        if (new_pool && set_pool && free_pool_) {
            ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
            pool_ = new_pool(&params);
            if (pool_) {
                set_pool(backend_, pool_);
            }
        }
    }
}

Compute::~Compute() {
    ggml_backend_free(backend_);
    if (pool_) {
        free_pool_(pool_);
    }
}

bool Compute::should_abort(void * self) {
    constexpr auto kPause = std::chrono::milliseconds(100); // asking may cost a lock in the caller's language
    Compute & c = *static_cast<Compute *>(self);
    const auto now = std::chrono::steady_clock::now();
    if (!c.go_on_ || now - c.asked_ < kPause) {
        return false;
    }
    c.asked_ = now;
    return !(*c.go_on_)();
}

void Compute::run(ggml_cgraph * graph, const std::function<bool()> & go_on) {
    std::lock_guard<std::mutex> turn(mutex_);
    go_on_ = go_on ? &go_on : nullptr;
    asked_ = std::chrono::steady_clock::now();
    const ggml_status status = ggml_backend_graph_compute(backend_, graph);
    go_on_ = nullptr;
    if (status == GGML_STATUS_ABORTED) {
        fail(MOSHI_ERROR_CANCELLED, "the computation was cancelled");
    }
    if (status != GGML_STATUS_SUCCESS) {
        fail(status == GGML_STATUS_ALLOC_FAILED ? MOSHI_ERROR_MEMORY : MOSHI_ERROR_DEVICE, "device %s failed to compute: %s",
             device_.name.c_str(), ggml_status_to_string(status));
    }
}

bool Compute::supports(const ggml_tensor * op) const { return ggml_backend_supports_op(backend_, op); }

ContextPtr new_context(size_t n_tensors, size_t graph_nodes) {
    const size_t size = ggml_tensor_overhead() * n_tensors + (graph_nodes ? ggml_graph_overhead_custom(graph_nodes, false) : 0) + 4096;
    ContextPtr ctx(ggml_init({size, nullptr, true}));
    if (!ctx) {
        fail(MOSHI_ERROR_MEMORY, "the machine has not enough free memory");
    }
    return ctx;
}

namespace {

[[noreturn]] void no_memory(size_t size, const char * what, ggml_backend_buffer_type_t type) {
    fail(MOSHI_ERROR_MEMORY, "%.2f GB for %s cannot be had on %s; close other programs, or choose a smaller model, context or device",
         size / 1e9, what, ggml_backend_buft_name(type));
}

// Linux promises memory that it does not have; what can never fit is refused here instead of killed later.
bool hopeless(size_t size, ggml_backend_buffer_type_t type) {
    size_t free = 0, total = 0;
    if (ggml_backend_dev_t dev = ggml_backend_buft_get_device(type)) {
        ggml_backend_dev_memory(dev, &free, &total);
    }
    return total != 0 && size > total;
}

} // namespace

BufferPtr allocate(ggml_context * ctx, ggml_backend_buffer_type_t type, const char * what) {
    const size_t size = ggml_backend_alloc_ctx_tensors_from_buft_size(ctx, type);
    BufferPtr buffer(hopeless(size, type) ? nullptr : ggml_backend_alloc_ctx_tensors_from_buft(ctx, type));
    if (!buffer && size > 0) {
        no_memory(size, what, type);
    }
    ggml_backend_dev_t dev = ggml_backend_buft_get_device(type);
    if (buffer && dev && ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_CPU) {
        prefer_large_pages(ggml_backend_buffer_get_base(buffer.get()), ggml_backend_buffer_get_size(buffer.get()));
    }
    return buffer;
}

void StateBuffer::Free::operator()(void * p) const { std::free(p); }

StateBuffer allocate_state(ggml_context * ctx, const Compute & compute, const char * what) {
    const ggml_backend_buffer_type_t type = compute.buffer_type();
    StateBuffer out;
    if (!compute.is_cpu()) {
        out.buffer = allocate(ctx, type, what);
        ggml_backend_buffer_clear(out.buffer.get(), 0);
        return out;
    }
    const size_t alignment = ggml_backend_buft_get_alignment(type);
    const size_t size = ggml_backend_alloc_ctx_tensors_from_buft_size(ctx, type);
    out.memory.reset(hopeless(size, type) ? nullptr : std::calloc(1, size + alignment)); // calloc: untouched zero pages
    if (!out.memory) {
        no_memory(size, what, type);
    }
    void * start = reinterpret_cast<void *>(GGML_PAD(reinterpret_cast<uintptr_t>(out.memory.get()), alignment));
    out.buffer.reset(ggml_backend_dev_buffer_from_host_ptr(compute.device().dev, start, size, size));
    ggml_tallocr place = ggml_tallocr_new(out.buffer.get());
    for (ggml_tensor * t = ggml_get_first_tensor(ctx); t; t = ggml_get_next_tensor(ctx, t)) {
        if (ggml_tallocr_alloc(&place, t) != GGML_STATUS_SUCCESS) {
            no_memory(size, what, type);
        }
    }
    return out;
}

Graph::Graph(Compute & compute, size_t max_nodes)
    : compute_(compute), ctx_(new_context(2 * max_nodes, max_nodes)), graph_(ggml_new_graph_custom(ctx_.get(), max_nodes, false)) {}

namespace {

// Whether a device has anything to do for it: the others only name parts of what is there.
bool computes(const ggml_tensor * node) {
    switch (node->op) {
        case GGML_OP_NONE:
        case GGML_OP_VIEW:
        case GGML_OP_RESHAPE:
        case GGML_OP_PERMUTE:
        case GGML_OP_TRANSPOSE: return false;
        default: return true;
    }
}

} // namespace

void Graph::finish(const char * what) {
    int n_launches = 0;
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
        const ggml_tensor * node = ggml_graph_node(graph_, i);
        n_launches += computes(node) ? 1 : 0;
        if (!compute_.supports(node)) {
            fail(MOSHI_ERROR_UNSUPPORTED, "device %s cannot compute %s of %s (in %s)", compute_.device().name.c_str(), ggml_op_desc(node),
                 node->src[0] ? ggml_type_name(node->src[0]->type) : "nothing", what);
        }
    }
    alloc_.reset(ggml_gallocr_new(compute_.buffer_type()));
    if (!alloc_ || !ggml_gallocr_alloc_graph(alloc_.get(), graph_)) {
        fail(MOSHI_ERROR_MEMORY, "scratch memory for %s cannot be had on %s", what, compute_.device().name.c_str());
    }
    log(MOSHI_LOG_DEBUG, "%s: a graph of %d operations, %.1f MB of scratch memory", what, n_launches,
        ggml_gallocr_get_buffer_size(alloc_.get(), 0) / 1e6);
}

} // namespace moshi
