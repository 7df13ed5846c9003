// A file that is gone when the test is over.
#pragma once

#include "gguf_writer.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#if defined(_WIN32)
#include <process.h>
#define MOSHI_TEST_PID _getpid
#else
#include <unistd.h>
#define MOSHI_TEST_PID getpid
#endif

class TempFile {
public:
    explicit TempFile(const gguf::Bytes & content) : TempFile() { write(content); }
    TempFile() {
        static int count = 0;
        // In memory where that is easy to have: fuzzers write a hundred thousand of them.
        const std::filesystem::path shm = "/dev/shm";
        const std::filesystem::path folder = std::filesystem::is_directory(shm) ? shm : std::filesystem::temp_directory_path();
        path_ = (folder / ("moshi-test-" + std::to_string(MOSHI_TEST_PID()) + "-" + std::to_string(count++) + ".gguf")).string();
    }
    ~TempFile() { std::remove(path_.c_str()); }
    TempFile(const TempFile &) = delete;
    TempFile & operator=(const TempFile &) = delete;

    void write(const gguf::Bytes & content) {
        std::remove(path_.c_str()); // a new file: the old one may still be mapped
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char *>(content.data()), static_cast<std::streamsize>(content.size()));
    }
    const std::string & path() const { return path_; }
    const char * c_str() const { return path_.c_str(); }

private:
    std::string path_;
};
