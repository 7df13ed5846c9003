// Version, errors, log, devices and their speed.
#include "api/handles.h"
#include "api/log.h"
#include "api/types.h"
#include "backend/bandwidth.h"
#include "backend/threads.h"

using namespace moshi;

const char * moshi_version(void) { return MOSHI_VERSION; }

const char * moshi_ggml_version(void) { return ggml_version(); }

const char * moshi_last_error(void) { return last_error(); }

void moshi_set_log(moshi_log_callback callback, void * user) { set_log(callback, user); }

int32_t moshi_default_threads(void) { return default_threads(); }

int32_t moshi_device_count(void) {
    int32_t n = 0;
    guarded([&] { n = static_cast<int32_t>(list_devices().size()); });
    return n;
}

moshi_status moshi_device_get(int32_t index, moshi_device_info * out) {
    return guarded([&] {
        require(out, "out");
        const std::vector<Device> devices = list_devices();
        if (index < 0 || index >= static_cast<int32_t>(devices.size())) {
            fail(MOSHI_ERROR_ARGUMENT, "device %d; expected 0 to %d", index, static_cast<int>(devices.size()) - 1);
        }
        const Device & d = devices[index];
        *out = {};
        copy_text(out->name, sizeof(out->name), d.name);
        copy_text(out->description, sizeof(out->description), d.description);
        out->is_gpu = d.is_gpu;
        out->memory_total = d.memory_total;
        out->memory_free = d.memory_free;
    });
}

const char * moshi_features(void) {
    const char * text = "";
    guarded([&] {
        static const std::string features = list_features();
        text = features.c_str();
    });
    return text;
}

moshi_status moshi_bandwidth(const char * device, int32_t n_threads, const char * type, uint64_t n_bytes, double seconds,
                             moshi_bandwidth_result * out) {
    return guarded([&] {
        require(device, "device");
        require(out, "out");
        constexpr double kShortest = 0.01, kLongest = 60;
        if (!(seconds >= kShortest && seconds <= kLongest)) { // NaN fails too
            fail(MOSHI_ERROR_ARGUMENT, "%g seconds; expected %g to %g", seconds, kShortest, kLongest);
        }
        require(type, "type");
        if (std::strcmp(type, "kv") == 0) {
            *out = measure_attention(device, checked_threads(n_threads), n_bytes, seconds);
        } else {
            *out = measure_products(device, checked_threads(n_threads), type_named(type, "type"), n_bytes, seconds);
        }
    });
}
