// Libraries that are opened while the program runs.
#pragma once

#include <filesystem>
#include <string>

namespace moshi {

// Open as long as the object lives, or longer if somebody else has it open, too.
class SharedLibrary {
public:
    explicit SharedLibrary(const std::filesystem::path & path); // one that cannot be opened is false, and says why
    ~SharedLibrary();
    SharedLibrary(SharedLibrary && other) noexcept;
    SharedLibrary & operator=(SharedLibrary && other) noexcept;

    explicit operator bool() const { return handle_; }
    const std::string & error() const { return error_; }

    // nullptr if there is no such function.
    template <typename Fn> Fn find(const char * name) const { return reinterpret_cast<Fn>(address(name)); }

private:
    void * address(const char * name) const;

    void * handle_ = nullptr;
    std::string error_;
};

// The folder of the library, or program, that this code is in. Empty if the system does not say.
std::filesystem::path own_folder();

} // namespace moshi
