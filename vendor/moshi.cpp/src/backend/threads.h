#pragma once

namespace moshi {

// Physical cores available to this process: the affinity mask without hyper-thread siblings, no more than the cgroup's
// CPU quota. A thread more than that makes ggml's spinning workers wait for the scheduler, frame after frame.
int default_threads();

} // namespace moshi
