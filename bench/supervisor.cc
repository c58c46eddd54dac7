// SPDX-License-Identifier: Apache-2.0
#include "supervisor.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {
namespace {

constexpr std::int64_t kNsPerSecond = 1000000000;
constexpr useconds_t kPollUs = 1000;

std::int64_t Ns(double seconds) {
  return static_cast<std::int64_t>(seconds * static_cast<double>(kNsPerSecond));
}

sigset_t ChildSignal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  return set;
}

// The child may be orphaned already when it asks to be told.
pid_t parent_pid = 0;

}  // namespace

Supervisor::Supervisor(const Settings& settings, Board* board,
                       std::function<std::vector<Ended>()> reap)
    : settings_(settings), board_(board), reap_(std::move(reap)) {
  const sigset_t set = ChildSignal();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  parent_pid = getpid();
}

Supervisor::~Supervisor() {
  for (const pid_t pid : pids_) {
    if (pid != 0) kill(pid, SIGKILL);
  }
  const std::int64_t deadline_ns = NowNs() + Ns(settings_.patience);
  while (NowNs() < deadline_ns &&
         std::any_of(pids_.begin(), pids_.end(), [](pid_t pid) { return pid != 0; })) {
    Reap().IgnoreError();
    usleep(kPollUs);
  }
}

void Supervisor::DieWithParent() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent_pid) _exit(1);
}

absl::Status Supervisor::Run() {
  if (absl::Status ready = AwaitReady(); !ready.ok()) return ready;
  Window window;
  window.begin_ns = NowNs() + Ns(settings_.warm_up_seconds());
  window.end_ns = window.begin_ns + Ns(settings_.seconds);
  board_->Start(window);
  return AwaitEnd(window.end_ns + Ns(settings_.patience));
}

absl::Status Supervisor::AwaitReady() {
  const std::int64_t deadline_ns = NowNs() + Ns(settings_.patience);
  while (!board_->AllReady()) {
    if (absl::Status alive = Reap(); !alive.ok()) return alive;
    if (NowNs() > deadline_ns) {
      return absl::DeadlineExceededError(
          absl::StrCat("the processes were not ready after ", settings_.patience, " s"));
    }
    usleep(kPollUs);
  }
  return absl::OkStatus();
}

absl::Status Supervisor::AwaitEnd(std::int64_t deadline_ns) {
  const sigset_t set = ChildSignal();
  for (;;) {
    if (absl::Status ended = Reap(); !ended.ok()) return ended;
    const auto left = std::count_if(pids_.begin(), pids_.end(), [](pid_t pid) { return pid != 0; });
    if (left == 0) return absl::OkStatus();
    const std::int64_t rest_ns = deadline_ns - NowNs();
    if (rest_ns <= 0) {
      return absl::DeadlineExceededError(absl::StrCat(left, " processes had not ended ",
                                                      settings_.patience,
                                                      " s after the last alert was due"));
    }
    const timespec wait = {rest_ns / kNsPerSecond, rest_ns % kNsPerSecond};
    sigtimedwait(&set, nullptr, &wait);
  }
}

absl::Status Supervisor::Reap() {
  absl::Status status;
  for (const Ended& ended : reap_()) {
    const int process = ProcessOf(ended.pid);
    if (process < 0) continue;
    pids_[static_cast<std::size_t>(process)] = 0;
    if (ended.signal != 0) {
      status.Update(absl::AbortedError(
          absl::StrCat("process ", process, " was ended by signal ", ended.signal)));
    } else if (ended.exit_code != 0) {
      status.Update(absl::AbortedError(
          absl::StrCat("process ", process, " ended with exit code ", ended.exit_code)));
    }
  }
  return status;
}

int Supervisor::ProcessOf(pid_t pid) const {
  const auto found = std::find(pids_.begin(), pids_.end(), pid);
  return found == pids_.end() ? -1 : static_cast<int>(found - pids_.begin());
}

}  // namespace alertpipe::bench
