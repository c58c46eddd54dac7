// SPDX-License-Identifier: Apache-2.0
//
// Tells a process from its forked children without a system call. The owner writes a word into a
// page that the kernel hands to every child as zeroes (MADV_WIPEONFORK), so that a plain fork() in
// user code, of which the library hears nothing, is still noticed at the next use.

#ifndef ALERTPIPE_OS_FORK_GUARD_H_
#define ALERTPIPE_OS_FORK_GUARD_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "os/calls.h"
#include "os/memory.h"

namespace alertpipe::os {

// Move-only. Costs one page of memory. InOwner() may be called from any thread.
class ForkGuard {
 public:
  // The calling process becomes the owner. `wipe_on_fork` is Kernel::wipe_on_fork; where it is
  // false, or madvise refuses after all, InOwner() compares process ids instead: one system call,
  // and blind to a descendant that got the owner's number, be it after the owner's death or in a
  // pid namespace of its own.
  //   ResourceExhausted  no memory
  static absl::StatusOr<ForkGuard> Create(bool wipe_on_fork);

  ForkGuard(ForkGuard&& other) noexcept
      : word_(std::move(other.word_)), owner_(std::exchange(other.owner_, 0)) {}
  ForkGuard& operator=(ForkGuard&& other) noexcept {
    word_ = std::move(other.word_);
    owner_ = std::exchange(other.owner_, 0);
    return *this;
  }

  // True in the process that called Create, and in no other. False in an object that was moved
  // from.
  bool InOwner() const noexcept {
    if (word_.data() != nullptr) {
      return static_cast<const std::atomic<uint32_t>*>(word_.data())
                 ->load(std::memory_order_relaxed) != 0;
    }
    return owner_ != 0 && calls().getpid() == owner_;
  }

 private:
  ForkGuard() = default;

  Mapping word_;     // a page that begins with the word; empty in the fallback
  pid_t owner_ = 0;  // asked in the fallback only; 0 after a move
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_FORK_GUARD_H_
