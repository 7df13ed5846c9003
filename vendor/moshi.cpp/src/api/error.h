// Errors inside the engine are exceptions; they stop at the C API and become a status and a text.
#pragma once

#include "moshi.h"

#include <exception>
#include <string>

namespace moshi {

#if defined(__GNUC__)
#define MOSHI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MOSHI_PRINTF(fmt, args)
#endif

std::string format(const char * fmt, ...) MOSHI_PRINTF(1, 2);

class Error : public std::exception {
public:
    Error(moshi_status status, std::string text) : status_(status), text_(std::move(text)) {}
    moshi_status status() const { return status_; }
    const char * what() const noexcept override { return text_.c_str(); }

private:
    moshi_status status_;
    std::string text_;
};

[[noreturn]] void fail(moshi_status status, const char * fmt, ...) MOSHI_PRINTF(2, 3);

// The text of the last failure in this thread.
const char * last_error();
moshi_status remember_current_exception() noexcept; // to be called in a catch (...) block

// Runs `body`; whatever it throws becomes a status.
template <typename Body> moshi_status guarded(Body && body) noexcept {
    try {
        body();
        return MOSHI_OK;
    } catch (...) {
        return remember_current_exception();
    }
}

} // namespace moshi
