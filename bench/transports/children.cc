// SPDX-License-Identifier: Apache-2.0
#include "transports/children.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace alertpipe::bench {

absl::StatusOr<pid_t> Children::Fork(const std::function<int()>& main) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
  if (pid > 0) {
    pids_.push_back(pid);
    return pid;
  }
  const int exit_code = main();
  std::fflush(nullptr);
  _exit(exit_code);
}

std::vector<Ended> Children::Reap() {
  std::vector<Ended> ended;
  for (pid_t& pid : pids_) {
    int status = 0;
    if (pid == 0 || waitpid(pid, &status, WNOHANG) != pid) continue;
    ended.push_back({pid, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                     WIFSIGNALED(status) ? WTERMSIG(status) : 0});
    pid = 0;
  }
  return ended;
}

}  // namespace alertpipe::bench
