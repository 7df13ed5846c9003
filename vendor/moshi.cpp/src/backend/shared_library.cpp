#include "backend/shared_library.h"

#include <utility>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace moshi {

namespace fs = std::filesystem;

SharedLibrary::~SharedLibrary() {
    if (handle_) {
#ifdef _WIN32
        ::FreeLibrary(static_cast<HMODULE>(handle_));
#else
        ::dlclose(handle_);
#endif
    }
}

SharedLibrary::SharedLibrary(SharedLibrary && other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), error_(std::move(other.error_)) {}

SharedLibrary & SharedLibrary::operator=(SharedLibrary && other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(error_, other.error_);
    return *this;
}

#ifdef _WIN32

SharedLibrary::SharedLibrary(const fs::path & path) {
    const DWORD mode = ::SetErrorMode(SEM_FAILCRITICALERRORS); // no dialog for a driver that is not there
    handle_ = ::LoadLibraryExW(path.c_str(), nullptr, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    error_ = handle_ ? "" : "error " + std::to_string(::GetLastError());
    ::SetErrorMode(mode);
}

void * SharedLibrary::address(const char * name) const {
    return handle_ ? reinterpret_cast<void *>(::GetProcAddress(static_cast<HMODULE>(handle_), name)) : nullptr;
}

fs::path own_folder() {
    HMODULE self = nullptr;
    wchar_t path[32768]; // the longest that Windows has
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!::GetModuleHandleExW(flags, reinterpret_cast<LPCWSTR>(&own_folder), &self)) {
        return {};
    }
    const DWORD n = ::GetModuleFileNameW(self, path, static_cast<DWORD>(std::size(path)));
    return fs::path(path, path + n).parent_path();
}

#else

SharedLibrary::SharedLibrary(const fs::path & path) : handle_(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    const char * why = handle_ ? nullptr : ::dlerror();
    error_ = why ? why : "";
}

void * SharedLibrary::address(const char * name) const { return handle_ ? ::dlsym(handle_, name) : nullptr; }

fs::path own_folder() {
    Dl_info self;
    if (!::dladdr(reinterpret_cast<const void *>(&own_folder), &self) || !self.dli_fname) {
        return {};
    }
    std::error_code unknown;
    return fs::absolute(self.dli_fname, unknown).parent_path();
}

#endif

} // namespace moshi
