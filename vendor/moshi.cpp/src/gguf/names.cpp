#include "gguf/names.h"

#include "api/error.h"

namespace moshi {

namespace {

uint32_t crc32(const std::string & s) { // the zlib polynomial
    uint32_t crc = 0xffffffffu;
    for (const unsigned char c : s) {
        crc ^= c;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

} // namespace

std::string stored_name(const std::string & name) {
    if (name.size() < GGML_MAX_NAME) {
        return name;
    }
    // Eight characters, of which only the low half of each checksum byte survives: a quirk that files depend on.
    uint32_t crc = crc32(name);
    std::string out;
    for (int i = 0; i < 8; ++i, crc >>= 8) {
        out += "0123456789abcdef"[crc & 0xf];
    }
    return out;
}

std::string find_name(const GgufFile & file, std::initializer_list<std::string> candidates) {
    for (const std::string & name : candidates) {
        if (file.find(stored_name(name))) {
            return stored_name(name);
        }
    }
    const std::string & first = *candidates.begin();
    const std::string stored = stored_name(first);
    fail(MOSHI_ERROR_FORMAT, "%s: tensor %s%s is missing", file.path().c_str(), first.c_str(),
         stored == first ? "" : format(" (stored as \"%s\")", stored.c_str()).c_str());
}

} // namespace moshi
