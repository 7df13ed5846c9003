#include "backend/threads.h"

#include "api/error.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace moshi {

#if defined(__linux__)

namespace {

int physical_cores_in_affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 0;
    }
    std::set<std::string> cores; // siblings share one list
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &set)) {
            continue;
        }
        std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
        std::string siblings;
        if (!std::getline(file, siblings)) {
            siblings = "cpu" + std::to_string(cpu);
        }
        cores.insert(siblings);
    }
    return static_cast<int>(cores.size());
}

// CPUs' worth of time per period that the cgroup grants (v2, then v1); 0 if unlimited.
double cgroup_quota() {
    std::ifstream v2("/sys/fs/cgroup/cpu.max");
    std::string quota;
    double period = 0;
    if (v2 >> quota >> period) {
        return quota == "max" || period <= 0 ? 0 : std::atof(quota.c_str()) / period;
    }
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    double us = 0;
    return q >> us && p >> period && us > 0 && period > 0 ? us / period : 0;
}

} // namespace

int default_threads() {
    int n = physical_cores_in_affinity();
    if (n == 0) {
        n = static_cast<int>(std::thread::hardware_concurrency());
    }
    if (const double quota = cgroup_quota(); quota > 0) {
        n = std::min(n, static_cast<int>(std::ceil(quota)));
    }
    return std::max(1, n);
}

#elif defined(__APPLE__)

int default_threads() {
    int n = 0;
    size_t size = sizeof(n);
    if (sysctlbyname("hw.perflevel0.physicalcpu", &n, &size, nullptr, 0) != 0 &&
        sysctlbyname("hw.physicalcpu", &n, &size, nullptr, 0) != 0) {
        n = static_cast<int>(std::thread::hardware_concurrency());
    }
    return std::max(1, n);
}

#else

int default_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2); }

#endif

int checked_threads(int asked) {
    constexpr int kMost = 512;
    if (asked < 0 || asked > kMost) {
        fail(MOSHI_ERROR_ARGUMENT, "%d threads; expected 1 to %d, or 0 for the default", asked, kMost);
    }
    return asked > 0 ? asked : default_threads();
}

} // namespace moshi
