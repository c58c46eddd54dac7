// SPDX-License-Identifier: Apache-2.0
//
// Who is whose child, read from /proc. /proc/PID/task/*/children would be shorter, but kernels
// without CONFIG_PROC_CHILDREN lack it, so the parent in each /proc/PID/stat is compared.
#ifndef ALERTPIPE_RUNNER_PROCESSES_H_
#define ALERTPIPE_RUNNER_PROCESSES_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace alertpipe::runner {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = '?';     // As in /proc/PID/stat: R, S, D, T, Z, ...
  bool ending = false;  // A zombie, on its way out, or with a SIGKILL that it cannot refuse.
  std::string command;  // The command line, or [name] where there is none.
};

// Direct children and all descendants of `root`, without `root`. A snapshot: what it names may
// have ended since, but a direct child of the caller keeps its pid until the caller reaps it.
std::vector<Process> ListChildren(pid_t root);
std::vector<Process> ListDescendants(pid_t root);

// "pid 17 (state S): sleep 100".
std::string Describe(const Process& process);

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_PROCESSES_H_
