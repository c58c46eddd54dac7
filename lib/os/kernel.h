// SPDX-License-Identifier: Apache-2.0
//
// What the running kernel can do, measured on real pipes instead of read off a version number:
// kernels are patched backwards, and sandboxes, emulators and valgrind answer for the kernel
// without having its features.

#ifndef ALERTPIPE_OS_KERNEL_H_
#define ALERTPIPE_OS_KERNEL_H_

#include "absl/status/statusor.h"

namespace alertpipe::os {

// Flags of preadv2 and pwritev2 that older system headers do not name.
inline constexpr int kRwfNowait = 0x00000008;
inline constexpr int kRwfNosignal = 0x00000100;

// Each field is true only where the kernel has shown it. All false is the slowest mode, and a
// correct one.
struct Kernel {
  // RWF_NOWAIT on a pipe does what O_NONBLOCK does, also when a relative has cleared O_NONBLOCK.
  bool nowait = false;
  // RWF_NOSIGNAL is accepted on a pipe: no SIGPIPE, just EPIPE.
  bool nosignal = false;
  // One write of several packets of exactly 4096 bytes is cut between packets only.
  bool runs = false;
  // pidfd_open works, and what it returns can be polled.
  bool pidfd = false;
  // MADV_WIPEONFORK works.
  bool wipe_on_fork = false;
};

// Measures. Takes well under a millisecond, cannot block, and leaves no descriptor, mapping or
// signal behind, whatever fails. A missing feature is a false field; an error means that the
// measurement itself could not be made:
//   ResourceExhausted  no descriptor or memory for the pipe to measure with
//   other codes        pipe2 or fcntl failed in an unexpected way (the text says how)
// Call it before the first fork; the answer is valid for all descendants.
absl::StatusOr<Kernel> ProbeKernel();

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_KERNEL_H_
