// SPDX-License-Identifier: Apache-2.0

#include "os/pipe.h"

#include <fcntl.h>

#include <climits>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "os/errors.h"

namespace alertpipe::os {

absl::StatusOr<Pipe> CreatePipe(size_t capacity_wanted) {
  if (capacity_wanted > INT_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("pipe capacity cannot exceed ", INT_MAX, " bytes, was ", capacity_wanted));
  }
  int fds[2];
  if (calls().pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoStatus(errno, "pipe2");
  Pipe pipe;
  pipe.read.reset(fds[0]);
  pipe.write.reset(fds[1]);
  if (capacity_wanted != 0 &&
      calls().fcntl(pipe.write.get(), F_SETPIPE_SZ, static_cast<int>(capacity_wanted)) < 0 &&
      errno != EPERM && errno != ENOMEM) {
    return ErrnoStatus(errno, absl::StrCat("fcntl(F_SETPIPE_SZ, ", capacity_wanted, ")"));
  }
  // Asked even without a wish: a user with many pipes silently gets smaller ones.
  const int granted = calls().fcntl(pipe.write.get(), F_GETPIPE_SZ, 0);
  if (granted < 0) return ErrnoStatus(errno, "fcntl(F_GETPIPE_SZ)");
  pipe.capacity = static_cast<size_t>(granted);
  return pipe;
}

absl::Status MakePrivate(UniqueFd& fd, int access) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd.get());
  // Does not wait for the other end: it is open, if not here then at a relative, or it is dead.
  const int own = calls().open(path, access | O_NONBLOCK | O_CLOEXEC);
  if (own < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  fd.reset(own);
  return absl::OkStatus();
}

bool RestoreNonBlocking(int fd) noexcept {
  const int flags = calls().fcntl(fd, F_GETFL, 0);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return false;
  calls().fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  return true;
}

bool HasNoReader(int fd) noexcept {
  pollfd end = {fd, 0, 0};
  return calls().poll(&end, 1, 0) == 1 && (end.revents & POLLERR) != 0;
}

}  // namespace alertpipe::os
