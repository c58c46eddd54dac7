// SPDX-License-Identifier: Apache-2.0
#include "faults/sites.h"

#include <cerrno>

namespace alertpipe::faults {
namespace {

// In the order of the enumeration. EBADF, EFAULT, EINVAL and the like, which only a wrong argument
// causes, are left out. EINTR is injected a few times in a row where others are injected for good.
std::vector<SiteErrors> MakeTable() {
  return {
      {"pipe2", "pipe(2)", {EMFILE, ENFILE, ENOMEM}},
      {"fcntl F_SETPIPE_SZ", "fcntl(2), pipe(7)", {EPERM, EBUSY, ENOMEM}},
      {"fcntl F_GETPIPE_SZ", "fcntl(2): only seccomp", {EPERM}},
      {"fcntl F_ADD_SEALS", "fcntl(2)", {EPERM, EBUSY, EINVAL}},
      {"fcntl F_GET_SEALS", "fcntl(2): not a memory file", {EINVAL}},
      {"fcntl F_GETFL", "fcntl(2): none for an open descriptor", {}},
      {"fcntl F_SETFL", "fcntl(2): EPERM is for O_APPEND, none for O_NONBLOCK", {}},
      {"fcntl F_GETFD", "fcntl(2): the descriptor is closed", {EBADF}, "is closed"},
      {"open", "open(2)", {EMFILE, EACCES, ENFILE, ENOENT, ENOMEM, EPERM, EINTR}},
      {"close", "close(2); the descriptor is closed all the same", {EINTR, EIO}},
      {"dup3", "dup(2)", {EBUSY, EINTR, EMFILE}},
      {"eventfd", "eventfd(2)", {EMFILE, ENFILE, ENODEV, ENOMEM}},
      {"preadv2", "readv(2), read(2)", {ENOMEM, EAGAIN, EINTR, EIO, EINVAL, EOPNOTSUPP}},
      {"pwritev2",
       "writev(2), write(2), pipe(7); EPIPE is no failure but a death",
       {ENOMEM, EAGAIN, EINTR, EIO, EPERM, EINVAL, EOPNOTSUPP}},
      {"getdents64", "getdents(2)", {ENOENT, EINVAL, EIO}},
      {"readlink", "readlink(2)", {ENOENT, EACCES, EIO, ENOMEM}},
      {"fstat", "stat(2)", {ENOMEM, EOVERFLOW}},
      {"poll", "poll(2)", {ENOMEM, EINTR, EINVAL}},
      {"epoll_create1", "epoll_create(2)", {EMFILE, ENFILE, ENOMEM}},
      {"epoll_ctl ADD", "epoll_ctl(2)", {ENOSPC, ENOMEM, EPERM}},
      {"epoll_ctl DEL", "epoll_ctl(2): only seccomp", {EPERM}},
      {"epoll_wait", "epoll_wait(2)", {EINTR}},
      {"memfd_create", "memfd_create(2)", {EMFILE, ENFILE, ENOMEM, EINVAL, EACCES, ENOSYS, EPERM}},
      {"ftruncate", "truncate(2), fallocate(2)", {ENOSPC, EFBIG, EINTR, EIO, EPERM}},
      {"mmap", "mmap(2)", {ENOMEM, EAGAIN, ENFILE, EPERM, EACCES}},
      {"munmap", "munmap(2): when a mapping has to be split", {ENOMEM}},
      {"madvise DONTFORK", "madvise(2)", {ENOMEM, EAGAIN, EINVAL}},
      {"madvise WIPEONFORK", "madvise(2)", {EINVAL, ENOMEM, EAGAIN}},
      {"fork", "fork(2)", {EAGAIN, ENOMEM, ENOSYS}},
      {"getpid", "getpid(2): always successful", {}},
      {"getppid", "getpid(2): always successful", {}},
      {"pidfd_open", "pidfd_open(2)", {EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS, EPERM}},
      {"pidfd_send_signal", "pidfd_send_signal(2): ESRCH is no failure", {ENOSYS, EPERM}},
      {"kill", "kill(2): another user's, as which it lives; dead is no failure", {EPERM}},
      {"sched_yield", "sched_yield(2): in Linux always successful", {}},
      {"waitid", "wait(2); ECHILD is an answer", {EINTR}},
      {"waitpid", "wait(2); with ECHILD somebody else has reaped", {ECHILD, EINTR}},
      {"sigaction", "sigaction(2): only seccomp", {EPERM}},
      {"pthread_sigmask", "pthread_sigmask(3): none with these arguments", {}},
      {"getrlimit", "getrlimit(2): only seccomp", {EPERM}},
      {"pathconf", "fpathconf(3)", {EINVAL, EIO, ENOMEM, ENOENT, EACCES}, "512 bytes"},
      {"clock_gettime", "clock_gettime(2): none with this clock", {}},
      {"allocate", "malloc(3)", {ENOMEM}, "no memory"},
      {"map", "mmap(2)", {ENOMEM}, "no memory"},
      {"remap", "mremap(2)", {ENOMEM}, "no memory"},
      {"uv_poll_init", "libuv, epoll_ctl(2)", {ENOSPC, ENOMEM, EMFILE}},
      {"uv_signal_init", "libuv, pipe(2)", {EMFILE, ENFILE}},
  };
}

}  // namespace

const SiteErrors& ErrorsOf(Site site) {
  static const auto* const table = new std::vector<SiteErrors>(MakeTable());
  return table->at(static_cast<std::size_t>(site));
}

}  // namespace alertpipe::faults
