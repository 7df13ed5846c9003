#include "backend/bandwidth.h"

#include "api/error.h"
#include "backend/compute.h"
#include "backend/products.h"

#include <algorithm>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace moshi {

namespace {

constexpr int64_t kIn = 4096, kOut = 12288;   // a 7B model's in_proj
constexpr uint64_t kEnough = uint64_t(256) << 20, kEnoughForGpu = uint64_t(1) << 30; // bytes of matrices
constexpr uint64_t kMostPieces = 4096;
constexpr int64_t kHeads = 32, kRemembered = 1024; // of a 7B model's memory: frames
constexpr const char * kWhat = "measuring the bandwidth";
constexpr int kFewestPasses = 3, kChain = 128;
constexpr double kShareOfSmall = 0.1; // of the time

size_t cache_bytes() {
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long n = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return n > 0 ? static_cast<size_t>(n) : 0;
#else
    return 0;
#endif
}

// So much that hardly anything of one pass is left in the cache for the next, and no more than a quarter of the memory.
uint64_t enough_for(const Device & device) {
    const uint64_t wanted = device.is_gpu ? kEnoughForGpu : std::max<uint64_t>(kEnough, 8 * cache_bytes());
    return device.memory_free ? std::min(wanted, device.memory_free / 4) : wanted;
}

double elapsed(std::chrono::steady_clock::time_point since) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

// Seconds of each pass over the graph, shortest first.
std::vector<double> passes_of(Graph & graph, double seconds) {
    std::vector<double> passes;
    graph.run(); // threads and clocks wake up
    const auto start = std::chrono::steady_clock::now();
    while (static_cast<int>(passes.size()) < kFewestPasses || elapsed(start) < seconds) {
        const auto begun = std::chrono::steady_clock::now();
        graph.run();
        passes.push_back(elapsed(begun));
    }
    std::sort(passes.begin(), passes.end());
    return passes;
}

double median(const std::vector<double> & sorted) { return sorted[sorted.size() / 2]; }

// Seconds of an operation that has next to nothing to compute, each waiting for the one before as those of a frame do.
double small_operation(Compute & compute, ggml_tensor * x, double seconds) {
    Graph graph(compute, 2 * kChain + 8);
    ggml_tensor * y = x;
    for (int i = 0; i < kChain; ++i) {
        y = ggml_add(graph.ctx(), ggml_rms_norm(graph.ctx(), y, 1e-8f), x);
    }
    graph.expand(y);
    graph.finish("the measurement of small operations");
    return median(passes_of(graph, seconds)) / (2 * kChain);
}

moshi_bandwidth_result result_of(Graph & graph, Compute & compute, ggml_tensor * x, uint64_t n_bytes, double seconds) {
    const std::vector<double> passes = passes_of(graph, (1 - kShareOfSmall) * seconds);
    const double total = static_cast<double>(n_bytes);
    return {total / passes.front(), total / median(passes), small_operation(compute, x, kShareOfSmall * seconds), n_bytes,
            static_cast<int32_t>(passes.size())};
}

// How many pieces of `n_bytes` make up what was asked for.
int pieces(const Device & device, uint64_t asked, uint64_t n_bytes) {
    return static_cast<int>(std::clamp<uint64_t>((asked ? asked : enough_for(device)) / n_bytes, 1, kMostPieces));
}

void fill(const BufferPtr & data, const BufferPtr & input) {
    ggml_backend_buffer_clear(data.get(), 0x11); // a small number in every type and layout; and pages that exist
    ggml_backend_buffer_clear(input.get(), 0);
}

} // namespace

moshi_bandwidth_result measure_products(const std::string & name, int n_threads, ggml_type type, uint64_t asked, double seconds) {
    const Device device = choose_device(name, 0).device;
    Compute compute(device, n_threads);
    ggml_backend_buffer_type_t place = compute.buffer_type();
    if (ggml_backend_buffer_type_t repack = compute.is_cpu() ? find_repack_type(device.dev) : nullptr) {
        BufferPtr probe(ggml_backend_buft_alloc_buffer(repack, 0));
        place = probe && supports_product(device.dev, type, kIn, kOut, probe.get()) ? repack : place;
    }
    const uint64_t n_bytes = ggml_row_size(type, kIn) * kOut;
    const int n = pieces(device, asked, n_bytes);
    ContextPtr weights = new_context(static_cast<size_t>(n)), inputs = new_context(1);
    for (int i = 0; i < n; ++i) {
        ggml_new_tensor_2d(weights.get(), type, kIn, kOut);
    }
    ggml_tensor * x = ggml_new_tensor_1d(inputs.get(), GGML_TYPE_F32, kIn);
    BufferPtr matrix_buffer = allocate(weights.get(), place, kWhat), input_buffer = allocate(inputs.get(), compute.buffer_type(), kWhat);
    fill(matrix_buffer, input_buffer);
    Graph graph(compute, static_cast<size_t>(n) + 8);
    for (ggml_tensor * w = ggml_get_first_tensor(weights.get()); w; w = ggml_get_next_tensor(weights.get(), w)) {
        graph.expand(ggml_mul_mat(graph.ctx(), w, x));
    }
    graph.finish(kWhat);
    return result_of(graph, compute, x, n_bytes * n, seconds);
}

moshi_bandwidth_result measure_attention(const std::string & name, int n_threads, uint64_t asked, double seconds) {
    const Device device = choose_device(name, 0).device;
    Compute compute(device, n_threads);
    const uint64_t n_bytes = 2 * ggml_row_size(GGML_TYPE_F16, kIn) * kRemembered; // keys and values of a layer
    const int n = pieces(device, asked, n_bytes);
    ContextPtr rings = new_context(2 * static_cast<size_t>(n)), inputs = new_context(2);
    for (int i = 0; i < 2 * n; ++i) {
        ggml_new_tensor_2d(rings.get(), GGML_TYPE_F16, kIn, kRemembered);
    }
    ggml_tensor * x = ggml_new_tensor_1d(inputs.get(), GGML_TYPE_F32, kIn);
    ggml_tensor * mask = ggml_new_tensor_2d(inputs.get(), GGML_TYPE_F16, kRemembered, 1);
    BufferPtr ring_buffer = allocate(rings.get(), compute.buffer_type(), kWhat),
              input_buffer = allocate(inputs.get(), compute.buffer_type(), kWhat);
    fill(ring_buffer, input_buffer);
    Graph graph(compute, 8 * static_cast<size_t>(n) + 8);
    ggml_context * ctx = graph.ctx();
    const auto heads = [&](ggml_tensor * ring) { // [head_dim, kRemembered, kHeads], as nn/ops.cpp looks at it
        ggml_tensor * view =
            ggml_view_3d(ctx, ring, kIn / kHeads, kHeads, kRemembered, ggml_row_size(ring->type, kIn / kHeads), ring->nb[1], 0);
        return ggml_permute(ctx, view, 0, 2, 1, 3);
    };
    ggml_tensor * q = ggml_reshape_3d(ctx, x, kIn / kHeads, 1, kHeads);
    for (ggml_tensor * k = ggml_get_first_tensor(rings.get()); k;) {
        ggml_tensor * v = ggml_get_next_tensor(rings.get(), k);
        ggml_tensor * out = ggml_flash_attn_ext(ctx, q, heads(k), heads(v), mask, 0.1f, 0.0f, 0.0f);
        ggml_flash_attn_ext_set_prec(out, GGML_PREC_F32);
        graph.expand(out);
        k = ggml_get_next_tensor(rings.get(), v);
    }
    graph.finish(kWhat);
    return result_of(graph, compute, x, n_bytes * n, seconds);
}

} // namespace moshi
