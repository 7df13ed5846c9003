#include "gguf/mapped_file.h"

#include "api/error.h"

#include <cerrno>
#include <cstring>

#if defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace moshi {

#if defined(_WIN32)

MappedFile::MappedFile(const std::string & path) {
    const int n = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
    std::wstring wide(static_cast<size_t>(n > 0 ? n : 1), L'\0');
    MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), n);
    HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        fail(MOSHI_ERROR_FILE, "%s: cannot be opened (Windows error %lu)", path.c_str(), GetLastError());
    }
    LARGE_INTEGER size;
    if (!GetFileSizeEx(file, &size) || size.QuadPart == 0) {
        CloseHandle(file);
        fail(MOSHI_ERROR_FORMAT, "%s: the file is empty", path.c_str());
    }
    HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    CloseHandle(file);
    void * view = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : nullptr;
    if (mapping) {
        CloseHandle(mapping);
    }
    if (!view) {
        fail(MOSHI_ERROR_FILE, "%s: cannot be mapped into memory (Windows error %lu)", path.c_str(), GetLastError());
    }
    data_ = static_cast<const uint8_t *>(view);
    size_ = static_cast<size_t>(size.QuadPart);
}

MappedFile::~MappedFile() {
    if (data_) {
        UnmapViewOfFile(data_);
    }
}

void MappedFile::release(const uint8_t *, size_t) const {} // Windows trims mapped views by itself

#else

void MappedFile::release(const uint8_t * from, size_t n) const {
    const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const uintptr_t first = (reinterpret_cast<uintptr_t>(from) + page - 1) / page * page; // whole pages only: neighbours share the others
    const uintptr_t last = (reinterpret_cast<uintptr_t>(from) + n) / page * page;
    if (first < last) {
        ::madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
    }
}

MappedFile::MappedFile(const std::string & path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); // O_NONBLOCK: a named pipe must not hang us
    if (fd < 0) {
        fail(MOSHI_ERROR_FILE, "%s: cannot be opened: %s", path.c_str(), std::strerror(errno));
    }
    struct stat info;
    const bool known = ::fstat(fd, &info) == 0;
    if (!known || !S_ISREG(info.st_mode)) {
        const bool folder = known && S_ISDIR(info.st_mode);
        ::close(fd);
        fail(MOSHI_ERROR_FILE, "%s: is %s; expected a GGUF file", path.c_str(), folder ? "a folder" : "not a regular file");
    }
    if (info.st_size == 0) {
        ::close(fd);
        fail(MOSHI_ERROR_FORMAT, "%s: the file is empty; expected a GGUF file", path.c_str());
    }
    size_ = static_cast<size_t>(info.st_size);
    void * view = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    const int error = errno;
    ::close(fd);
    if (view == MAP_FAILED) {
        fail(MOSHI_ERROR_FILE, "%s: cannot be mapped into memory: %s", path.c_str(), std::strerror(error));
    }
    data_ = static_cast<const uint8_t *>(view);
}

MappedFile::~MappedFile() {
    if (data_) {
        ::munmap(const_cast<uint8_t *>(data_), size_);
    }
}

#endif

} // namespace moshi
