#include "gguf/metadata.h"

#include "api/error.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <locale>
#include <sstream>

namespace moshi {

namespace {

constexpr size_t kMaxTextBytes = 1 << 20; // a config.json has a few KB

bool parse_int(const std::string & s, int64_t & out) {
    if (s.empty()) {
        return false;
    }
    char * end = nullptr;
    errno = 0;
    out = std::strtoll(s.c_str(), &end, 10);
    return errno == 0 && *end == '\0';
}

bool parse_float(const std::string & s, double & out) {
    if (s.empty()) {
        return false;
    }
    std::istringstream in(s); // not strtod: a program may have set a locale whose numbers have commas
    in.imbue(std::locale::classic());
    in >> out;
    return !in.fail() && in.peek() == std::istringstream::traits_type::eof();
}

Metadata::Value parse_scalar(const std::string & s) {
    int64_t i;
    double d;
    if (s == "true" || s == "false") {
        return s == "true";
    }
    if (parse_int(s, i)) {
        return i;
    }
    if (parse_float(s, d)) {
        return d;
    }
    return s;
}

Metadata::Value parse_value(const std::string & s) {
    if (s.find(',') == std::string::npos) {
        return parse_scalar(s);
    }
    std::vector<int64_t> ints;
    std::vector<double> floats;
    std::stringstream items(s);
    std::string item;
    while (std::getline(items, item, ',')) {
        int64_t i;
        double d;
        if (parse_int(item, i)) {
            ints.push_back(i);
        }
        if (!parse_float(item, d)) {
            return s; // a sentence with a comma
        }
        floats.push_back(d);
    }
    if (ints.size() == floats.size()) {
        return ints;
    }
    return floats;
}

struct TextWriter {
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(int64_t i) const { return std::to_string(i); }
    std::string operator()(double d) const {
        std::ostringstream out; // as "%g", but the same in every locale: fingerprints are made of it
        out.imbue(std::locale::classic());
        out << d;
        return out.str();
    }
    std::string operator()(const std::string & s) const { return s; }
    template <typename T> std::string operator()(const std::vector<T> & v) const {
        constexpr size_t kShown = 32;
        std::string out = "[";
        for (size_t i = 0; i < v.size() && i < kShown; ++i) {
            out += (i ? ", " : "") + (*this)(v[i]);
        }
        return out + (v.size() > kShown ? format(", ... %zu in all]", v.size()) : "]");
    }
};

} // namespace

void Metadata::add_lines(const std::string & text, const std::string & origin) {
    if (text.size() > kMaxTextBytes) {
        fail(MOSHI_ERROR_FORMAT, "%s: %zu bytes of metadata; at most %zu are accepted", origin.c_str(), text.size(), kMaxTextBytes);
    }
    std::stringstream lines(text);
    std::string line;
    size_t number = 0;
    while (std::getline(lines, line)) {
        ++number;
        if (line.empty()) {
            continue;
        }
        const size_t eq = line.find('=');
        if (eq == std::string::npos || eq == 0) {
            fail(MOSHI_ERROR_FORMAT, "%s: line %zu of the metadata is \"%.60s\"; expected key=value", origin.c_str(), number, line.c_str());
        }
        values_.emplace(line.substr(0, eq), parse_value(line.substr(eq + 1)));
    }
}

bool Metadata::empty_below(const std::string & prefix) const {
    const auto it = values_.lower_bound(prefix);
    return it == values_.end() || it->first.compare(0, prefix.size(), prefix) != 0;
}

const Metadata::Value * Metadata::find(const std::string & key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second;
}

int64_t Metadata::int_in(const std::string & key, const Value & value, int64_t low, int64_t high) const {
    int64_t v = 0;
    if (const auto * i = std::get_if<int64_t>(&value)) {
        v = *i;
    } else if (const auto * d = std::get_if<double>(&value); d && std::nearbyint(*d) == *d && std::fabs(*d) < 1e15) {
        v = static_cast<int64_t>(*d); // "max_period": 10000.0
    } else {
        fail(MOSHI_ERROR_FORMAT, "%s: %s is %s (%s); expected an integer", source_.c_str(), key.c_str(), text(value).c_str(),
             type_name(value).c_str());
    }
    if (v < low || v > high) {
        fail(MOSHI_ERROR_FORMAT, "%s: %s is %lld; expected %lld to %lld", source_.c_str(), key.c_str(), (long long) v, (long long) low,
             (long long) high);
    }
    return v;
}

int64_t Metadata::require_int(const std::string & key, int64_t low, int64_t high) const {
    const Value * value = find(key);
    if (!value) {
        fail(MOSHI_ERROR_FORMAT, "%s: %s is missing; expected it in the file's metadata or in the config.json beside it", source_.c_str(),
             key.c_str());
    }
    return int_in(key, *value, low, high);
}

int64_t Metadata::get_int(const std::string & key, int64_t fallback, int64_t low, int64_t high) const {
    const Value * value = find(key);
    return value ? int_in(key, *value, low, high) : fallback;
}

double Metadata::get_float(const std::string & key, double fallback, double low, double high) const {
    const Value * value = find(key);
    if (!value) {
        return fallback;
    }
    double v = 0;
    if (const auto * i = std::get_if<int64_t>(value)) {
        v = static_cast<double>(*i);
    } else if (const auto * d = std::get_if<double>(value)) {
        v = *d;
    } else {
        fail(MOSHI_ERROR_FORMAT, "%s: %s is %s (%s); expected a number", source_.c_str(), key.c_str(), text(*value).c_str(),
             type_name(*value).c_str());
    }
    if (!(v >= low && v <= high)) { // NaN fails too
        fail(MOSHI_ERROR_FORMAT, "%s: %s is %g; expected %g to %g", source_.c_str(), key.c_str(), v, low, high);
    }
    return v;
}

bool Metadata::get_bool(const std::string & key, bool fallback) const {
    const Value * value = find(key);
    if (!value) {
        return fallback;
    }
    if (const auto * b = std::get_if<bool>(value)) {
        return *b;
    }
    fail(MOSHI_ERROR_FORMAT, "%s: %s is %s (%s); expected true or false", source_.c_str(), key.c_str(), text(*value).c_str(),
         type_name(*value).c_str());
}

std::string Metadata::get_string(const std::string & key, const std::string & fallback) const {
    const Value * value = find(key);
    if (!value) {
        return fallback;
    }
    if (const auto * s = std::get_if<std::string>(value)) {
        return *s;
    }
    fail(MOSHI_ERROR_FORMAT, "%s: %s is %s (%s); expected text", source_.c_str(), key.c_str(), text(*value).c_str(),
         type_name(*value).c_str());
}

std::vector<int64_t> Metadata::get_ints(const std::string & key, std::vector<int64_t> fallback, int64_t low, int64_t high,
                                        size_t max_count) const {
    const Value * value = find(key);
    if (!value) {
        return fallback;
    }
    std::vector<int64_t> out;
    if (const auto * ints = std::get_if<std::vector<int64_t>>(value)) {
        out = *ints;
    } else if (const auto * one = std::get_if<int64_t>(value)) {
        out = {*one}; // a text line with a single number
    } else {
        fail(MOSHI_ERROR_FORMAT, "%s: %s is %s (%s); expected a list of integers", source_.c_str(), key.c_str(), text(*value).c_str(),
             type_name(*value).c_str());
    }
    if (out.size() > max_count) {
        fail(MOSHI_ERROR_FORMAT, "%s: %s has %zu entries; expected at most %zu", source_.c_str(), key.c_str(), out.size(), max_count);
    }
    for (const int64_t v : out) {
        if (v < low || v > high) {
            fail(MOSHI_ERROR_FORMAT, "%s: %s contains %lld; expected %lld to %lld", source_.c_str(), key.c_str(), (long long) v,
                 (long long) low, (long long) high);
        }
    }
    return out;
}

std::string Metadata::type_name(const Value & value) {
    static const char * const names[] = {"bool", "int", "float", "string", "int[]", "float[]", "string[]"};
    return names[value.index()];
}

std::string Metadata::text(const Value & value) { return std::visit(TextWriter{}, value); }

} // namespace moshi
