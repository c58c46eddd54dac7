// SPDX-License-Identifier: Apache-2.0

#include "os/calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/base/attributes.h"

// The same number on all architectures; older system headers lack it.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

namespace alertpipe::os::internal {
namespace {

// These libc functions are variadic, take an enum of libc's own, or are missing from older libc.

int Fcntl(int fd, int command, int argument) { return ::fcntl(fd, command, argument); }

int Open(const char* path, int flags) { return ::open(path, flags); }

int PidfdOpen(pid_t pid, unsigned flags) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, flags));
}

int PidfdSendSignal(int pidfd, int signal, siginfo_t* info, unsigned flags) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, info, flags));
}

ssize_t Getdents64(int fd, void* data, size_t bytes) { return ::getdents64(fd, data, bytes); }

int Fstat(int fd, struct stat* file) { return ::fstat(fd, file); }

int Getrlimit(int resource, rlimit* limit) {
  return ::getrlimit(static_cast<decltype(RLIMIT_NOFILE)>(resource), limit);
}

int Eventfd(unsigned initial, int flags) { return ::eventfd(initial, flags); }

// In the order of the members. A function instead of an aggregate, because C++17 has no
// designators.
constexpr Calls RealCalls() {
  Calls real = {};
  real.pipe2 = &::pipe2;
  real.fcntl = &Fcntl;
  real.open = &Open;
  real.close = &::close;
  real.dup3 = &::dup3;
  real.eventfd = &Eventfd;
  real.preadv2 = &::preadv2;
  real.pwritev2 = &::pwritev2;
  real.getdents64 = &Getdents64;
  real.readlink = &::readlink;
  real.fstat = &Fstat;
  real.poll = &::poll;
  real.epoll_create1 = &::epoll_create1;
  real.epoll_ctl = &::epoll_ctl;
  real.epoll_wait = &::epoll_wait;

  real.memfd_create = &::memfd_create;
  real.ftruncate = &::ftruncate;
  real.mmap = &::mmap;
  real.munmap = &::munmap;
  real.madvise = &::madvise;

  real.fork = &::fork;
  real.getpid = &::getpid;
  real.getppid = &::getppid;
  real.pidfd_open = &PidfdOpen;
  real.pidfd_send_signal = &PidfdSendSignal;
  real.kill = &::kill;
  real.sched_yield = &::sched_yield;
  real.waitid = &::waitid;
  real.waitpid = &::waitpid;
  real.sigaction = &::sigaction;
  real.pthread_sigmask = &::pthread_sigmask;

  real.getrlimit = &Getrlimit;
  real.pathconf = &::pathconf;
  real.clock_gettime = &::clock_gettime;
  return real;
}

}  // namespace

ABSL_CONST_INIT Calls g_calls = RealCalls();

}  // namespace alertpipe::os::internal
