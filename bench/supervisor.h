// SPDX-License-Identifier: Apache-2.0
//
// Sees to it that a measurement ends: starts all processes at once when all are ready, waits for
// their end, and ends what has not ended in time, by pid. It sleeps while alerts are being counted.
#ifndef ALERTPIPE_BENCH_SUPERVISOR_H_
#define ALERTPIPE_BENCH_SUPERVISOR_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include <absl/status/status.h>

#include "board.h"
#include "link.h"
#include "settings.h"

namespace alertpipe::bench {

class Supervisor {
 public:
  // To be created before the first fork. `reap` says which processes have ended since.
  Supervisor(const Settings& settings, Board* board, std::function<std::vector<Ended>()> reap);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  // Ends what is left.
  ~Supervisor();

  // In a child, first of all.
  static void DieWithParent();

  void Add(pid_t pid) { pids_.push_back(pid); }

  // OK when all processes have ended by themselves, with exit code 0.
  absl::Status Run();

 private:
  absl::Status AwaitReady();
  absl::Status AwaitEnd(std::int64_t deadline_ns);
  absl::Status Reap();
  int ProcessOf(pid_t pid) const;

  const Settings& settings_;
  Board* board_;
  std::function<std::vector<Ended>()> reap_;
  std::vector<pid_t> pids_;  // by process; 0 once it has ended
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_SUPERVISOR_H_
