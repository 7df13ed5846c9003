// Devices, as ggml's backend registry knows them.
#pragma once

#include "moshi.h"

#include "ggml-backend.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moshi {

struct Device {
    ggml_backend_dev_t dev;
    std::string name;        // "cpu", "cuda", "cuda:1", "vulkan", ...
    std::string description;
    bool is_gpu;
    uint64_t memory_total, memory_free; // bytes; 0 if unknown
};

// Throws Error(MOSHI_ERROR_DEVICE) if there is no code for this machine's processor.
std::vector<Device> list_devices();

// A line for each backend: its name, which of several variants it is, and what it was compiled for and has found, as ggml
// words it.
std::string list_features();

struct DeviceChoice {
    Device device;
    std::string reason; // "" when asked for by name
};

// `name`: "auto" or a device's name. `needed`: bytes of weights; "auto" passes over a GPU with less free memory.
DeviceChoice choose_device(const std::string & name, uint64_t needed);

} // namespace moshi
