#include "backend/loading.h"

#include "api/error.h"
#include "api/log.h"
#include "backend/shared_library.h"

#include <algorithm>
#include <map>
#include <vector>

namespace moshi {

#ifdef GGML_BACKEND_DL

namespace {

namespace fs = std::filesystem;

#ifdef _WIN32
constexpr const char *kPrefix = "ggml-", *kSuffix = ".dll";
#else
constexpr const char *kPrefix = "libggml-", *kSuffix = ".so"; // on macOS, too: ggml's modules are no .dylib
#endif
constexpr const char * kCpu = "cpu";

// What lies in a file libggml-FAMILY-VARIANT.so, or libggml-FAMILY.so.
struct Candidate {
    fs::path path;
    std::string family, variant;
    SharedLibrary library;
    int score; // ggml's: the higher the better, 0 if this machine cannot run it
};

int score_of(const SharedLibrary & library) {
    if (!library.find<void *>("ggml_backend_init")) {
        return 0;
    }
    const auto ask = library.find<int (*)()>("ggml_backend_score");
    return ask ? ask() : 1;
}

// The best first.
std::vector<Candidate> candidates_in(const fs::path & folder) {
    std::vector<Candidate> found;
    std::error_code unreadable;
    for (const fs::directory_entry & entry : fs::directory_iterator(folder, unreadable)) {
        const std::string prefix = kPrefix, stem = entry.path().stem().string();
        if (stem.compare(0, prefix.size(), prefix) != 0 || entry.path().extension() != kSuffix) {
            continue;
        }
        const std::string name = stem.substr(prefix.size());
        const size_t dash = name.find('-');
        SharedLibrary library(entry.path());
        if (!library) { // of a GPU whose driver is not installed, mostly
            log(MOSHI_LOG_DEBUG, "%s is not used: %s", entry.path().string().c_str(), library.error().c_str());
        }
        const int score = score_of(library);
        found.push_back(
            {entry.path(), name.substr(0, dash), dash == std::string::npos ? "" : name.substr(dash + 1), std::move(library), score});
    }
    std::stable_sort(found.begin(), found.end(), [](const Candidate & a, const Candidate & b) { return a.score > b.score; });
    return found;
}

[[noreturn]] void fail_without_cpu(const fs::path & folder, const std::vector<Candidate> & found) {
    std::string reasons;
    for (const Candidate & c : found) {
        if (c.family == kCpu) {
            const char * why = c.library ? "is not for this processor" : c.library.error().c_str();
            reasons += format("; %s: %s", c.path.filename().string().c_str(), why);
        }
    }
    fail(MOSHI_ERROR_DEVICE, "no library with this processor's code (%s%s*%s) in %s%s; install pymoshi again, or build it on this machine",
         kPrefix, kCpu, kSuffix, folder.string().c_str(), reasons.c_str());
}

// The variants that were loaded, by backend.
std::map<ggml_backend_reg_t, std::string> load_from(const fs::path & folder) {
    std::vector<Candidate> found = candidates_in(folder);
    // The CPU last, as in ggml's own registry: a GPU's place among the devices does not depend on the build.
    std::stable_partition(found.begin(), found.end(), [](const Candidate & c) { return c.family != kCpu; });
    std::map<std::string, ggml_backend_reg_t> loaded;
    std::map<ggml_backend_reg_t, std::string> variants;
    for (const Candidate & c : found) {
        // ggml_backend_load_all_from_path would also load what an environment variable names.
        ggml_backend_reg_t reg = c.score == 0 || loaded.count(c.family) ? nullptr : ggml_backend_load(c.path.string().c_str());
        if (reg) {
            loaded[c.family] = reg;
            variants[reg] = c.variant;
        }
    }
    if (!loaded.count(kCpu)) {
        fail_without_cpu(folder, found);
    }
    return variants;
}

const std::map<ggml_backend_reg_t, std::string> & loaded_variants() {
    static const std::map<ggml_backend_reg_t, std::string> variants = load_from(own_folder());
    return variants;
}

} // namespace

void load_backends() { loaded_variants(); }

std::string variant_of(ggml_backend_reg_t reg) {
    const auto found = loaded_variants().find(reg);
    return found == loaded_variants().end() ? "" : found->second;
}

#else

void load_backends() {}

std::string variant_of(ggml_backend_reg_t) { return ""; }

#endif

} // namespace moshi
