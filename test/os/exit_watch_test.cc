// SPDX-License-Identifier: Apache-2.0

#include "os/exit_watch.h"

#include <poll.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "os/kernel.h"
#include "os/process.h"
#include "support.h"

namespace alertpipe::os {
namespace {

class ExitWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!ProbeKernel().value().pidfd) GTEST_SKIP() << "no pidfds here";
    absl::StatusOr<ExitWatch> watch = ExitWatch::Create();
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_.emplace(*std::move(watch));
  }

  void TearDown() override {
    for (const auto& [tag, pid] : children_) {
      ::kill(pid, SIGKILL);
      Wait(pid);
    }
  }

  pid_t AddChild(uint64_t tag) {
    const pid_t pid = Spawn([] {
      for (;;) ::pause();
      return 0;
    });
    children_[tag] = pid;
    EXPECT_TRUE(watch_->Add(pid, tag).ok());
    return pid;
  }

  // Kills, and waits until the kernel knows.
  void Kill(uint64_t tag) {
    ::kill(children_[tag], SIGKILL);
    siginfo_t info = {};
    ::waitid(P_PID, static_cast<id_t>(children_[tag]), &info, WEXITED | WNOWAIT);
  }

  bool Readable() const {
    pollfd polled = {watch_->fd(), POLLIN, 0};
    return ::poll(&polled, 1, 0) == 1;
  }

  std::set<uint64_t> Exited(size_t max = ExitWatch::kExitedMax) {
    std::vector<uint64_t> tags(max);
    tags.resize(watch_->Exited(tags.data(), max));
    return {tags.begin(), tags.end()};
  }

  std::optional<ExitWatch> watch_;
  std::map<uint64_t, pid_t> children_;
};

using Tags = std::set<uint64_t>;

TEST_F(ExitWatchTest, NamesExactlyTheChildrenThatEnded) {
  for (uint64_t tag = 10; tag < 18; ++tag) AddChild(tag);
  EXPECT_FALSE(Readable());
  EXPECT_EQ(Exited(), Tags());
  for (const uint64_t tag : {11U, 14U, 17U}) Kill(tag);
  EXPECT_TRUE(Readable());
  EXPECT_EQ(Exited(), (Tags{11, 14, 17}));
  EXPECT_EQ(Exited(), (Tags{11, 14, 17})) << "reported until removed";
  for (const uint64_t tag : {11U, 14U, 17U}) watch_->Remove(tag);
  EXPECT_FALSE(Readable());
  EXPECT_EQ(Exited(), Tags());
}

TEST_F(ExitWatchTest, WakesAnOuterLoop) {
  AddChild(1);
  pollfd polled = {watch_->fd(), POLLIN, 0};
  ::kill(children_[1], SIGKILL);
  EXPECT_EQ(::poll(&polled, 1, 30000), 1);
  EXPECT_EQ(Exited(), Tags{1});
}

TEST_F(ExitWatchTest, ASmallArrayIsFilledAgainAndAgain) {
  for (uint64_t tag = 0; tag < 5; ++tag) AddChild(tag);
  for (uint64_t tag = 0; tag < 5; ++tag) Kill(tag);
  EXPECT_EQ(Exited(0), Tags());
  Tags all;
  while (true) {
    const Tags some = Exited(2);
    if (some.empty()) break;
    EXPECT_LE(some.size(), 2U);
    for (const uint64_t tag : some) {
      EXPECT_TRUE(all.insert(tag).second);
      watch_->Remove(tag);
    }
  }
  EXPECT_EQ(all, (Tags{0, 1, 2, 3, 4}));
}

TEST_F(ExitWatchTest, RemoveForgetsEvenWhileARelativeHoldsTheDescriptors) {
  AddChild(1);
  AddChild(2);  // has a copy of the first one's pidfd
  Kill(1);
  EXPECT_EQ(Exited(), Tags{1});
  watch_->Remove(1);
  EXPECT_FALSE(Readable());
  EXPECT_EQ(Exited(), Tags());
}

TEST_F(ExitWatchTest, ATagCanBeUsedAgainAfterRemove) {
  AddChild(1);
  Kill(1);
  watch_->Remove(1);
  EXPECT_EQ(Wait(children_[1]), 1000 + SIGKILL);
  AddChild(1);
  EXPECT_EQ(Exited(), Tags());
  Kill(1);
  EXPECT_EQ(Exited(), Tags{1});
}

TEST_F(ExitWatchTest, KillsTheOneThatIsNamedAlsoIfItIsStopped) {
  AddChild(1);
  const pid_t stopped = AddChild(2);
  ::kill(stopped, SIGSTOP);
  siginfo_t info = {};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(stopped), &info, WSTOPPED), 0);
  EXPECT_EQ(watch_->Kill(2), 0);
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(stopped), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_status, SIGKILL);
  EXPECT_EQ(Exited(), Tags{2});
  EXPECT_EQ(watch_->Kill(2), 0) << "ended and not reaped";
  EXPECT_EQ(Wait(stopped), 1000 + SIGKILL);
  EXPECT_EQ(watch_->Kill(2), 0) << "reaped: nobody is hit";
  watch_->Remove(2);
  EXPECT_EQ(watch_->Kill(2), ENOENT);
  EXPECT_EQ(watch_->Kill(7), ENOENT);
  const Fault<&Calls::pidfd_send_signal> fault(1, ENOSYS);
  EXPECT_EQ(watch_->Kill(1), ENOSYS);
  EXPECT_EQ(Exited(), Tags());
  children_.erase(2);
}

TEST_F(ExitWatchTest, DestroyedInAChildItStillServesTheParent) {
  AddChild(1);
  EXPECT_EQ(RunInChild([&] {
              watch_.reset();
              return 0;
            }),
            0);
  Kill(1);
  EXPECT_EQ(Exited(), Tags{1});
}

TEST_F(ExitWatchTest, RefusesATagInUseAndAProcessThatIsGone) {
  const pid_t pid = AddChild(1);
  EXPECT_EQ(watch_->Add(pid, 1).code(), absl::StatusCode::kAlreadyExists);
  const pid_t gone = Spawn([] { return 0; });
  Wait(gone);
  EXPECT_EQ(watch_->Add(gone, 2).code(), absl::StatusCode::kNotFound);
  watch_->Remove(3);  // never added
}

TEST_F(ExitWatchTest, AChildThatEndedBeforeItWasAddedIsReported) {
  const pid_t pid = Spawn([] { return 0; });
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  children_[9] = pid;
  EXPECT_TRUE(watch_->Add(pid, 9).ok());
  EXPECT_EQ(Exited(), Tags{9});
}

TEST_F(ExitWatchTest, EachFailureIsToldAndLeaksNothing) {
  const pid_t pid = AddChild(1);
  const NoLeaks no_leaks;
  {
    const Fault<&Calls::pidfd_open> fault(1, EMFILE);
    EXPECT_EQ(watch_->Add(pid, 2).code(), absl::StatusCode::kResourceExhausted);
  }
  {
    const Fault<&Calls::epoll_ctl> fault(1, ENOSPC);
    EXPECT_EQ(watch_->Add(pid, 2).code(), absl::StatusCode::kResourceExhausted);
  }
  {
    const Fault<&Calls::epoll_create1> fault(1, EMFILE);
    EXPECT_EQ(ExitWatch::Create().status().code(), absl::StatusCode::kResourceExhausted);
  }
}

// A caller that looks only after SIGCHLD does not look again soon.
TEST_F(ExitWatchTest, AnInterruptedLookMissesNobody) {
  AddChild(1);
  Kill(1);
  const Fault<&Calls::epoll_wait> fault(1, EINTR);
  EXPECT_EQ(Exited(), Tags{1});
  EXPECT_TRUE(fault.fired());
}

TEST(ExitWatch, IsUnimplementedWherePidfdsAre) {  // valgrind
  const NoLeaks no_leaks;
  const Fault<&Calls::pidfd_open> fault(kEvery, ENOSYS);
  EXPECT_EQ(ExitWatch::Create().status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace alertpipe::os
