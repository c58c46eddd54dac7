// SPDX-License-Identifier: Apache-2.0
//
// One owner for one descriptor. A forked child inherits a copy of the object together with a copy
// of the descriptor: destroying the child's copy closes the child's descriptor only.

#ifndef ALERTPIPE_OS_UNIQUE_FD_H_
#define ALERTPIPE_OS_UNIQUE_FD_H_

#include <cerrno>

#include "os/calls.h"

namespace alertpipe::os {

// Move-only. Holds a descriptor that it closes exactly once, or nothing (-1). Not thread-safe.
// Closing preserves errno, so that error paths may let a UniqueFd go before they look at it.
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  // Takes ownership of `fd`; a negative number means nothing.
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  // The descriptor, still owned here; negative when there is none.
  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }

  // Gives the descriptor, and the duty to close it, to the caller.
  [[nodiscard]] int release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

  // Closes what is held, then takes ownership of `fd`.
  void reset(int fd = -1) noexcept {
    const int old = fd_;
    fd_ = fd;
    if (old < 0) return;
    const int error = errno;
    // Linux frees the number even when close reports an error, EINTR included; a second try could
    // close somebody else's new descriptor.
    calls().close(old);
    errno = error;
  }

 private:
  int fd_ = -1;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_UNIQUE_FD_H_
