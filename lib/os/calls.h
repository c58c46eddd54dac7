// SPDX-License-Identifier: Apache-2.0
//
// The one seam between alertpipe and the kernel. The library reaches the system through the table
// that calls() returns, so that a test can make the Nth call of any function fail and prove that
// the code above neither leaks nor lies (test/faults). The table is filled before any code runs
// (constant initialisation), so that static constructors may use it too.
//
// Besides it there are only: memory for payload, which has a seam of its own (core/memory.h); what
// cannot fail (sysconf for the page size, _exit); fflush of the program's stdio around a fork; and
// libuv. A test compares that with the symbols of the built objects (test/repo/seam_test.py).

#ifndef ALERTPIPE_OS_CALLS_H_
#define ALERTPIPE_OS_CALLS_H_

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <cstddef>

namespace alertpipe::os {

// A member called sigaction would hide the type of the same name.
using SignalAction = struct sigaction;

// Function pointers with libc's signatures and conventions: the result is -1 (MAP_FAILED for mmap)
// and errno is set on failure. Variadic functions are narrowed to the form that is used
// here. Entries may be replaced only while no other thread uses the table; a forked child has a
// copy of its own.
struct Calls {
  // Descriptors and pipes.
  int (*pipe2)(int fds[2], int flags);
  int (*fcntl)(int fd, int command, int argument);
  int (*open)(const char* path, int flags);
  int (*close)(int fd);
  int (*dup3)(int from, int to, int flags);
  int (*eventfd)(unsigned initial, int flags);
  ssize_t (*preadv2)(int fd, const iovec* parts, int count, off_t offset, int flags);
  ssize_t (*pwritev2)(int fd, const iovec* parts, int count, off_t offset, int flags);
  ssize_t (*getdents64)(int fd, void* data, size_t bytes);
  ssize_t (*readlink)(const char* path, char* target, size_t bytes);
  int (*fstat)(int fd, struct stat* file);
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms);
  int (*epoll_create1)(int flags);
  int (*epoll_ctl)(int epoll_fd, int operation, int fd, epoll_event* event);
  int (*epoll_wait)(int epoll_fd, epoll_event* events, int events_max, int timeout_ms);

  // Memory.
  int (*memfd_create)(const char* name, unsigned flags);
  int (*ftruncate)(int fd, off_t bytes);
  void* (*mmap)(void* at, size_t bytes, int protection, int flags, int fd, off_t offset);
  int (*munmap)(void* at, size_t bytes);
  int (*madvise)(void* at, size_t bytes, int advice);

  // Processes and signals.
  pid_t (*fork)();
  pid_t (*getpid)();
  pid_t (*getppid)();
  int (*pidfd_open)(pid_t pid, unsigned flags);
  int (*pidfd_send_signal)(int pidfd, int signal, siginfo_t* info, unsigned flags);
  int (*kill)(pid_t pid, int signal);
  int (*sched_yield)();
  int (*waitid)(idtype_t type, id_t id, siginfo_t* info, int options);
  pid_t (*waitpid)(pid_t pid, int* status, int options);
  int (*sigaction)(int signal, const SignalAction* wanted, SignalAction* before);
  // Returns an error number instead of setting errno, as libc's does.
  int (*pthread_sigmask)(int how, const sigset_t* wanted, sigset_t* before);

  // Limits and clock.
  int (*getrlimit)(int resource, rlimit* limit);
  long (*pathconf)(const char* path, int name);  // NOLINT(google-runtime-int): libc's type
  int (*clock_gettime)(clockid_t clock, timespec* time);
};

namespace internal {
extern Calls g_calls;
}  // namespace internal

// The table of this process. Never null entries. Inline, because it is on the path of every alert.
inline Calls& calls() noexcept { return internal::g_calls; }

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_CALLS_H_
