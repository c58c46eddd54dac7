// SPDX-License-Identifier: Apache-2.0
//
// Anonymous pipes, and reads and writes of them that do not block.
//
// O_NONBLOCK is no property of a descriptor: it lives in the open file description that master,
// workers and everything they fork share, so that any relative (a `cat` run from a worker) may
// clear it for the whole family. There are three lines of defence, best first:
//   1. RWF_NOWAIT on every call (Kernel::nowait): the shared flag does not matter at all. PipeIo
//      does this.
//   2. MakePrivate: a description that this process shares with nobody but its own later children.
//   3. RestoreNonBlocking before each call: what is left is the window between the check and the
//      call, in which one call may block until its pipe moves; that is the residual risk where 1
//      and 2 are missing.

#ifndef ALERTPIPE_OS_PIPE_H_
#define ALERTPIPE_OS_PIPE_H_

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "os/calls.h"
#include "os/kernel.h"
#include "os/unique_fd.h"

namespace alertpipe::os {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  size_t capacity = 0;  // bytes, as the kernel granted them; it counts pages, not bytes
};

// Creates a pipe with O_CLOEXEC and O_NONBLOCK on both ends. `capacity_wanted` is in bytes, 0 for
// the system's default; the kernel rounds up to a power of two of pages. When the user may not have
// that much (fs.pipe-max-size, fs.pipe-user-pages-soft) or memory is short, that is no error: look
// at `capacity`.
//   InvalidArgument    `capacity_wanted` is over 2 GiB
//   ResourceExhausted  no free descriptors in the process or the system, no memory
absl::StatusOr<Pipe> CreatePipe(size_t capacity_wanted);

// Replaces `fd`, an end of a pipe, by a descriptor of the same pipe with an open file description
// of its own and O_NONBLOCK set. `access` is O_RDONLY or O_WRONLY. A child that is forked later
// shares the new description in turn, so a worker calls this after its own fork, and before it
// drops privileges: the pipe belongs to the user that created it. On error `fd` is unchanged and
// still usable, with defence 3 only:
//   NotFound           /proc is not mounted
//   PermissionDenied   another user, or a process that is not dumpable
//   ResourceExhausted  no free descriptor
// Any other failure of open is reported with its own code. The number of the descriptor changes.
absl::Status MakePrivate(UniqueFd& fd, int access);

// Sets O_NONBLOCK again if somebody cleared it. True if it had been cleared (worth counting). One
// system call when all is well, never fails: a descriptor that fcntl refuses is left to the next
// read or write.
bool RestoreNonBlocking(int fd) noexcept;

// Whether nobody has the other end of a pipe open of which `fd` is the end for writing: its reader
// is dead, unless it closed the end or never had it. Does not block.
bool HasNoReader(int fd) noexcept;

// The outcome of one read or write. `error` is 0 or an errno value; with an error `bytes` is 0. End
// of file is {0, 0}; a pipe that is empty or full is {0, EAGAIN}; a pipe without reader is {0,
// EPIPE}.
struct IoResult {
  size_t bytes = 0;
  int error = 0;
};

// Reads and writes pipes with one system call each (again only after EINTR) and without allocation.
// A small value: copy it. Thread-safe. Without Kernel::nosignal a write to a pipe without reader
// raises SIGPIPE; see SigpipeIgnore.
class PipeIo {
 public:
  // Plain reads and writes, as on a kernel without any of the features.
  PipeIo() noexcept = default;
  explicit PipeIo(const Kernel& kernel) noexcept
      : read_flags_(kernel.nowait ? kRwfNowait : 0),
        write_flags_(read_flags_ | (kernel.nosignal ? kRwfNosignal : 0)) {}

  // Reads at most `size` bytes into `data`, which should be prefaulted memory of the library: a
  // short read proves that the pipe was empty only when no page of the destination had to be
  // faulted in.
  IoResult Read(int fd, void* data, size_t size) const noexcept {
    const iovec part = {data, size};
    ssize_t bytes;
    do {
      bytes = calls().preadv2(fd, &part, 1, -1, read_flags_);
    } while (bytes < 0 && errno == EINTR);
    return Result(bytes);
  }

  // Writes `count` (1 to IOV_MAX) parts. A total of at most PIPE_BUF bytes goes out whole or not at
  // all.
  IoResult Write(int fd, const iovec* parts, int count) const noexcept {
    ssize_t bytes;
    do {
      bytes = calls().pwritev2(fd, parts, count, -1, write_flags_);
    } while (bytes < 0 && errno == EINTR);
    return Result(bytes);
  }

 private:
  static IoResult Result(ssize_t bytes) noexcept {
    if (bytes < 0) return {0, errno};
    return {static_cast<size_t>(bytes), 0};
  }

  int read_flags_ = 0;
  int write_flags_ = 0;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_PIPE_H_
