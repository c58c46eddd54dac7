// SPDX-License-Identifier: Apache-2.0

#include "os/fork_guard.h"

#include "gtest/gtest.h"
#include "os/kernel.h"
#include "support.h"

namespace alertpipe::os {
namespace {

// With MADV_WIPEONFORK where the kernel has it, and with the fallback.
class ForkGuardTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !ProbeKernel().value().wipe_on_fork) GTEST_SKIP() << "no MADV_WIPEONFORK";
  }
};

TEST_P(ForkGuardTest, IsTrueInTheOwnerAndFalseInChildAndGrandchild) {
  const NoLeaks no_leaks;
  const absl::StatusOr<ForkGuard> guard = ForkGuard::Create(GetParam());
  ASSERT_TRUE(guard.ok()) << guard.status();
  EXPECT_TRUE(guard->InOwner());
  EXPECT_EQ(RunInChild([&] {
              CHILD_EXPECT(!guard->InOwner());
              return RunInChild([&] { return guard->InOwner() ? 1 : 0; });
            }),
            0);
  EXPECT_TRUE(guard->InOwner());
}

TEST_P(ForkGuardTest, AChildMayOwnOneOfItsOwn) {
  absl::StatusOr<ForkGuard> guard = ForkGuard::Create(GetParam());
  ASSERT_TRUE(guard.ok());
  EXPECT_EQ(RunInChild([&] {
              absl::StatusOr<ForkGuard> own = ForkGuard::Create(GetParam());
              CHILD_EXPECT(own.ok() && own->InOwner() && !guard->InOwner());
              *guard = *std::move(own);
              CHILD_EXPECT(guard->InOwner());
              return RunInChild([&] { return guard->InOwner() ? 1 : 0; });
            }),
            0);
}

TEST_P(ForkGuardTest, CanBeMoved) {
  const NoLeaks no_leaks;
  absl::StatusOr<ForkGuard> guard = ForkGuard::Create(GetParam());
  ASSERT_TRUE(guard.ok());
  const ForkGuard moved(*std::move(guard));
  EXPECT_TRUE(moved.InOwner());
  EXPECT_FALSE(guard->InOwner());
}

INSTANTIATE_TEST_SUITE_P(Ways, ForkGuardTest, testing::Bool(),
                         [](const auto& way) { return way.param ? "ByWipedPage" : "ByPid"; });

TEST(ForkGuard, AsksTheKernelNothing) {
  if (!ProbeKernel().value().wipe_on_fork) GTEST_SKIP() << "no MADV_WIPEONFORK";
  const absl::StatusOr<ForkGuard> guard = ForkGuard::Create(true);
  ASSERT_TRUE(guard.ok());
  const Fault<&Calls::getpid> fault;
  EXPECT_TRUE(guard->InOwner());
  EXPECT_EQ(fault.count(), 0);
}

TEST(ForkGuard, FallsBackWhenAdviceIsRefusedAfterAll) {
  const NoLeaks no_leaks;
  const Fault<&Calls::madvise> fault(kEvery, EINVAL);
  const absl::StatusOr<ForkGuard> guard = ForkGuard::Create(true);
  ASSERT_TRUE(guard.ok());
  EXPECT_TRUE(guard->InOwner());
  EXPECT_EQ(RunInChild([&] { return guard->InOwner() ? 1 : 0; }), 0);
}

TEST(ForkGuard, TellsWhenThereIsNoMemory) {
  const NoLeaks no_leaks;
  const Fault<&Calls::mmap> fault(kEvery, ENOMEM);
  EXPECT_EQ(ForkGuard::Create(true).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ForkGuard::Create(false).ok());
}

}  // namespace
}  // namespace alertpipe::os
