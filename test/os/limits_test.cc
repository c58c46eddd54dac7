// SPDX-License-Identifier: Apache-2.0

#include "os/limits.h"

#include <sys/resource.h>

#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "os/unique_fd.h"
#include "support.h"

namespace alertpipe::os {
namespace {

bool SetLimit(rlim_t limit) {
  rlimit now = {};
  if (::getrlimit(RLIMIT_NOFILE, &now) != 0) return false;
  now.rlim_cur = limit;
  return ::setrlimit(RLIMIT_NOFILE, &now) == 0;
}

size_t OpenBelow(int limit) {
  const std::set<int> open = OpenDescriptors();
  return static_cast<size_t>(std::distance(open.begin(), open.lower_bound(limit)));
}

// With a limit of 64: what CheckDescriptors allows is exactly what can be opened.
int CompareWithReality() {
  CHILD_EXPECT(SetLimit(64));
  size_t room = 0;
  while (room < 100 && CheckDescriptors(room + 1).ok()) ++room;
  CHILD_EXPECT(room > 0 && room < 64);
  UniqueFd opened[64];
  for (size_t i = 0; i < room; ++i) {
    opened[i].reset(::open("/dev/null", O_RDONLY));
    CHILD_EXPECT(opened[i].valid());
  }
  CHILD_EXPECT(::open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
  return 0;
}

TEST(CheckDescriptors, AllowsExactlyWhatCanBeOpened) {
  EXPECT_EQ(RunInChild(&CompareWithReality), 0);
}

TEST(CheckDescriptors, AllowsTheSameWithoutProc) {
  {
    const Fault<&Calls::open> no_proc(kEvery, ENOENT);
    EXPECT_EQ(RunInChild(&CompareWithReality), 0);
  }
  const Fault<&Calls::getdents64> no_entries(kEvery, ENOENT);
  EXPECT_EQ(RunInChild(&CompareWithReality), 0);
}

TEST(CheckDescriptors, DoesNotCountWhatIsAboveTheLimit) {
  EXPECT_EQ(RunInChild([] {
              const UniqueFd high(::fcntl(0, F_DUPFD, 200));
              CHILD_EXPECT(high.get() >= 200);
              return CompareWithReality();
            }),
            0);
}

TEST(CheckDescriptors, NamesLimitValueOpenAndNeeded) {
  EXPECT_EQ(RunInChild([] {
              CHILD_EXPECT(SetLimit(64));
              const absl::Status status = CheckDescriptors(1000);
              CHILD_EXPECT(status.code() == absl::StatusCode::kResourceExhausted);
              const std::string text =
                  "RLIMIT_NOFILE allows 64 descriptors, " + std::to_string(OpenBelow(64)) +
                  " are open and 1000 more are needed (ulimit -n sets the limit)";
              CHILD_EXPECT(status.message() == text);
              return 0;
            }),
            0);
}

TEST(CheckDescriptors, CountsManyDescriptorsInSeveralReadsOfTheDirectory) {
  EXPECT_EQ(RunInChild([] {
              CHILD_EXPECT(SetLimit(1024));
              const size_t before = OpenBelow(1024);
              std::vector<UniqueFd> opened;
              while (opened.size() < 900 - before) {
                opened.emplace_back(::open("/dev/null", O_RDONLY));
                CHILD_EXPECT(opened.back().valid());
              }
              CHILD_EXPECT(CheckDescriptors(124).ok());
              CHILD_EXPECT(!CheckDescriptors(125).ok());
              return 0;
            }),
            0);
}

TEST(CheckDescriptors, KnowsNoBetterThanTheSystem) {
  const NoLeaks no_leaks;
  const Fault<&Calls::getrlimit> fault(kEvery, EPERM);
  EXPECT_TRUE(CheckDescriptors(SIZE_MAX).ok());
}

int NoLimit(int /*resource*/, rlimit* limit) {
  limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
  return 0;
}

TEST(CheckDescriptors, AllowsAllWithoutALimit) {
  const Replace<&Calls::getrlimit> none(&NoLimit);
  EXPECT_TRUE(CheckDescriptors(1000000).ok());
}

TEST(CheckDescriptors, DoesNotOverflow) {
  EXPECT_EQ(RunInChild([] {
              CHILD_EXPECT(SetLimit(64));
              CHILD_EXPECT(!CheckDescriptors(SIZE_MAX).ok());
              CHILD_EXPECT(SetLimit(1));  // fewer than are open
              CHILD_EXPECT(!CheckDescriptors(SIZE_MAX).ok());
              CHILD_EXPECT(!CheckDescriptors(1).ok());
              return 0;
            }),
            0);
}

TEST(CheckDescriptors, LeaksNothing) {
  const NoLeaks no_leaks;
  EXPECT_TRUE(CheckDescriptors(1).ok());
  const Fault<&Calls::getdents64> fault(1, EIO);
  EXPECT_TRUE(CheckDescriptors(1).ok());
}

long g_pipe_buf = 0;                            // NOLINT(google-runtime-int): libc's type
long PipeBuf(const char* /*path*/, int name) {  // NOLINT(google-runtime-int): libc's type
  return name == _PC_PIPE_BUF ? g_pipe_buf : -1;
}

TEST(PacketBytesMax, IsTheSmallerOf4096AndPipeBuf) {
  EXPECT_EQ(PacketBytesMax(), 4096U);
  const Replace<&Calls::pathconf> system(&PipeBuf);
  struct Case {
    long pipe_buf;  // NOLINT(google-runtime-int): libc's type
    size_t expected;
  };
  for (const Case c : {Case{512, 512}, Case{4095, 4095}, Case{4096, 4096}, Case{65536, 4096},
                       Case{-1, 512}, Case{1, 512}}) {
    g_pipe_buf = c.pipe_buf;
    EXPECT_EQ(PacketBytesMax(), c.expected) << c.pipe_buf;
  }
}

TEST(CheckStandardDescriptors, NamesTheOneThatIsClosed) {
  EXPECT_TRUE(CheckStandardDescriptors().ok());
  for (const int fd : {0, 1, 2}) {
    EXPECT_EQ(RunInChild([fd] {
                ::close(fd);
                const absl::Status status = CheckStandardDescriptors();
                CHILD_EXPECT(absl::IsFailedPrecondition(status));
                const std::string wanted = "descriptor " + std::to_string(fd) + " is closed";
                CHILD_EXPECT(std::string(status.message()).find(wanted) == 0);
                return 0;
              }),
              0);
  }
}

}  // namespace
}  // namespace alertpipe::os
