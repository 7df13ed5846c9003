// Key-value pairs of a model: from the GGUF file, or from text lines for files that hold none.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace moshi {

class Metadata {
public:
    using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

    explicit Metadata(std::string source = "") : source_(std::move(source)) {}

    // Lines "key=value"; keys already present are kept. `origin` names the text in errors.
    void add_lines(const std::string & text, const std::string & origin);
    void set(const std::string & key, Value value) { values_[key] = std::move(value); }
    bool has(const std::string & key) const { return values_.count(key) != 0; }
    bool empty_below(const std::string & prefix) const;
    const std::map<std::string, Value> & values() const { return values_; }
    const std::string & source() const { return source_; }

    // Typed look-ups. A missing key gives `fallback`, or an error from the require_ forms; a value of another type or
    // outside [low, high] is always an error that names file, key, found and expected.
    int64_t require_int(const std::string & key, int64_t low, int64_t high) const;
    int64_t get_int(const std::string & key, int64_t fallback, int64_t low, int64_t high) const;
    double get_float(const std::string & key, double fallback, double low, double high) const;
    bool get_bool(const std::string & key, bool fallback) const;
    std::string get_string(const std::string & key, const std::string & fallback) const;
    std::vector<int64_t> get_ints(const std::string & key, std::vector<int64_t> fallback, int64_t low, int64_t high,
                                  size_t max_count) const;

    static std::string type_name(const Value & value);
    static std::string text(const Value & value); // arrays shortened

private:
    const Value * find(const std::string & key) const;
    int64_t int_in(const std::string & key, const Value & value, int64_t low, int64_t high) const;

    std::string source_;
    std::map<std::string, Value> values_;
};

} // namespace moshi
