// SPDX-License-Identifier: Apache-2.0

#include "os/kernel.h"

#include <sys/ioctl.h>

#include <algorithm>

#include "gtest/gtest.h"
#include "os/pipe.h"
#include "support.h"

namespace alertpipe::os {
namespace {

Kernel Probe() {
  const absl::StatusOr<Kernel> kernel = ProbeKernel();
  EXPECT_TRUE(kernel.ok()) << kernel.status();
  return kernel.value_or(Kernel());
}

// Other kernels, made of this one.
int g_refused_flag = 0;
size_t g_cut_at = 0;

ssize_t ReadRefusing(int fd, const iovec* parts, int count, off_t offset, int flags) {
  if ((flags & g_refused_flag) == 0) return ::preadv2(fd, parts, count, offset, flags);
  errno = EOPNOTSUPP;
  return -1;
}

ssize_t WriteRefusing(int fd, const iovec* parts, int count, off_t offset, int flags) {
  if ((flags & g_refused_flag) == 0) return ::pwritev2(fd, parts, count, offset, flags);
  errno = EOPNOTSUPP;
  return -1;
}

// Lets no write of several parts into an empty pipe be longer than g_cut_at.
ssize_t WriteCutting(int fd, const iovec* parts, int count, off_t offset, int flags) {
  int waiting = 0;
  ::ioctl(fd, FIONREAD, &waiting);
  if (count == 1 || waiting > 0) return ::pwritev2(fd, parts, count, offset, flags);
  size_t total = 0;
  for (int i = 0; i < count; ++i) {
    if (total + parts[i].iov_len >= g_cut_at) {
      iovec cut[1024];
      std::copy(parts, parts + i + 1, cut);
      cut[i].iov_len = g_cut_at - total;
      return ::pwritev2(fd, cut, i + 1, offset, flags);
    }
    total += parts[i].iov_len;
  }
  return ::pwritev2(fd, parts, count, offset, flags);
}

void ExpectNonBlocking(int fd) { EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0); }

ssize_t ReadWatched(int fd, const iovec* parts, int count, off_t offset, int flags) {
  ExpectNonBlocking(fd);
  return ::preadv2(fd, parts, count, offset, flags);
}

ssize_t WriteWatched(int fd, const iovec* parts, int count, off_t offset, int flags) {
  ExpectNonBlocking(fd);
  return ::pwritev2(fd, parts, count, offset, flags);
}

int ReadableEventfd(pid_t /*pid*/, unsigned /*flags*/) { return ::eventfd(1, EFD_CLOEXEC); }

TEST(ProbeKernel, SaysTheSameTwiceAndLeaksNothing) {
  const NoLeaks no_leaks;
  const Kernel first = Probe();
  const Kernel second = Probe();
  EXPECT_EQ(first.nowait, second.nowait);
  EXPECT_EQ(first.nosignal, second.nosignal);
  EXPECT_EQ(first.runs, second.runs);
  EXPECT_EQ(first.pidfd, second.pidfd);
  EXPECT_EQ(first.wipe_on_fork, second.wipe_on_fork);
}

TEST(ProbeKernel, FindsThatRunsAreCutBetweenPackets) {
  // True of every Linux; a false here means that the probe is wrong.
  EXPECT_TRUE(Probe().runs);
}

TEST(ProbeKernel, CannotBlock) {
  const Replace<&Calls::preadv2> read(&ReadWatched);
  const Replace<&Calls::pwritev2> write(&WriteWatched);
  Probe();
}

TEST(ProbeKernel, SeesAKernelWithoutNowait) {
  const Kernel real = Probe();
  g_refused_flag = kRwfNowait;
  const Replace<&Calls::preadv2> read(&ReadRefusing);
  const Replace<&Calls::pwritev2> write(&WriteRefusing);
  const Kernel kernel = Probe();
  EXPECT_FALSE(kernel.nowait);
  EXPECT_EQ(kernel.nosignal, real.nosignal);
  EXPECT_TRUE(kernel.runs);
}

TEST(ProbeKernel, SeesAKernelThatKnowsNowaitForOneDirectionOnly) {
  g_refused_flag = kRwfNowait;
  {
    const Replace<&Calls::pwritev2> write(&WriteRefusing);
    EXPECT_FALSE(Probe().nowait);
  }
  const Replace<&Calls::preadv2> read(&ReadRefusing);
  EXPECT_FALSE(Probe().nowait);
}

TEST(ProbeKernel, OneFailedProbeDoesNotSpoilTheNext) {
  const Kernel real = Probe();
  const Fault<&Calls::preadv2> fault(2, EINVAL);  // after a byte was written
  const Kernel kernel = Probe();
  EXPECT_FALSE(kernel.nowait);
  EXPECT_EQ(kernel.nosignal, real.nosignal);
  EXPECT_TRUE(kernel.runs);
}

TEST(ProbeKernel, SeesAKernelWithoutNosignal) {
  const Kernel real = Probe();
  g_refused_flag = kRwfNosignal;
  const Replace<&Calls::pwritev2> write(&WriteRefusing);
  const Kernel kernel = Probe();
  EXPECT_FALSE(kernel.nosignal);
  EXPECT_EQ(kernel.nowait, real.nowait);
  EXPECT_TRUE(kernel.runs);
}

TEST(ProbeKernel, SeesAKernelThatCutsWithinAPacket) {
  const Replace<&Calls::pwritev2> write(&WriteCutting);
  for (const size_t cut : {100U, 4095U, 4097U, 8191U, 12287U}) {
    g_cut_at = cut;
    EXPECT_FALSE(Probe().runs) << cut;
  }
  g_cut_at = 8192;  // shows that it is the place of the cut that counts
  EXPECT_TRUE(Probe().runs);
}

TEST(ProbeKernel, SeesASystemWithoutVectorCalls) {
  const NoLeaks no_leaks;
  const Fault<&Calls::preadv2> read(kEvery, ENOSYS);
  const Fault<&Calls::pwritev2> write(kEvery, ENOSYS);
  const Kernel kernel = Probe();
  EXPECT_FALSE(kernel.nowait);
  EXPECT_FALSE(kernel.nosignal);
  EXPECT_FALSE(kernel.runs);
}

TEST(ProbeKernel, SeesASystemWithoutPidfds) {
  const NoLeaks no_leaks;
  for (const int error : {ENOSYS, EPERM, EINVAL}) {  // valgrind, a sandbox, an old kernel
    const Fault<&Calls::pidfd_open> fault(kEvery, error);
    EXPECT_FALSE(Probe().pidfd);
  }
  const Fault<&Calls::poll> fault(kEvery, EINVAL);
  EXPECT_FALSE(Probe().pidfd);
}

TEST(ProbeKernel, DistrustsAPidfdThatSaysDead) {
  const NoLeaks no_leaks;
  const Replace<&Calls::pidfd_open> dead(&ReadableEventfd);
  EXPECT_FALSE(Probe().pidfd);
}

TEST(ProbeKernel, SeesASystemWithoutWipeOnFork) {
  const NoLeaks no_leaks;
  {
    const Fault<&Calls::madvise> fault(kEvery, EINVAL);
    EXPECT_FALSE(Probe().wipe_on_fork);
    EXPECT_TRUE(fault.fired());
  }
  const Fault<&Calls::mmap> fault(kEvery, ENOMEM);
  EXPECT_FALSE(Probe().wipe_on_fork);
  EXPECT_TRUE(fault.fired());
}

// Fails the first, second, ... call of one function until there are no more of them.
template <auto kMember>
void FailEachCall(int error) {
  for (int nth = 1; nth < 1000; ++nth) {
    const NoLeaks no_leaks;
    const Fault<kMember> fault(nth, error);
    const absl::StatusOr<Kernel> kernel = ProbeKernel();
    if (!fault.fired()) {
      EXPECT_TRUE(kernel.ok());
      EXPECT_GT(nth, 1) << "never called";
      return;
    }
  }
  ADD_FAILURE() << "more than 1000 calls are no quick probe";
}

TEST(ProbeKernel, LeaksNothingWhicheverCallFails) {
  FailEachCall<&Calls::pipe2>(EMFILE);
  FailEachCall<&Calls::fcntl>(EINVAL);
  FailEachCall<&Calls::preadv2>(EINVAL);
  FailEachCall<&Calls::pwritev2>(EINVAL);
  FailEachCall<&Calls::pidfd_open>(EMFILE);
  if (Probe().pidfd) FailEachCall<&Calls::poll>(ENOMEM);
  FailEachCall<&Calls::mmap>(ENOMEM);
  FailEachCall<&Calls::madvise>(EINVAL);
}

TEST(ProbeKernel, SaysWhyItCouldNotMeasure) {
  const Fault<&Calls::pipe2> fault(kEvery, EMFILE);
  EXPECT_EQ(ProbeKernel().status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace alertpipe::os
