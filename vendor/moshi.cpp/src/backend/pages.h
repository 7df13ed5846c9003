// How the system keeps memory for us.
#pragma once

#include <cstddef>

namespace moshi {

// Asks for pages of megabytes where the system gives them on request (Linux): filling gigabytes of weights takes a
// five-hundredth of the page faults, and reading them every frame fewer address translations. Call it before the first
// write.
void prefer_large_pages(void * from, size_t n);

// Returns to the system what has been freed and the C library keeps. Takes milliseconds; for after large temporary needs.
void return_freed_memory();

} // namespace moshi
