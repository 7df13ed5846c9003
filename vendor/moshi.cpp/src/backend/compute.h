// The thing that computes graphs: a ggml backend and, on the CPU, a persistent pool of threads.
#pragma once

#include "backend/device.h"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>

namespace moshi {

// One per model. Sessions take turns: two pools on the same cores would only wait for each other.
class Compute {
public:
    Compute(const Device & device, int n_threads);
    ~Compute();
    Compute(const Compute &) = delete;
    Compute & operator=(const Compute &) = delete;

    // Throws Error(MOSHI_ERROR_DEVICE). On the CPU `go_on` is asked a few times a second; false: Error(MOSHI_ERROR_CANCELLED).
    void run(ggml_cgraph * graph, const std::function<bool()> & go_on = nullptr);
    bool supports(const ggml_tensor * op) const;
    ggml_backend_t backend() const { return backend_; }
    ggml_backend_buffer_type_t buffer_type() const { return ggml_backend_get_default_buffer_type(backend_); }
    const Device & device() const { return device_; }
    bool is_cpu() const { return !device_.is_gpu; }
    int n_threads() const { return n_threads_; }

private:
    static bool should_abort(void * self); // ggml asks after every node

    Device device_;
    int n_threads_;
    const std::function<bool()> * go_on_ = nullptr; // of the run under way
    std::chrono::steady_clock::time_point asked_;
    ggml_backend_t backend_ = nullptr;
    ggml_threadpool_t pool_ = nullptr;
    void (*free_pool_)(ggml_threadpool_t) = nullptr;
    std::mutex mutex_;
};

struct ContextFree {
    void operator()(ggml_context * ctx) const { ggml_free(ctx); }
};
struct BufferFree {
    void operator()(ggml_backend_buffer_t buffer) const { ggml_backend_buffer_free(buffer); }
};
struct GallocrFree {
    void operator()(ggml_gallocr_t alloc) const { ggml_gallocr_free(alloc); }
};
using ContextPtr = std::unique_ptr<ggml_context, ContextFree>;
using BufferPtr = std::unique_ptr<ggml_backend_buffer, BufferFree>;
using GallocrPtr = std::unique_ptr<ggml_gallocr, GallocrFree>;

ContextPtr new_context(size_t n_tensors, size_t graph_nodes = 0); // metadata only: data lives in backend buffers

// Allocates every tensor of `ctx`; throws Error(MOSHI_ERROR_MEMORY) saying what it was for.
BufferPtr allocate(ggml_context * ctx, ggml_backend_buffer_type_t type, const char * what);

// Memory of session state: zero at first. On the CPU its pages are taken only as they are written, so that a long
// context costs what is used of it.
struct StateBuffer {
    struct Free {
        void operator()(void * p) const;
    };
    std::unique_ptr<void, Free> memory; // CPU only
    BufferPtr buffer;
};
StateBuffer allocate_state(ggml_context * ctx, const Compute & compute, const char * what);

// A graph with its scratch memory: built once, run many times.
class Graph {
public:
    Graph(Compute & compute, size_t max_nodes);

    const Compute & compute() const { return compute_; }
    ggml_context * ctx() const { return ctx_.get(); }
    ggml_cgraph * graph() const { return graph_; }
    void expand(ggml_tensor * t) { ggml_build_forward_expand(graph_, t); }
    void finish(const char * what); // checks that the device computes every node, then takes scratch memory
    void run(const std::function<bool()> & go_on = nullptr) { compute_.run(graph_, go_on); }

private:
    Compute & compute_;
    ContextPtr ctx_;
    ggml_cgraph * graph_;
    GallocrPtr alloc_;
};

} // namespace moshi
