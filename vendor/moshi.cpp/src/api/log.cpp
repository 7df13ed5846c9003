#include "api/log.h"

#include "ggml.h"

#include <cstdarg>
#include <cstdio>
#include <mutex>

namespace moshi {

namespace {

// The one piece of process-wide state: ggml's own log hook is process-wide too.
struct Sink {
    std::mutex mutex;
    moshi_log_callback callback = nullptr;
    void * user = nullptr;
};

Sink & sink() {
    static Sink instance;
    return instance;
}

void emit(moshi_log_level level, const char * text) {
    std::lock_guard<std::mutex> lock(sink().mutex);
    if (sink().callback) {
        sink().callback(level, text, sink().user);
    }
}

void from_ggml(ggml_log_level level, const char * text, void *) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR: emit(MOSHI_LOG_ERROR, text); break;
        case GGML_LOG_LEVEL_WARN: emit(MOSHI_LOG_WARN, text); break;
        default: emit(MOSHI_LOG_DEBUG, text); break;
    }
}

} // namespace

void set_log(moshi_log_callback callback, void * user) {
    route_ggml_log();
    std::lock_guard<std::mutex> lock(sink().mutex);
    sink().callback = callback;
    sink().user = user;
}

void log(moshi_log_level level, const char * fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    std::vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    emit(level, text);
}

void route_ggml_log() {
    static std::once_flag once;
    std::call_once(once, [] { ggml_log_set(from_ggml, nullptr); });
}

} // namespace moshi
