// SPDX-License-Identifier: Apache-2.0

#include "os/calls.h"

#include <cstring>

#include "gtest/gtest.h"
#include "os/clock.h"
#include "os/errors.h"
#include "os/unique_fd.h"
#include "support.h"

namespace alertpipe::os {
namespace {

// Runs before main, perhaps before the dynamic initialisers of calls.cc, which must not have any.
const uint64_t g_before_main = MonotonicNanos();

TEST(Calls, EveryEntryIsFilled) {
  void* entries[sizeof(Calls) / sizeof(void*)];
  static_assert(sizeof(entries) == sizeof(Calls));
  std::memcpy(entries, &calls(), sizeof(entries));
  for (size_t i = 0; i < std::size(entries); ++i) EXPECT_NE(entries[i], nullptr) << "entry " << i;
}

TEST(Calls, AreUsableByStaticConstructors) { EXPECT_GT(g_before_main, 0U); }

TEST(Calls, FaultFailsTheChosenCallOnlyAndEndsWithItsScope) {
  {
    const Fault<&Calls::eventfd> fault(2, EMFILE);
    UniqueFd first(calls().eventfd(0, EFD_CLOEXEC));
    EXPECT_TRUE(first.valid());
    EXPECT_FALSE(fault.fired());
    EXPECT_EQ(calls().eventfd(0, EFD_CLOEXEC), -1);
    EXPECT_EQ(errno, EMFILE);
    EXPECT_TRUE(fault.fired());
    UniqueFd third(calls().eventfd(0, EFD_CLOEXEC));
    EXPECT_TRUE(third.valid());
    EXPECT_EQ(fault.count(), 3);
  }
  UniqueFd after(calls().eventfd(0, EFD_CLOEXEC));
  EXPECT_TRUE(after.valid());
}

TEST(UniqueFd, ClosesOnceAndKeepsErrno) {
  const NoLeaks no_leaks;
  const Fault<&Calls::close> closes;
  {
    UniqueFd fd(calls().eventfd(0, EFD_CLOEXEC));
    ASSERT_TRUE(fd.valid());
    UniqueFd moved(std::move(fd));
    EXPECT_FALSE(fd.valid());  // NOLINT(bugprone-use-after-move): this is what is tested
    fd = std::move(moved);
    errno = EPIPE;
  }
  EXPECT_EQ(closes.count(), 1);
  EXPECT_EQ(errno, EPIPE);
}

TEST(UniqueFd, ClosesOnceEvenWhenCloseIsInterrupted) {
  UniqueFd fd(calls().eventfd(0, EFD_CLOEXEC));
  const int number = fd.get();
  {
    const Fault<&Calls::close> closes(kEvery, EINTR);
    errno = 0;
    fd.reset();
    EXPECT_EQ(closes.count(), 1);
    EXPECT_EQ(errno, 0);
    EXPECT_EQ(fd.get(), -1);
  }
  ::close(number);
}

TEST(UniqueFd, ReleaseGivesTheDescriptorAway) {
  UniqueFd fd(calls().eventfd(0, EFD_CLOEXEC));
  const int number = fd.release();
  EXPECT_FALSE(fd.valid());
  fd.reset();
  EXPECT_EQ(::close(number), 0);
}

TEST(Clock, DoesNotGoBackAndCountsNanoseconds) {
  const uint64_t before = MonotonicNanos();
  timespec now = {};
  ASSERT_EQ(::clock_gettime(CLOCK_MONOTONIC, &now), 0);
  const uint64_t after = MonotonicNanos();
  const uint64_t between = uint64_t(now.tv_sec) * 1000000000U + uint64_t(now.tv_nsec);
  EXPECT_LE(before, between);
  EXPECT_LE(between, after);
}

TEST(Errors, NameTheCallTheDescriptionAndTheNumber) {
  const absl::Status status = ErrnoStatus(EMFILE, "pipe2");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "pipe2: Too many open files (errno 24)");
}

TEST(Errors, CodesTellWhatTheCallerCanDo) {
  EXPECT_EQ(ErrnoStatus(EAGAIN, "fork").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(ENOMEM, "fork").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(ENFILE, "pipe2").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(ENOSPC, "epoll_ctl").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(ENOSYS, "memfd_create").code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ErrnoStatus(ESRCH, "pidfd_open").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoStatus(EACCES, "open").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrnoStatus(EINVAL, "mmap").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace alertpipe::os
