// SPDX-License-Identifier: Apache-2.0

#include "os/exit_watch.h"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/errors.h"
#include "os/process.h"

namespace alertpipe::os {

absl::StatusOr<ExitWatch> ExitWatch::Create() {
  // Asked here and not at the first child, so that the owner can decide for SIGCHLD early.
  const absl::StatusOr<UniqueFd> self = OpenPidfd(calls().getpid());
  if (!self.ok()) return self.status();
  UniqueFd epoll(calls().epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "epoll_create1");
  return ExitWatch(std::move(epoll));
}

absl::Status ExitWatch::Add(pid_t pid, uint64_t tag) {
  if (pidfds_.count(tag) != 0) {
    return absl::AlreadyExistsError(absl::StrCat("tag ", tag, " is already watched"));
  }
  absl::StatusOr<UniqueFd> pidfd = OpenPidfd(pid);
  if (!pidfd.ok()) return pidfd.status();
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  if (calls().epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd->get(), &event) != 0) {
    return ErrnoStatus(errno, absl::StrCat("epoll_ctl(EPOLL_CTL_ADD) for process ", pid));
  }
  pidfds_.emplace(tag, *std::move(pidfd));
  return absl::OkStatus();
}

void ExitWatch::Remove(uint64_t tag) noexcept {
  const auto found = pidfds_.find(tag);
  if (found == pidfds_.end()) return;
  // Closing is not enough: while a forked child holds a copy of the pidfd it would stay in the set,
  // and a dead process would be reported for ever under a tag that may have a new owner.
  epoll_event unused = {};
  calls().epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.get(), &unused);
  pidfds_.erase(found);
}

int ExitWatch::Kill(uint64_t tag) noexcept {
  const auto found = pidfds_.find(tag);
  if (found == pidfds_.end()) return ENOENT;
  if (calls().pidfd_send_signal(found->second.get(), SIGKILL, nullptr, 0) == 0 || errno == ESRCH)
    return 0;
  return errno;
}

void ExitWatch::EnterChild(bool keep_fd) noexcept {
  pidfds_.clear();
  if (!keep_fd) epoll_.reset();
}

size_t ExitWatch::Exited(uint64_t* tags, size_t max) noexcept {
  epoll_event events[kExitedMax];
  const int wanted = static_cast<int>(std::min(max, kExitedMax));
  if (wanted == 0) return 0;
  int got;
  do {
    got = calls().epoll_wait(epoll_.get(), events, wanted, 0);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return 0;
  for (int i = 0; i < got; ++i) tags[i] = events[i].data.u64;
  return static_cast<size_t>(got);
}

}  // namespace alertpipe::os
