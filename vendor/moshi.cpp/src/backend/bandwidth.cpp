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
constexpr uint64_t kMostMatrices = 4096;
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

} // namespace

moshi_bandwidth_result measure_bandwidth(const std::string & name, int n_threads, ggml_type type, uint64_t asked, double seconds) {
    const Device device = choose_device(name, 0).device;
    Compute compute(device, n_threads);
    ggml_backend_buffer_type_t place = compute.buffer_type();
    if (ggml_backend_buffer_type_t repack = compute.is_cpu() ? find_repack_type(device.dev) : nullptr) {
        BufferPtr probe(ggml_backend_buft_alloc_buffer(repack, 0));
        place = probe && supports_product(device.dev, type, kIn, kOut, probe.get()) ? repack : place;
    }
    const size_t n_bytes = ggml_row_size(type, kIn) * kOut;
    const int n = static_cast<int>(std::clamp<uint64_t>((asked ? asked : enough_for(device)) / n_bytes, 1, kMostMatrices));
    ContextPtr weights = new_context(static_cast<size_t>(n)), inputs = new_context(1);
    for (int i = 0; i < n; ++i) {
        ggml_new_tensor_2d(weights.get(), type, kIn, kOut);
    }
    ggml_tensor * x = ggml_new_tensor_1d(inputs.get(), GGML_TYPE_F32, kIn);
    BufferPtr matrix_buffer = allocate(weights.get(), place, "measuring the bandwidth");
    BufferPtr input_buffer = allocate(inputs.get(), compute.buffer_type(), "measuring the bandwidth");
    ggml_backend_buffer_clear(matrix_buffer.get(), 0x11); // a small number in every type and layout; and pages that exist
    ggml_backend_buffer_clear(input_buffer.get(), 0);

    Graph graph(compute, static_cast<size_t>(n) + 8);
    for (ggml_tensor * w = ggml_get_first_tensor(weights.get()); w; w = ggml_get_next_tensor(weights.get(), w)) {
        graph.expand(ggml_mul_mat(graph.ctx(), w, x));
    }
    graph.finish("the measurement of the bandwidth");
    const std::vector<double> passes = passes_of(graph, (1 - kShareOfSmall) * seconds);
    const double total = static_cast<double>(n_bytes) * n;
    return {total / passes.front(), total / median(passes), small_operation(compute, x, kShareOfSmall * seconds),
            static_cast<uint64_t>(total), static_cast<int32_t>(passes.size())};
}

} // namespace moshi
