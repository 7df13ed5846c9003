// What the opaque handles of moshi.h are.
#pragma once

#include "api/error.h"
#include "session/session.h"

#include <atomic>
#include <cstring>

struct moshi_model {
    std::shared_ptr<moshi::Model> model;
};

struct moshi_session {
    moshi::Session session;
    mutable std::atomic<bool> busy{false};
};

struct moshi_mimi {
    std::shared_ptr<moshi::Model> model; // kept alive
    moshi::MimiStream stream;
    std::atomic<bool> busy{false};
};

struct moshi_gguf {
    moshi::GgufFile file;
    std::vector<std::string> keys, types, values;
};

namespace moshi {

template <typename T> void require(const T * p, const char * name) {
    if (!p) {
        fail(MOSHI_ERROR_ARGUMENT, "%s is NULL", name);
    }
}

// A session or stream computes one call at a time; a second one is told so instead of corrupting the first.
class Turn {
public:
    Turn(std::atomic<bool> & busy, const char * what) : busy_(busy) {
        if (busy_.exchange(true)) {
            fail(MOSHI_ERROR_STATE, "this %s is in use by another thread", what);
        }
    }
    ~Turn() { busy_ = false; }
    Turn(const Turn &) = delete;
    Turn & operator=(const Turn &) = delete;

private:
    std::atomic<bool> & busy_;
};

// guarded(), with the handle checked and held.
template <typename Handle, typename Body> moshi_status in_turn(Handle * handle, const char * what, Body && body) noexcept {
    return guarded([&] {
        require(handle, what);
        Turn turn(handle->busy, what);
        body();
    });
}

inline void copy_text(char * out, size_t size, const std::string & text) {
    const size_t n = text.size() < size ? text.size() : size - 1;
    std::memcpy(out, text.data(), n);
    out[n] = '\0';
}

// The two-call protocol of the tap functions.
inline void copy_floats(const std::vector<float> & from, float * out, size_t * n) {
    require(n, "n");
    const size_t capacity = *n;
    *n = from.size();
    if (!out) {
        return;
    }
    if (capacity < from.size()) {
        fail(MOSHI_ERROR_ARGUMENT, "room for %zu values; %zu are needed", capacity, from.size());
    }
    std::memcpy(out, from.data(), from.size() * sizeof(float));
}

} // namespace moshi
