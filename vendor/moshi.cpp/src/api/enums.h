// Enums that callers fill: any int may stand in them, and to load an int that is none of an enum's values is undefined.
#pragma once

#include <cstring>

namespace moshi {

template <typename Enum> int number_in(const Enum & e) {
    static_assert(sizeof(Enum) == sizeof(int), "C's enums are ints");
    int n;
    std::memcpy(&n, &e, sizeof(n));
    return n;
}

} // namespace moshi
