// The smallest test runner that names what failed: a test is a function, a program runs a list of them.
#pragma once

#include "api/error.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>

#define CHECK(condition) check::that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(found, expected) check::equal((found), (expected), #found, __FILE__, __LINE__)
// The statement must throw moshi::Error with this status, and all these words must stand in its text.
#define CHECK_FAILS(statement, status, ...) check::fails([&] { statement; }, status, {__VA_ARGS__}, #statement, __FILE__, __LINE__)

namespace check {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] inline void stop(const std::string & text, const char * file, int line) {
    throw Failure(std::string(file) + ":" + std::to_string(line) + ": " + text);
}

inline void that(bool holds, const char * condition, const char * file, int line) {
    if (!holds) {
        stop(std::string("does not hold: ") + condition, file, line);
    }
}

template <typename A, typename B> void equal(const A & found, const B & expected, const char * what, const char * file, int line) {
    if (!(found == static_cast<A>(expected))) {
        std::ostringstream text;
        text << what << " is " << found << "; expected " << expected;
        stop(text.str(), file, line);
    }
}

inline void fails(const std::function<void()> & body, moshi_status status, std::initializer_list<std::string> words, const char * what,
                  const char * file, int line) {
    try {
        body();
    } catch (const moshi::Error & e) {
        const std::string text = e.what();
        if (e.status() != status) {
            stop(std::string(what) + " failed with status " + std::to_string(e.status()) + ": " + text, file, line);
        }
        for (const std::string & word : words) {
            if (text.find(word) == std::string::npos) {
                stop(std::string(what) + ": \"" + word + "\" does not stand in \"" + text + "\"", file, line);
            }
        }
        return;
    }
    stop(std::string(what) + " succeeded; expected status " + std::to_string(status), file, line);
}

struct Test {
    const char * promise;
    void (*body)();
};

// Runs all, reports the ones that failed; what main() returns.
inline int run(std::initializer_list<Test> tests) {
    int failed = 0;
    for (const Test & test : tests) {
        try {
            test.body();
        } catch (const std::exception & e) {
            std::printf("FAILED %s\n  %s\n", test.promise, e.what());
            ++failed;
        }
    }
    std::printf("%d of %zu promises kept\n", static_cast<int>(tests.size()) - failed, tests.size());
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace check
