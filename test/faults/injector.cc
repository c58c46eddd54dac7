// SPDX-License-Identifier: Apache-2.0
#include "faults/injector.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <type_traits>

#include "core/memory.h"
#include "os/calls.h"
#include "os/kernel.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace alertpipe::faults {
namespace {

using os::Calls;

// A process that hangs ends by itself.
constexpr unsigned kLifeSeconds = 60;

struct State {
  Tally* tally = nullptr;
  Fault fault;
  KernelIs kernel = KernelIs::kThis;
  int role = 0;
  long blocks = 0;
  Calls real{};
  core::MemoryCalls real_memory{};
};
State state;

// Counts a call; the error with which it is to fail, or 0.
int Judge(Site site) {
  Tally* tally = state.tally;
  if (tally == nullptr || !tally->armed.load(std::memory_order_relaxed)) return 0;
  const int nth = ++tally->calls[state.role][static_cast<int>(site)];
  const Fault& fault = state.fault;
  if (fault.role != state.role || fault.site != site || nth < fault.nth) return 0;
  const int last = !fault.for_good        ? fault.nth
                   : fault.error == EINTR ? fault.nth + kInterruptions - 1
                                          : nth;
  if (nth > last) return 0;
  ++tally->failed;
  return fault.error;
}

int Fail(int error) {
  errno = error;
  return -1;
}

// ---- Which site a call is -----------------------------------------------------------------------

Site FcntlSite(int command) {
  switch (command) {
    case F_SETPIPE_SZ:
      return Site::kSetPipeSize;
    case F_GETPIPE_SZ:
      return Site::kGetPipeSize;
    case F_ADD_SEALS:
      return Site::kAddSeals;
    case F_GET_SEALS:
      return Site::kGetSeals;
    case F_GETFL:
      return Site::kGetFlags;
    case F_SETFL:
      return Site::kSetFlags;
    default:
      return Site::kGetFdFlags;
  }
}

// ---- The calls ----------------------------------------------------------------------------------

// Those that need nothing special. The last argument of a fork is none.
template <auto kMember, Site kSite, typename = decltype(kMember)>
struct Plain;
template <auto kMember, Site kSite, typename R, typename... A>
struct Plain<kMember, kSite, R (*Calls::*)(A...)> {
  static R Call(A... arguments) {
    if (const int error = Judge(kSite); error != 0) {
      errno = error;
      if constexpr (std::is_pointer_v<R>) {
        return MAP_FAILED;
      } else {
        return static_cast<R>(-1);
      }
    }
    return (state.real.*kMember)(arguments...);
  }
};

int Fcntl(int fd, int command, int argument) {
  if (const int error = Judge(FcntlSite(command)); error != 0) return Fail(error);
  if (state.kernel == KernelIs::kOld && command == F_ADD_SEALS &&
      (argument & F_SEAL_FUTURE_WRITE) != 0) {
    return Fail(EINVAL);
  }
  return state.real.fcntl(fd, command, argument);
}

bool Forgets() { return state.fault.harm == Harm::kForgotten; }

int Close(int fd) {
  const int error = Judge(Site::kClose);
  if (error != 0 && Forgets()) return 0;
  const int result = state.real.close(fd);
  return error != 0 ? Fail(error) : result;
}

ssize_t Preadv2(int fd, const iovec* parts, int count, off_t at, int flags) {
  if (const int error = Judge(Site::kPreadv2); error != 0) return Fail(error);
  if (state.kernel == KernelIs::kOld && flags != 0) return Fail(EOPNOTSUPP);
  return state.real.preadv2(fd, parts, count, at, flags);
}

ssize_t Pwritev2(int fd, const iovec* parts, int count, off_t at, int flags) {
  if (const int error = Judge(Site::kPwritev2); error != 0) {
    if (state.fault.harm == Harm::kFails) return Fail(error);
    if (!Forgets()) state.real.pwritev2(fd, parts, count, at, flags);
    ssize_t bytes = 0;
    for (int part = 0; part < count; ++part) bytes += static_cast<ssize_t>(parts[part].iov_len);
    return Forgets() ? bytes : state.real.pwritev2(fd, parts, count, at, flags);
  }
  if (state.kernel == KernelIs::kOld && flags != 0) return Fail(EOPNOTSUPP);
  return state.real.pwritev2(fd, parts, count, at, flags);
}

int EpollCtl(int epoll_fd, int operation, int fd, epoll_event* event) {
  const Site site = operation == EPOLL_CTL_DEL ? Site::kEpollDelete : Site::kEpollAdd;
  if (const int error = Judge(site); error != 0) return Fail(error);
  return state.real.epoll_ctl(epoll_fd, operation, fd, event);
}

int Munmap(void* at, size_t bytes) {
  if (const int error = Judge(Site::kMunmap); error != 0) {
    if (Forgets()) return 0;
    state.tally->kept[state.role] += static_cast<std::int64_t>(bytes);
    return Fail(error);
  }
  return state.real.munmap(at, bytes);
}

int Madvise(void* at, size_t bytes, int advice) {
  const Site site = advice == MADV_DONTFORK ? Site::kDontFork : Site::kWipeOnFork;
  if (const int error = Judge(site); error != 0) return Fail(error);
  if (state.kernel == KernelIs::kOld && site == Site::kWipeOnFork) return Fail(EINVAL);
  return state.real.madvise(at, bytes, advice);
}

pid_t Fork() {
  if (const int error = Judge(Site::kFork); error != 0) return Fail(error);
  const int role = ++state.tally->roles - 1;
  const pid_t pid = state.real.fork();
  const int place = role < kRoles ? role : kRoles - 1;
  if (pid == 0) {
    alarm(kLifeSeconds);
    state.role = place;
  }
  // By both: the parent may reap what is left before the child has run, and the child may look
  // itself up before the parent runs again.
  if (pid >= 0) state.tally->pids[place] = pid == 0 ? getpid() : pid;
  return pid;
}

int PidfdOpen(pid_t pid, unsigned flags) {
  if (const int error = Judge(Site::kPidfdOpen); error != 0) return Fail(error);
  if (state.kernel == KernelIs::kOld) return Fail(ENOSYS);
  return state.real.pidfd_open(pid, flags);
}

pid_t Waitpid(pid_t pid, int* status, int options) {
  const int error = Judge(Site::kWaitpid);
  // Somebody else was faster.
  if (error == ECHILD) state.real.waitpid(pid, nullptr, options);
  return error != 0 ? Fail(error) : state.real.waitpid(pid, status, options);
}

// Returns the error.
int Sigmask(int how, const sigset_t* wanted, sigset_t* before) {
  if (const int error = Judge(Site::kSigmask); error != 0) return error;
  return state.real.pthread_sigmask(how, wanted, before);
}

// ---- Memory -------------------------------------------------------------------------------------

void* Allocate(std::size_t bytes) {
  if (Judge(Site::kAllocate) != 0) return nullptr;
  ++state.blocks;
  return state.real_memory.allocate(bytes);
}

void Free(void* memory) {
  if (memory != nullptr) --state.blocks;
  state.real_memory.free(memory);
}

void* Map(std::size_t bytes) {
  if (Judge(Site::kMap) != 0) return nullptr;
  ++state.blocks;
  return state.real_memory.map(bytes);
}

void* Remap(void* memory, std::size_t from, std::size_t to) {
  return Judge(Site::kRemap) != 0 ? nullptr : state.real_memory.remap(memory, from, to);
}

void Unmap(void* memory, std::size_t bytes) {
  --state.blocks;
  state.real_memory.unmap(memory, bytes);
}

template <auto kMember, Site kSite>
void Replace() {
  os::calls().*kMember = &Plain<kMember, kSite>::Call;
}

void ReplaceCalls() {
  Replace<&Calls::pipe2, Site::kPipe2>();
  Replace<&Calls::open, Site::kOpen>();
  Replace<&Calls::dup3, Site::kDup3>();
  Replace<&Calls::eventfd, Site::kEventfd>();
  Replace<&Calls::getdents64, Site::kGetdents64>();
  Replace<&Calls::readlink, Site::kReadlink>();
  Replace<&Calls::fstat, Site::kFstat>();
  Replace<&Calls::poll, Site::kPoll>();
  Replace<&Calls::epoll_create1, Site::kEpollCreate1>();
  Replace<&Calls::epoll_wait, Site::kEpollWait>();
  Replace<&Calls::memfd_create, Site::kMemfdCreate>();
  Replace<&Calls::ftruncate, Site::kFtruncate>();
  Replace<&Calls::mmap, Site::kMmap>();
  Replace<&Calls::getpid, Site::kGetpid>();
  Replace<&Calls::getppid, Site::kGetppid>();
  Replace<&Calls::kill, Site::kKill>();
  Replace<&Calls::sched_yield, Site::kSchedYield>();
  Replace<&Calls::pidfd_send_signal, Site::kPidfdSendSignal>();
  Replace<&Calls::waitid, Site::kWaitid>();
  Replace<&Calls::sigaction, Site::kSigaction>();
  Replace<&Calls::getrlimit, Site::kGetrlimit>();
  Replace<&Calls::pathconf, Site::kPathconf>();
  Replace<&Calls::clock_gettime, Site::kClockGettime>();
  Calls& calls = os::calls();
  calls.fcntl = &Fcntl;
  calls.close = &Close;
  calls.preadv2 = &Preadv2;
  calls.pwritev2 = &Pwritev2;
  calls.epoll_ctl = &EpollCtl;
  calls.munmap = &Munmap;
  calls.madvise = &Madvise;
  calls.fork = &Fork;
  calls.pidfd_open = &PidfdOpen;
  calls.waitpid = &Waitpid;
  calls.pthread_sigmask = &Sigmask;
}

// The next definition of a function of libuv, after the ones below.
template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

Injector::Injector(Tally* tally, const Fault& fault, KernelIs kernel) {
  state.tally = tally;
  state.fault = fault;
  state.kernel = kernel;
  state.role = 0;
  state.blocks = 0;
  state.real = os::calls();
  state.real_memory = core::memory_calls();
  tally->roles = 1;
  tally->pids[0] = getpid();
  alarm(kLifeSeconds);
  ReplaceCalls();
  static_assert(sizeof(Calls) == 34 * sizeof(void*), "a new call of the seam needs a site");
  core::memory_calls() = {Allocate, Free, Map, Remap, Unmap};
}

Injector::~Injector() {
  os::calls() = state.real;
  core::memory_calls() = state.real_memory;
  state.tally = nullptr;
  alarm(0);
}

int Injector::role() { return state.role; }
long Injector::blocks() { return state.blocks; }

}  // namespace alertpipe::faults

// The linker takes these instead of libuv's.
extern "C" int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd) {
  using alertpipe::faults::Judge;
  if (const int error = Judge(alertpipe::faults::Site::kUvPollInit); error != 0) return -error;
  static const auto next = alertpipe::faults::Next<decltype(&uv_poll_init)>("uv_poll_init");
  return next(loop, handle, fd);
}

extern "C" int uv_signal_init(uv_loop_t* loop, uv_signal_t* handle) {
  using alertpipe::faults::Judge;
  // Not the one that every loop has.
  if (handle != &loop->child_watcher) {
    if (const int error = Judge(alertpipe::faults::Site::kUvSignalInit); error != 0) return -error;
  }
  static const auto next = alertpipe::faults::Next<decltype(&uv_signal_init)>("uv_signal_init");
  return next(loop, handle);
}
