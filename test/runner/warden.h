// SPDX-License-Identifier: Apache-2.0
//
// The warden is the parent of one case process and the subreaper of all that descends from it: a
// process whose parent has died becomes the warden's child, however it was forked. So a child of
// the warden after the case's end is a leftover of exactly this case, also when several cases run
// at once, and the warden may kill its children by pid without a doubt whose they are, since a
// pid stays taken until its parent reaps it. Descendants further away are never signalled; they
// come into reach when their parents are gone.
//
//   supervisor  forks one warden per case, merges verdicts
//     warden    waits, enforces limits, kills and names leftovers, writes the verdict
//       case    exec of the test executable for one case, with the leak checks inside
#ifndef ALERTPIPE_RUNNER_WARDEN_H_
#define ALERTPIPE_RUNNER_WARDEN_H_

#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <vector>

namespace alertpipe::runner {

struct CaseOrder {
  const testing::TestInfo* info = nullptr;
  std::string folder;                // Exists, empty, for this run alone.
  std::vector<std::string> command;  // Arguments of the case process, the executable first.
  double time_limit_seconds = 0;     // For one run of the case.
  double time_scale = 1;
  sigset_t case_signal_mask = {};  // What the case process starts with.
};

// Forks the warden of one case; the caller reaps it. It ends with exit code 0 when the verdict is
// written. SIGTERM ends it together with its case and without a verdict. Returns -1 with errno.
pid_t StartWarden(const CaseOrder& order);

// Blocks the signals that supervisor and warden take synchronously; returns the mask before.
sigset_t BlockRunnerSignals();

// Waits for one of them: SIGCHLD, SIGINT, SIGTERM or SIGHUP.
int WaitForRunnerSignal();

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_WARDEN_H_
