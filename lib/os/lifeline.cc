// SPDX-License-Identifier: Apache-2.0

#include "os/lifeline.h"

#include <poll.h>

#include <utility>

#include "os/calls.h"
#include "os/memory.h"
#include "os/pipe.h"
#include "os/process.h"

namespace alertpipe::os {

absl::StatusOr<Lifeline> Lifeline::Create(const Kernel& kernel) {
  Lifeline lifeline;
  lifeline.master_ = calls().getpid();
  if (kernel.pidfd) {
    absl::StatusOr<UniqueFd> self = OpenPidfd(lifeline.master_);
    if (self.ok()) {
      lifeline.fd_ = *std::move(self);
      lifeline.by_pidfd_ = true;
      return lifeline;
    }
  }
  // Nothing is ever written to it, so one page is enough and spares the user's pipe allowance.
  absl::StatusOr<Pipe> pipe = CreatePipe(PageBytes());
  if (!pipe.ok()) return pipe.status();
  lifeline.fd_ = std::move(pipe->read);
  lifeline.write_ = std::move(pipe->write);
  return lifeline;
}

void Lifeline::EnterChild(Descent descent) noexcept {
  write_.reset();
  const pid_t self = calls().getpid();
  if (self == master_) return;
  // A master that died before this line looks like a stranger, which is why kDirect exists.
  if (descent == Descent::kDirect || calls().getppid() == master_) direct_child_ = self;
}

bool Lifeline::MasterGone() const noexcept {
  // A plain fork() of this worker inherits the object, but its parent is the worker.
  const bool asks_parent = direct_child_ != 0 && calls().getpid() == direct_child_;
  if (!by_pidfd_ && asks_parent) return calls().getppid() != master_;
  pollfd polled = {fd_.get(), POLLIN, 0};
  // A dead process makes its pidfd readable; a pipe without writer hangs up, while bytes in it
  // prove nothing.
  const int meaning = by_pidfd_ ? POLLIN | POLLHUP : POLLHUP;
  const int count = calls().poll(&polled, 1, 0);
  if (count > 0 && (polled.revents & meaning) != 0) return true;
  // A pidfd is believed, unless it could not be asked.
  return count < 0 && asks_parent && calls().getppid() != master_;
}

}  // namespace alertpipe::os
