// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace moshi {

class MappedFile {
public:
    explicit MappedFile(const std::string & path); // throws Error(MOSHI_ERROR_FILE)
    ~MappedFile();
    MappedFile(const MappedFile &) = delete;
    MappedFile & operator=(const MappedFile &) = delete;

    const uint8_t * data() const { return data_; }
    size_t size() const { return size_; }

    // These bytes have been copied and will hardly be read again: they need not count as this process's memory.
    void release(const uint8_t * from, size_t n) const;

private:
    const uint8_t * data_ = nullptr;
    size_t size_ = 0;
};

} // namespace moshi
