// SPDX-License-Identifier: Apache-2.0
#include "transports/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {

absl::StatusOr<RawPipe> OpenPipe(std::size_t capacity) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  RawPipe pipe{fds[0], fds[1], 0};
  if (capacity != 0 && fcntl(pipe.write_fd, F_SETPIPE_SZ, static_cast<int>(capacity)) < 0) {
    const int error = errno;
    ClosePipe(pipe);
    return absl::ErrnoToStatus(error, absl::StrCat("a pipe of ", capacity, " bytes"));
  }
  pipe.capacity = static_cast<std::size_t>(fcntl(pipe.write_fd, F_GETPIPE_SZ));
  return pipe;
}

void ClosePipe(const RawPipe& pipe) {
  close(pipe.read_fd);
  close(pipe.write_fd);
}

absl::StatusOr<std::size_t> GrantedCapacity(std::size_t capacity) {
  const absl::StatusOr<RawPipe> pipe = OpenPipe(capacity);
  if (!pipe.ok()) return pipe.status();
  ClosePipe(*pipe);
  return pipe->capacity;
}

}  // namespace alertpipe::bench
