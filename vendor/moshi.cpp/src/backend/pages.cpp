#include "backend/pages.h"

#include <cstdint>
#include <cstdlib> // defines __GLIBC__

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace moshi {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

void prefer_large_pages(void * from, size_t n) {
    const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const uintptr_t first = (reinterpret_cast<uintptr_t>(from) + page - 1) / page * page;
    const uintptr_t last = (reinterpret_cast<uintptr_t>(from) + n) / page * page;
    if (first < last) {
        ::madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE); // a wish: where it fails, nothing changes
    }
}

#else

void prefer_large_pages(void *, size_t) {}

#endif

void return_freed_memory() {
#if defined(__GLIBC__)
    ::malloc_trim(0);
#endif
}

} // namespace moshi
