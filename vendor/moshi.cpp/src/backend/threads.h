#pragma once

namespace moshi {

// Physical cores available to this process: the affinity mask without hyper-thread siblings, no more than the cgroup's
// CPU quota. A thread more than that makes ggml's spinning workers wait for the scheduler, frame after frame.
int default_threads();

// `asked`, or the default for 0. Throws Error(MOSHI_ERROR_ARGUMENT) for a number that cannot be meant.
int checked_threads(int asked);

} // namespace moshi
