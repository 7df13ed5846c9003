// Conversion of weights between storage types, by ggml's own quantisers.
#include "api/handles.h"
#include "api/log.h"
#include "api/types.h"

#include <mutex>
#include <system_error>
#include <thread>

using namespace moshi;

namespace {

void convert_rows(ggml_type from, const uint8_t * src, ggml_type to, uint8_t * dst, int64_t n_rows, int64_t n) {
    std::vector<float> row(static_cast<size_t>(n));
    for (int64_t i = 0; i < n_rows; ++i, src += ggml_row_size(from, n), dst += ggml_row_size(to, n)) {
        if (from == GGML_TYPE_F32) {
            std::memcpy(row.data(), src, row.size() * sizeof(float));
        } else {
            ggml_get_type_traits(from)->to_float(src, row.data(), n);
        }
        if (to == GGML_TYPE_F32) {
            std::memcpy(dst, row.data(), row.size() * sizeof(float));
        } else {
            ggml_quantize_chunk(to, row.data(), dst, 0, 1, n, nullptr);
        }
    }
}

} // namespace

size_t moshi_row_size(const char * type, int64_t n) {
    size_t size = 0;
    guarded([&] {
        const ggml_type t = type_named(type, "type");
        size = n > 0 && n % ggml_blck_size(t) == 0 ? ggml_row_size(t, n) : 0;
    });
    return size;
}

moshi_status moshi_quantize(const char * src_type, const void * src, const char * dst_type, void * dst, size_t dst_size, int64_t n_rows,
                            int64_t n_per_row, int32_t n_threads) {
    return guarded([&] {
        require(src, "src");
        require(dst, "dst");
        route_ggml_log();
        const ggml_type from = float_type_named(src_type, "src_type"), to = type_named(dst_type, "dst_type");
        constexpr int64_t kMost = int64_t(1) << 40;
        if (n_rows < 1 || n_per_row < 1 || n_per_row > kMost / n_rows || n_per_row % ggml_blck_size(to) != 0) {
            fail(MOSHI_ERROR_ARGUMENT, "%lld rows of %lld values; %s needs rows of a multiple of %lld", (long long) n_rows,
                 (long long) n_per_row, dst_type, (long long) ggml_blck_size(to));
        }
        if (dst_size != ggml_row_size(to, n_per_row) * static_cast<size_t>(n_rows)) {
            fail(MOSHI_ERROR_ARGUMENT, "room for %zu bytes; %zu are needed", dst_size,
                 ggml_row_size(to, n_per_row) * static_cast<size_t>(n_rows));
        }
        ggml_quantize_init(to); // tables that are not made thread-safely
        const auto * in = static_cast<const uint8_t *>(src);
        auto * out = static_cast<uint8_t *>(dst);
        constexpr int64_t kMaxThreads = 512;
        const int64_t workers = std::max<int64_t>(1, std::min<int64_t>({n_threads, n_rows, kMaxThreads}));
        const int64_t share = (n_rows + workers - 1) / workers;
        std::vector<std::thread> threads;
        std::mutex error_mutex;
        std::exception_ptr error;
        const auto work = [&](int64_t first) {
            const int64_t n = std::min(share, n_rows - first);
            if (n <= 0) {
                return;
            }
            try {
                convert_rows(from, in + first * ggml_row_size(from, n_per_row), to, out + first * ggml_row_size(to, n_per_row), n,
                             n_per_row);
            } catch (...) {
                std::lock_guard<std::mutex> lock(error_mutex);
                error = std::current_exception();
            }
        };
        for (int64_t i = 1; i < workers; ++i) {
            try {
                threads.emplace_back(work, i * share);
            } catch (const std::system_error &) { // the system gives no more threads
                work(i * share);
            }
        }
        work(0);
        for (std::thread & t : threads) {
            t.join();
        }
        if (error) {
            std::rethrow_exception(error);
        }
    });
}
