// SPDX-License-Identifier: Apache-2.0
//
// The processes of a family that no library starts: forked, and reaped without blocking.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_CHILDREN_H_
#define ALERTPIPE_BENCH_TRANSPORTS_CHILDREN_H_

#include <sys/types.h>

#include <functional>
#include <vector>

#include <absl/status/statusor.h>

#include "link.h"

namespace alertpipe::bench {

class Children {
 public:
  // Runs `main` in a new process, which ends with the exit code that it returns.
  absl::StatusOr<pid_t> Fork(const std::function<int()>& main);
  // Those that have ended since.
  std::vector<Ended> Reap();

 private:
  std::vector<pid_t> pids_;  // 0 once it has ended
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_CHILDREN_H_
