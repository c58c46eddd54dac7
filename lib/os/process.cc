// SPDX-License-Identifier: Apache-2.0

#include "os/process.h"

#include <sys/wait.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/errors.h"

namespace alertpipe::os {
namespace {

// The calls below take 0 and negative numbers for groups of processes: never what is meant here.
absl::Status CheckPid(pid_t pid) {
  if (pid > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a pid must be positive, was ", pid));
}

enum class ChildState { kNoChild, kRunning, kEnded };

// Asks about child `pid` without reaping it and without blocking.
absl::StatusOr<ChildState> LookAt(pid_t pid) {
  if (absl::Status status = CheckPid(pid); !status.ok()) return status;
  siginfo_t info = {};  // si_pid stays 0 while the child runs
  while (calls().waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
    if (errno == ECHILD) return ChildState::kNoChild;
    if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("waitid(", pid, ")"));
  }
  return info.si_pid == pid ? ChildState::kEnded : ChildState::kRunning;
}

}  // namespace

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  if (absl::Status status = CheckPid(pid); !status.ok()) return status;
  UniqueFd pidfd(calls().pidfd_open(pid, 0));
  if (pidfd.valid()) return pidfd;
  absl::Status status = ErrnoStatus(errno, absl::StrCat("pidfd_open(", pid, ")"));
  // The call has no EPERM of its own; that is a sandbox which does not know it.
  if (errno == EPERM) return absl::UnimplementedError(status.message());
  return status;
}

absl::StatusOr<bool> HasExited(pid_t pid) {
  const absl::StatusOr<ChildState> state = LookAt(pid);
  if (!state.ok()) return state.status();
  return *state != ChildState::kRunning;
}

absl::StatusOr<bool> IsChild(pid_t pid) {
  const absl::StatusOr<ChildState> state = LookAt(pid);
  if (!state.ok()) return state.status();
  return *state != ChildState::kNoChild;
}

ExitStatus DecodeWaitStatus(int wait_status) noexcept {
  ExitStatus result;
  result.known = WIFEXITED(wait_status) || WIFSIGNALED(wait_status);
  if (WIFEXITED(wait_status)) {
    result.code = WEXITSTATUS(wait_status);
  } else if (WIFSIGNALED(wait_status)) {
    result.signal = WTERMSIG(wait_status);
    result.core_dumped = WCOREDUMP(wait_status);
  }
  return result;
}

ExitStatus Reap(pid_t pid) noexcept {
  ExitStatus result;
  if (pid <= 0) return result;
  int status = 0;
  pid_t reaped;
  do {
    reaped = calls().waitpid(pid, &status, WNOHANG);
  } while (reaped < 0 && errno == EINTR);
  return reaped == pid ? DecodeWaitStatus(status) : result;
}

int KillChild(pid_t pid) noexcept {
  const absl::StatusOr<bool> exited = HasExited(pid);
  if (!exited.ok()) return EINVAL;
  if (*exited || calls().kill(pid, SIGKILL) == 0) return 0;
  return errno;
}

ForkResult Fork(const sigset_t& block) noexcept {
  ForkResult result;
  result.error = calls().pthread_sigmask(SIG_BLOCK, &block, &result.mask);
  if (result.error != 0) return result;
  result.pid = calls().fork();
  if (result.pid == 0) return result;
  if (result.pid < 0) result.error = errno;
  RestoreMask(result);
  return result;
}

void RestoreMask(const ForkResult& fork) noexcept {
  calls().pthread_sigmask(SIG_SETMASK, &fork.mask, nullptr);
}

void ResetSignals(const int* signals, size_t count) noexcept {
  SignalAction action = {};
  action.sa_handler = SIG_DFL;
  for (size_t i = 0; i < count; ++i) calls().sigaction(signals[i], &action, nullptr);
}

void MuteSignals(const int* signals, size_t count) noexcept {
  SignalAction action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < count; ++i) calls().sigaction(signals[i], &action, nullptr);
}

sigset_t BlockSignals(const int* signals, size_t count) noexcept {
  sigset_t block;
  sigset_t before;
  sigemptyset(&block);
  sigemptyset(&before);
  for (size_t i = 0; i < count; ++i) sigaddset(&block, signals[i]);
  calls().pthread_sigmask(SIG_BLOCK, &block, &before);
  return before;
}

void SetSignalMask(const sigset_t& mask) noexcept {
  calls().pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

}  // namespace alertpipe::os
