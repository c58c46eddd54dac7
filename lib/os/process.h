// SPDX-License-Identifier: Apache-2.0
//
// Forking and reaping. Learning of a death and reaping are two steps on purpose: as long as the
// child is a zombie its pid cannot be given to anybody else, and the slot has to go down in
// between.

#ifndef ALERTPIPE_OS_PROCESS_H_
#define ALERTPIPE_OS_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <cstddef>

#include "absl/status/statusor.h"
#include "os/unique_fd.h"

namespace alertpipe::os {

// A descriptor (close-on-exec) that becomes readable when process `pid` ends. Safe from reuse of
// the number only for an own child that is not reaped yet, or for oneself.
//   Unimplemented      the kernel, valgrind or a sandbox knows no pidfd_open
//   NotFound           there is no such process
//   InvalidArgument    `pid` is not positive
//   ResourceExhausted  no descriptor, no memory
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);

// How a process ended. `known` is false when somebody else has reaped it, or the system does so on
// its own (SIGCHLD ignored); all else is zero then.
struct ExitStatus {
  bool known = false;
  int code = 0;    // what it gave to exit; 0 if a signal ended it
  int signal = 0;  // the signal that ended it, or 0
  bool core_dumped = false;
};

// Whether child `pid` has ended, without reaping it and without blocking. A process that is no
// child (any more) was reaped by somebody else: true.
//   InvalidArgument    `pid` is not positive
absl::StatusOr<bool> HasExited(pid_t pid);

// Whether `pid` is a child of this process that has not been reaped, running or not. Does not
// block.
//   InvalidArgument    `pid` is not positive
absl::StatusOr<bool> IsChild(pid_t pid);

// What waitpid() has stored about a process that has ended. Unknown if it says that the process was
// stopped or continued.
ExitStatus DecodeWaitStatus(int wait_status) noexcept;

// Reaps child `pid`, of which HasExited() has said true; never any other child, never blocks.
// Unknown if somebody else was faster, if `pid` is not positive, or if the child is still running
// (it then stays a child).
ExitStatus Reap(pid_t pid) noexcept;

// Sends SIGKILL to child `pid`. Returns 0, also when it has ended or been reaped (then nothing is
// sent), or errno: EINVAL when `pid` is not positive, EPERM when the child belongs to another user
// by now. Another thread that reaps it at the same moment can make its number somebody else's;
// ExitWatch::Kill has no such gap.
int KillChild(pid_t pid) noexcept;

struct ForkResult {
  pid_t pid = -1;      // the child in the parent, 0 in the child, -1 if there is none
  int error = 0;       // errno of the failed step if pid is -1
  sigset_t mask = {};  // the caller's signal mask of before, for RestoreMask() in the child
};

// Forks the calling thread. The signals of `block` are blocked around it, so that no handler of the
// parent runs in the child before the child is ready. The parent's mask is as before on return,
// also after a failure. The child returns with them still blocked and calls RestoreMask() when its
// handlers are in order.
ForkResult Fork(const sigset_t& block) noexcept;

// In the child: puts back the mask that the parent had before Fork().
void RestoreMask(const ForkResult& fork) noexcept;

// Sets `count` signals to SIG_DFL, for a child that must not run its parent's handlers. Numbers
// that cannot be set (SIGKILL, SIGSTOP, out of range) are passed over.
void ResetSignals(const int* signals, size_t count) noexcept;

// Gives `count` signals a handler that does nothing. Unlike SIG_IGN it is not inherited through
// exec, and interrupted calls are restarted. Numbers that cannot be set are passed over.
void MuteSignals(const int* signals, size_t count) noexcept;

// Blocks `count` signals for the calling thread; returns its mask of before, for SetSignalMask().
sigset_t BlockSignals(const int* signals, size_t count) noexcept;
void SetSignalMask(const sigset_t& mask) noexcept;

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_PROCESS_H_
