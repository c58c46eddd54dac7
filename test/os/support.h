// SPDX-License-Identifier: Apache-2.0
//
// What the tests of lib/os share: faults at the seam, leak counts, and code that runs in a forked
// child.
//
// A fault takes the place of one entry of os::calls() and passes on to what was there before, so
// faults nest like scopes and must end in the reverse order.

#ifndef ALERTPIPE_TEST_OS_SUPPORT_H_
#define ALERTPIPE_TEST_OS_SUPPORT_H_

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <type_traits>

#include "gtest/gtest.h"
#include "os/calls.h"

namespace alertpipe::os {

// Every call, for the first argument of Fault.
inline constexpr int kEvery = 0;
// No call: the fault only counts.
inline constexpr int kNone = -1;

// Makes the `nth` (from 1) call of one function fail with `error`, and counts all calls of it:
//   Fault<&Calls::pipe2> fault(1, EMFILE);
template <auto kMember, typename = decltype(kMember)>
class Fault;

template <auto kMember, typename R, typename... A>
class Fault<kMember, R (*Calls::*)(A...)> {
 public:
  explicit Fault(int nth = kNone, int error = 0) : before_(state_) {
    state_ = {calls().*kMember, nth, error, 0};
    calls().*kMember = &Hook;
  }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  ~Fault() {
    calls().*kMember = state_.next;
    state_ = before_;
  }

  int count() const { return state_.count; }
  // Whether the chosen call has been made.
  bool fired() const { return state_.nth == kEvery ? count() > 0 : count() >= state_.nth; }

 private:
  struct State {
    R (*next)(A...);
    int nth;
    int error;
    int count;
  };

  static R Hook(A... arguments) {
    ++state_.count;
    if (state_.nth != kEvery && state_.count != state_.nth) return state_.next(arguments...);
    errno = state_.error;
    if constexpr (std::is_pointer_v<R>) {
      return MAP_FAILED;
    } else {
      return static_cast<R>(-1);
    }
  }

  static inline State state_ = {};
  State before_;
};

// Puts a function of the test's own in place of one entry.
template <auto kMember>
class Replace {
 public:
  using Function = std::remove_reference_t<decltype(calls().*kMember)>;
  explicit Replace(Function with) : before_(calls().*kMember) { calls().*kMember = with; }
  Replace(const Replace&) = delete;
  Replace& operator=(const Replace&) = delete;
  ~Replace() { calls().*kMember = before_; }

 private:
  Function before_;
};

// The descriptors that are open in this process.
inline std::set<int> OpenDescriptors() {
  std::set<int> open;
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return open;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') open.insert(std::atoi(entry->d_name));
  }
  open.erase(::dirfd(directory));
  ::closedir(directory);
  return open;
}

// True if there is memory at the page of `address`.
inline bool IsMapped(const void* address) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t start = reinterpret_cast<uintptr_t>(address) / page * page;
  unsigned char resident = 0;
  return ::mincore(reinterpret_cast<void*>(start), page, &resident) == 0;
}

// Bytes that went through the seam's mmap and not yet through its munmap.
class MappedBytes {
 public:
  MappedBytes() : mmap_(&Mmap), munmap_(&Munmap) { bytes_ = 0; }
  int64_t bytes() const { return bytes_; }

 private:
  static void* Mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    void* data = ::mmap(at, bytes, protection, flags, fd, offset);
    if (data != MAP_FAILED) bytes_ += static_cast<int64_t>(bytes);
    return data;
  }
  static int Munmap(void* at, size_t bytes) {
    const int result = ::munmap(at, bytes);
    if (result == 0) bytes_ -= static_cast<int64_t>(bytes);
    return result;
  }

  static inline int64_t bytes_ = 0;
  Replace<&Calls::mmap> mmap_;
  Replace<&Calls::munmap> munmap_;
};

// Expects that nothing that was opened or mapped since its construction is left at its end.
class NoLeaks {
 public:
  NoLeaks() : open_(OpenDescriptors()) {}
  ~NoLeaks() {
    EXPECT_EQ(OpenDescriptors(), open_) << "descriptors leaked or closed by mistake";
    EXPECT_EQ(mapped_.bytes(), 0) << "bytes still mapped";
  }
  NoLeaks(const NoLeaks&) = delete;
  NoLeaks& operator=(const NoLeaks&) = delete;

 private:
  std::set<int> open_;
  MappedBytes mapped_;
};

// Forks a child that runs `body` and exits with its result. It dies of SIGALRM after half a minute,
// so that code under test which blocks is a failure and no hanging suite.
inline pid_t Spawn(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::alarm(30);
  ::_exit(body());
}

// Reaps `pid`. 0 to 255 is its exit code, 1000 + n means that signal n ended it.
inline int Wait(pid_t pid) {
  int status = 0;
  pid_t reaped;
  do {
    reaped = ::waitpid(pid, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  if (reaped != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

inline int RunInChild(const std::function<int()>& body) { return Wait(Spawn(body)); }

// For the body of a child: leaves with a code that names the line whose condition does not hold.
#define CHILD_EXPECT(condition)                                                      \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: in child: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                                      \
    }                                                                                \
  } while (false)

}  // namespace alertpipe::os

#endif  // ALERTPIPE_TEST_OS_SUPPORT_H_
