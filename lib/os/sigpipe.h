// SPDX-License-Identifier: Apache-2.0
//
// Keeps SIGPIPE from killing the process on kernels without RWF_NOSIGNAL. The signal gets an empty
// handler rather than SIG_IGN: an ignored signal stays ignored through exec and would break the
// pipelines of programs that the user starts, while a handler goes back to the default there; and a
// handler can be recognised as ours.

#ifndef ALERTPIPE_OS_SIGPIPE_H_
#define ALERTPIPE_OS_SIGPIPE_H_

#include "os/kernel.h"

namespace alertpipe::os {

// While at least one active object lives, a write to a pipe without reader is EPIPE and nothing
// else. Whatever the program has set for SIGPIPE before or sets in between (a handler or SIG_IGN)
// is left alone; SIG_DFL is put back by the last object, if our handler is still in place. Forked
// children inherit object and handler. Signal dispositions belong to the process: create and
// destroy on one thread. Does nothing where `kernel.nosignal` is true.
class SigpipeIgnore {
 public:
  explicit SigpipeIgnore(const Kernel& kernel) noexcept;
  SigpipeIgnore(SigpipeIgnore&& other) noexcept;
  SigpipeIgnore& operator=(SigpipeIgnore&& other) noexcept;
  SigpipeIgnore(const SigpipeIgnore&) = delete;
  SigpipeIgnore& operator=(const SigpipeIgnore&) = delete;
  ~SigpipeIgnore();

  // True if this object is one of those that keep the handler in place.
  bool active() const noexcept { return active_; }

 private:
  void Release() noexcept;

  bool active_ = false;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_SIGPIPE_H_
