#include "api/error.h"

#include <cstdarg>
#include <cstdio>
#include <new>
#include <vector>

namespace moshi {

namespace {

thread_local std::string t_last_error; // empty until the thread's first failure

std::string vformat(const char * fmt, va_list args) {
    va_list copy;
    va_copy(copy, args);
    const int n = std::vsnprintf(nullptr, 0, fmt, copy);
    va_end(copy);
    std::string out(n > 0 ? static_cast<size_t>(n) : 0, '\0');
    std::vsnprintf(out.data(), out.size() + 1, fmt, args);
    return out;
}

} // namespace

std::string format(const char * fmt, ...) {
    va_list args;
    va_start(args, fmt);
    std::string text = vformat(fmt, args);
    va_end(args);
    return text;
}

void fail(moshi_status status, const char * fmt, ...) {
    va_list args;
    va_start(args, fmt);
    std::string text = vformat(fmt, args);
    va_end(args);
    throw Error(status, std::move(text));
}

const char * last_error() { return t_last_error.c_str(); }

moshi_status remember_current_exception() noexcept {
    try {
        try {
            throw;
        } catch (const Error & e) {
            t_last_error = e.what();
            return e.status();
        } catch (const std::bad_alloc &) {
            t_last_error = "the machine has not enough free memory";
            return MOSHI_ERROR_MEMORY;
        } catch (const std::exception & e) {
            t_last_error = std::string("internal error: ") + e.what();
            return MOSHI_ERROR_INTERNAL;
        } catch (...) {
            t_last_error = "internal error";
            return MOSHI_ERROR_INTERNAL;
        }
    } catch (...) { // no memory even for the text
        return MOSHI_ERROR_MEMORY;
    }
}

} // namespace moshi
