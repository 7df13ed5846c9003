#include "backend/device.h"

#include "api/error.h"
#include "api/log.h"
#include "backend/loading.h"

#include <algorithm>
#include <map>

namespace moshi {

namespace {

std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return s;
}

// Room for KV caches, codec state and scratch beside the weights.
constexpr uint64_t kWorkingMemory = uint64_t(1) << 30;

std::string names_of(const std::vector<Device> & devices) {
    std::string out;
    for (const Device & d : devices) {
        out += (out.empty() ? "" : ", ") + d.name;
    }
    return out;
}

DeviceChoice choose_auto(const std::vector<Device> & devices, uint64_t needed) {
    const Device * cpu = nullptr;
    const Device * best = nullptr;
    std::string passed_over;
    for (const Device & d : devices) {
        if (!d.is_gpu) {
            cpu = cpu ? cpu : &d;
            continue;
        }
        if (d.memory_free != 0 && d.memory_free < needed + kWorkingMemory) {
            passed_over = format("; %s has only %.1f GB free of the %.1f GB needed", d.name.c_str(), d.memory_free / 1e9,
                                 (needed + kWorkingMemory) / 1e9);
        } else if (!best || d.memory_free > best->memory_free) {
            best = &d;
        }
    }
    if (best) {
        return {*best, format("%s: the GPU with the most free memory (%.1f GB)", best->name.c_str(), best->memory_free / 1e9)};
    }
    if (!cpu) {
        fail(MOSHI_ERROR_DEVICE, "no usable device%s", passed_over.c_str());
    }
    return {*cpu, "cpu: no GPU that this build can use" + passed_over};
}

} // namespace

std::vector<Device> list_devices() {
    route_ggml_log();
    load_backends();
    std::vector<Device> out;
    std::map<std::string, int> seen;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        const enum ggml_backend_dev_type type = ggml_backend_dev_type(dev);
        if (type == GGML_BACKEND_DEVICE_TYPE_ACCEL) { // BLAS and the like: helpers of the CPU, not devices of their own
            continue;
        }
        Device d;
        d.dev = dev;
        d.is_gpu = type != GGML_BACKEND_DEVICE_TYPE_CPU;
        const std::string family = lower(ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev)));
        const int n = seen[family]++;
        d.name = n == 0 ? family : format("%s:%d", family.c_str(), n);
        d.description = ggml_backend_dev_description(dev);
        size_t free = 0, total = 0;
        ggml_backend_dev_memory(dev, &free, &total);
        d.memory_free = free;
        d.memory_total = total;
        out.push_back(std::move(d));
    }
    return out;
}

std::string list_features() {
    route_ggml_log();
    load_backends();
    std::string out;
    for (size_t i = 0; i < ggml_backend_reg_count(); ++i) {
        ggml_backend_reg_t reg = ggml_backend_reg_get(i);
        out += (out.empty() ? "" : "\n") + lower(ggml_backend_reg_name(reg)) + ":";
        if (const std::string variant = variant_of(reg); !variant.empty()) {
            out += " variant=" + variant;
        }
        const auto get = reinterpret_cast<ggml_backend_get_features_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features"));
        for (const ggml_backend_feature * f = get ? get(reg) : nullptr; f && f->name; ++f) {
            out += format(" %s=%s", f->name, f->value);
        }
    }
    return out;
}

DeviceChoice choose_device(const std::string & name, uint64_t needed) {
    const std::vector<Device> devices = list_devices();
    const std::string wanted = lower(name);
    if (wanted == "auto") {
        return choose_auto(devices, needed);
    }
    for (const Device & d : devices) {
        if (d.name == wanted || d.name + ":0" == wanted) {
            return {d, ""};
        }
    }
    fail(MOSHI_ERROR_DEVICE, "no device \"%s\"; found: %s. A GPU needs its driver and a build for it (GGML_CUDA=ON or GGML_VULKAN=ON)",
         name.c_str(), names_of(devices).c_str());
}

} // namespace moshi
