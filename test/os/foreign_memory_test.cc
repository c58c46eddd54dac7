// SPDX-License-Identifier: Apache-2.0

#include "os/foreign_memory.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "os/memory.h"
#include "support.h"

namespace alertpipe::os {
namespace {

using Found = absl::StatusOr<std::vector<ForeignMemory>>;

TEST(ForeignMemory, IsFoundByTheBeginningOfItsNameInTheOrderOfDescriptors) {
  const NoLeaks no_leaks;
  absl::StatusOr<SharedRegion> two = SharedRegion::Create("alertpipe-test-two", 2 * PageBytes());
  absl::StatusOr<SealedRegion> one = SealedRegion::Create("alertpipe-test-one", 1);
  absl::StatusOr<SharedRegion> other = SharedRegion::Create("other", 1);
  ASSERT_TRUE(one.ok() && two.ok() && other.ok());
  const UniqueFd again(::dup(two->fd()));
  const Found found = OpenForeignMemory(::getpid(), "alertpipe-test");
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 2U) << "each once";
  EXPECT_EQ((*found)[0].name, "alertpipe-test-two");
  EXPECT_EQ((*found)[0].inode, two->inode());
  EXPECT_EQ((*found)[0].memory.bytes(), 2 * PageBytes());
  EXPECT_EQ((*found)[1].name, "alertpipe-test-one");
  std::strcpy(static_cast<char*>(one->writable()), "written later");
  EXPECT_STREQ(static_cast<const char*>((*found)[1].memory.data()), "written later");
}

TEST(ForeignMemory, OfAnotherProcessOutlivesIt) {
  const NoLeaks no_leaks;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 1);
    if (region.ok()) std::strcpy(static_cast<char*>(region->At(0)), "from there");
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const Found found = OpenForeignMemory(child, "alertpipe-");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 1U);
  EXPECT_STREQ(static_cast<const char*>((*found)[0].memory.data()), "from there");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(ForeignMemory, FilesThatCouldShrinkAreLeftOut) {
  const UniqueFd fd(::memfd_create("alertpipe-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.get(), 4096), 0);
  Found found = OpenForeignMemory(::getpid(), "alertpipe-test");
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found->empty());
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  found = OpenForeignMemory(::getpid(), "alertpipe-test");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->size(), 1U);
}

TEST(ForeignMemory, FailuresAreToldAndLeakNothing) {
  const absl::StatusOr<SharedRegion> region = SharedRegion::Create("alertpipe-test", 1);
  ASSERT_TRUE(region.ok());
  const NoLeaks no_leaks;
  const auto code = [] { return OpenForeignMemory(::getpid(), "alertpipe-test").status().code(); };
  EXPECT_EQ(OpenForeignMemory(0, "").status().code(), absl::StatusCode::kInvalidArgument);
  {
    const Fault<&Calls::open> fault(1, ENOENT);
    EXPECT_EQ(code(), absl::StatusCode::kNotFound);
  }
  {
    const Fault<&Calls::open> fault(1, EACCES);
    EXPECT_EQ(code(), absl::StatusCode::kPermissionDenied);
  }
  {
    const Fault<&Calls::getdents64> fault(1, EACCES);
    EXPECT_EQ(code(), absl::StatusCode::kPermissionDenied);
  }
  {
    const Fault<&Calls::open> fault(2, EMFILE);
    EXPECT_EQ(code(), absl::StatusCode::kResourceExhausted);
  }
  {
    const Fault<&Calls::mmap> fault(1, ENOMEM);
    EXPECT_EQ(code(), absl::StatusCode::kResourceExhausted);
  }
  // A link that cannot be read for want of memory may be the one that is looked for.
  {
    const Fault<&Calls::readlink> fault(kEvery, ENOMEM);
    EXPECT_EQ(code(), absl::StatusCode::kResourceExhausted);
  }
  {
    const Fault<&Calls::readlink> gone(1, ENOENT);
    EXPECT_EQ(code(), absl::StatusCode::kOk);
  }
  {
    const Fault<&Calls::open> gone(2, ENOENT);
    EXPECT_EQ(code(), absl::StatusCode::kOk);
  }
  EXPECT_EQ(code(), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace alertpipe::os
