// Messages of the engine and of ggml go to one callback, or nowhere.
#pragma once

#include "api/error.h"

namespace moshi {

void set_log(moshi_log_callback callback, void * user);
void log(moshi_log_level level, const char * fmt, ...) MOSHI_PRINTF(2, 3);
void route_ggml_log(); // idempotent; called before ggml is first used, so that it never prints

} // namespace moshi
