// SPDX-License-Identifier: Apache-2.0
//
// How a worker learns that its master is dead. The master opens a pidfd on itself and all
// descendants inherit it: it tells the truth whoever else holds a copy. Where there are no pidfds,
// a direct child asks getppid(), which tells the truth as well, but only on asking; so that it asks
// at once and not only now and then, the master alone keeps the write end of a pipe. Its end of
// file is a hint and no more: it comes a moment before the parent changes, late when some process
// that the master started, and that is no worker, holds a copy, and too early when the master
// destroys its Lifeline and lives on.

#ifndef ALERTPIPE_OS_LIFELINE_H_
#define ALERTPIPE_OS_LIFELINE_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "os/kernel.h"
#include "os/unique_fd.h"

namespace alertpipe::os {

// Move-only, not thread-safe. Created by the master before its first fork and inherited by the
// workers.
class Lifeline {
 public:
  // Who forked the worker that calls EnterChild().
  enum class Descent {
    kUnknown,  // perhaps not the master itself; a parent that is not the master proves nothing
    kDirect,   // the master itself; a parent that is not the master proves that the master is dead
  };

  // The calling process is the master. If pidfd_open fails though `kernel.pidfd` is true, the pipe
  // is used.
  //   ResourceExhausted  no descriptor, no memory
  static absl::StatusOr<Lifeline> Create(const Kernel& kernel);

  Lifeline(Lifeline&&) noexcept = default;
  Lifeline& operator=(Lifeline&&) noexcept = default;

  // In a worker, once, soon after its fork: gives up the master's end. Every process that the
  // master forks has to do this (or exec), else it hides the master's death from workers that rely
  // on end of file.
  void EnterChild(Descent descent = Descent::kUnknown) noexcept;

  // To be polled for readability or hang-up; either means: ask MasterGone(). Owned here. Without
  // pidfds it may stay silent while a stranger holds the other end, or be readable for good while
  // the master lives: so a worker also asks MasterGone() every second or so, and polls until it is
  // readable and no longer.
  int fd() const noexcept { return fd_.get(); }

  // Asks the kernel, without blocking. Always false in the master, and final once true. Without
  // pidfds a worker that was forked twice (its parent is not the master) relies on end of file
  // alone, and so does a plain fork() of a worker: to these a master that has destroyed its
  // Lifeline is gone.
  bool MasterGone() const noexcept;

  // True if this rests on a pidfd, false if on the pipe.
  bool by_pidfd() const noexcept { return by_pidfd_; }

 private:
  Lifeline() = default;

  UniqueFd fd_;     // the pidfd, or the pipe's read end
  UniqueFd write_;  // the pipe's write end, in the master only
  pid_t master_ = 0;
  pid_t direct_child_ = 0;  // the process whose getppid() is to be trusted, or 0
  bool by_pidfd_ = false;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_LIFELINE_H_
