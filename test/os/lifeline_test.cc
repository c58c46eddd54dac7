// SPDX-License-Identifier: Apache-2.0
//
// Each test plays a small family: this process starts a master, the master a worker and whatever
// else the test wants, then the master is killed and the worker says what it saw. This process is
// the subreaper of the family, so that it can wait for the orphans.

#include "os/lifeline.h"

#include <poll.h>
#include <sys/prctl.h>

#include <functional>

#include "gtest/gtest.h"
#include "support.h"

namespace alertpipe::os {
namespace {

// What a worker tells this process. Without padding, which valgrind would call uninitialised.
struct Report {
  pid_t pid;
  int gone;    // MasterGone()
  int silent;  // the descriptor said nothing
};

Report Look(const Lifeline& lifeline) {
  pollfd polled = {lifeline.fd(), POLLIN, 0};
  const bool silent = ::poll(&polled, 1, 0) == 0;
  return {::getpid(), lifeline.MasterGone(), silent};
}

class LifelineTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    kernel_.pidfd = GetParam();
    if (GetParam() && !ProbeKernel().value().pidfd) GTEST_SKIP() << "no pidfds here";
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    ASSERT_EQ(::pipe2(reports_, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(hold_, O_CLOEXEC), 0);
  }

  void TearDown() override {
    for (const int fd : {reports_[0], reports_[1], hold_[0], hold_[1]}) ::close(fd);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  void Send(const Report& report) const {
    if (::write(reports_[1], &report, sizeof(report)) != sizeof(report)) ::_exit(3);
  }

  Report Receive() const {
    Report report = {};
    pollfd polled = {reports_[0], POLLIN, 0};
    EXPECT_EQ(::poll(&polled, 1, 30000), 1) << "a worker did not report";
    EXPECT_EQ(::read(reports_[0], &report, sizeof(report)), ssize_t{sizeof(report)});
    return report;
  }

  // A worker's life: reports once at the start, then when the master is gone, or after this process
  // released it.
  int Worker(Lifeline& lifeline, Lifeline::Descent descent) const {
    lifeline.EnterChild(descent);
    Send(Look(lifeline));
    for (int i = 0; i < 100 && !lifeline.MasterGone(); ++i) {
      pollfd polled[] = {{lifeline.fd(), POLLIN, 0}, {hold_[0], POLLIN, 0}};
      ::poll(polled, 2, 100);
      if (polled[1].revents != 0) break;
      // End of file comes a moment before the parent changes.
      if (polled[0].revents != 0) ::poll(nullptr, 0, 10);
    }
    Send(Look(lifeline));
    return 0;
  }

  // Reaps a process of the family, as soon as the deaths of its ancestors have made it ours.
  static int WaitOrphan(pid_t pid) {
    siginfo_t info = {};
    for (int i = 0; i < 3000; ++i) {
      if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0) break;
      ::poll(nullptr, 0, 10);
    }
    return Wait(pid);
  }

  // Starts a master that runs `family` with its lifeline and then waits for its end.
  pid_t Master(const std::function<void(Lifeline&)>& family) const {
    return Spawn([&] {
      absl::StatusOr<Lifeline> lifeline = Lifeline::Create(kernel_);
      CHILD_EXPECT(lifeline.ok());
      CHILD_EXPECT(!lifeline->MasterGone());
      family(*lifeline);
      CHILD_EXPECT(!lifeline->MasterGone());
      for (;;) ::pause();
      return 0;
    });
  }

  static void Kill(pid_t pid) {
    ::kill(pid, SIGKILL);
    EXPECT_EQ(Wait(pid), 1000 + SIGKILL);
  }

  Kernel kernel_;
  int reports_[2] = {-1, -1};
  int hold_[2] = {-1, -1};
};

constexpr auto kDirect = Lifeline::Descent::kDirect;
constexpr auto kUnknown = Lifeline::Descent::kUnknown;

TEST_P(LifelineTest, AWorkerLearnsOfItsMastersDeath) {
  const pid_t master =
      Master([&](Lifeline& lifeline) { Spawn([&] { return Worker(lifeline, kDirect); }); });
  EXPECT_FALSE(Receive().gone);
  Kill(master);
  const Report end = Receive();
  EXPECT_TRUE(end.gone);
  EXPECT_FALSE(end.silent);
  EXPECT_EQ(WaitOrphan(end.pid), 0);
}

// The descriptor can tell a little earlier than the parent does, so it is asked again.
TEST_P(LifelineTest, AChildOfTheMasterLearnsOfItThoughPollFails) {
  const pid_t master = Master([&](Lifeline& lifeline) {
    Spawn([&] {
      const Fault<&Calls::poll> fault(kEvery, ENOMEM);
      lifeline.EnterChild(kDirect);
      Send(Look(lifeline));
      for (int i = 0; i < 10000 && !lifeline.MasterGone(); ++i) ::poll(nullptr, 0, 1);
      Send(Look(lifeline));
      return 0;
    });
  });
  EXPECT_FALSE(Receive().gone);
  Kill(master);
  const Report end = Receive();
  EXPECT_TRUE(end.gone);
  EXPECT_EQ(WaitOrphan(end.pid), 0);
}

TEST_P(LifelineTest, AZombieMasterIsGone) {
  const pid_t master =
      Master([&](Lifeline& lifeline) { Spawn([&] { return Worker(lifeline, kDirect); }); });
  EXPECT_FALSE(Receive().gone);
  ::kill(master, SIGKILL);  // and nobody reaps it yet
  const Report end = Receive();
  EXPECT_TRUE(end.gone);
  EXPECT_EQ(Wait(master), 1000 + SIGKILL);
  EXPECT_EQ(WaitOrphan(end.pid), 0);
}

TEST_P(LifelineTest, AWorkerThatWasForkedTwiceLearnsOfItToo) {
  const pid_t master = Master([&](Lifeline& lifeline) {
    const pid_t between = Spawn([&] {
      Spawn([&] { return Worker(lifeline, kUnknown); });
      return 0;
    });
    Wait(between);
  });
  const Report start = Receive();
  EXPECT_FALSE(start.gone) << "the parent is another process, and that proves nothing";
  Kill(master);
  const Report end = Receive();
  EXPECT_TRUE(end.gone);
  EXPECT_EQ(WaitOrphan(end.pid), 0);
  // The process between may have outlived the master that was waiting for it.
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

TEST_P(LifelineTest, AStrangerWithCopiesOfTheDescriptorsHidesNothing) {
  const pid_t master = Master([&](Lifeline& lifeline) {
    // Some helper that the master forks and that never execs, with all its descriptors.
    Spawn([&] {
      Send({::getpid(), 0, 0});
      char byte;
      return ::read(hold_[0], &byte, 1) == 1 ? 0 : 1;
    });
    Spawn([&] { return Worker(lifeline, kDirect); });
  });
  const Report first = Receive();
  const Report second = Receive();
  Kill(master);
  const Report end = Receive();
  EXPECT_TRUE(end.gone);
  if (!GetParam()) {
    EXPECT_TRUE(end.silent) << "or this test shows nothing";
  }
  EXPECT_EQ(WaitOrphan(end.pid), 0);
  EXPECT_EQ(::write(hold_[1], "x", 1), 1);
  EXPECT_EQ(WaitOrphan(first.pid == end.pid ? second.pid : first.pid), 0);
}

TEST_P(LifelineTest, AMasterThatDestroysItAndLivesOnIsNotGone) {
  const pid_t master = Spawn([&] {
    {
      absl::StatusOr<Lifeline> lifeline = Lifeline::Create(kernel_);
      CHILD_EXPECT(lifeline.ok());
      Spawn([&] {
        lifeline->EnterChild(kDirect);
        char byte;
        CHILD_EXPECT(::read(hold_[0], &byte, 1) == 1);
        Send(Look(*lifeline));
        CHILD_EXPECT(::read(hold_[0], &byte, 1) == 1);
        Send(Look(*lifeline));
        return 0;
      });
    }
    Send({::getpid(), 0, 0});
    for (;;) ::pause();
    return 0;
  });
  EXPECT_EQ(Receive().pid, master);
  EXPECT_EQ(::write(hold_[1], "x", 1), 1);
  const Report before = Receive();
  EXPECT_FALSE(before.gone);
  EXPECT_EQ(before.silent, GetParam()) << "or this test shows nothing";
  Kill(master);
  EXPECT_EQ(::write(hold_[1], "x", 1), 1);
  EXPECT_TRUE(Receive().gone);
  EXPECT_EQ(WaitOrphan(before.pid), 0);
}

TEST_P(LifelineTest, AForkOfAWorkerNeitherHidesNorInventsADeath) {
  const pid_t master = Master([&](Lifeline& lifeline) {
    Spawn([&] {
      lifeline.EnterChild(kDirect);
      Send(Look(lifeline));
      // A plain fork, whose parent is the worker and no master.
      const pid_t grandchild = Spawn([&] { return Worker(lifeline, kUnknown); });
      return Wait(grandchild);
    });
  });
  const Report worker = Receive();
  EXPECT_FALSE(worker.gone);
  EXPECT_FALSE(Receive().gone) << "the fork's parent is the worker, and that proves nothing";
  Kill(master);
  EXPECT_TRUE(Receive().gone);
  EXPECT_EQ(WaitOrphan(worker.pid), 0);
}

TEST_P(LifelineTest, AWorkerWhoseMasterDiedBeforeItEnteredKnowsEvenThen) {
  // A stranger again, or end of file would tell.
  const pid_t master = Master([&](Lifeline& lifeline) {
    for (int i = 0; i < 2; ++i) {
      Spawn([&] {
        Send({::getpid(), 0, 0});
        char byte;
        CHILD_EXPECT(::read(hold_[0], &byte, 1) == 1);
        lifeline.EnterChild(kDirect);
        Send(Look(lifeline));
        CHILD_EXPECT(::read(hold_[0], &byte, 1) == 1);
        return 0;
      });
    }
  });
  const pid_t pids[] = {Receive().pid, Receive().pid};
  Kill(master);
  EXPECT_EQ(::write(hold_[1], "x", 1), 1);  // one of the two enters; the other is the stranger
  EXPECT_TRUE(Receive().gone);
  EXPECT_EQ(::write(hold_[1], "xxx", 3), 3);
  EXPECT_TRUE(Receive().gone);
  for (const pid_t pid : pids) EXPECT_EQ(WaitOrphan(pid), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, LifelineTest, testing::Bool(),
                         [](const auto& way) { return way.param ? "ByPidfd" : "ByPipe"; });

TEST(Lifeline, UsesThePipeWhereThePidfdFailsAfterAll) {  // valgrind
  const NoLeaks no_leaks;
  Kernel kernel;
  kernel.pidfd = true;
  const Fault<&Calls::pidfd_open> fault(kEvery, ENOSYS);
  const absl::StatusOr<Lifeline> lifeline = Lifeline::Create(kernel);
  ASSERT_TRUE(lifeline.ok()) << lifeline.status();
  EXPECT_FALSE(lifeline->by_pidfd());
  EXPECT_FALSE(lifeline->MasterGone());
}

TEST(Lifeline, DescriptorsDoNotSurviveExec) {
  for (const bool pidfd : {false, true}) {
    Kernel kernel;
    kernel.pidfd = pidfd;
    const std::set<int> before = OpenDescriptors();
    const absl::StatusOr<Lifeline> lifeline = Lifeline::Create(kernel);
    ASSERT_TRUE(lifeline.ok());
    for (const int fd : OpenDescriptors()) {
      if (before.count(fd) != 0) continue;
      EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    }
  }
}

TEST(Lifeline, TheMasterItselfIsNeverGone) {
  for (const bool pidfd : {false, true}) {
    const NoLeaks no_leaks;
    Kernel kernel;
    kernel.pidfd = pidfd;
    absl::StatusOr<Lifeline> lifeline = Lifeline::Create(kernel);
    ASSERT_TRUE(lifeline.ok());
    const Lifeline moved(*std::move(lifeline));
    EXPECT_FALSE(moved.MasterGone());
  }
}

TEST(Lifeline, EachFailureIsToldAndLeaksNothing) {
  const NoLeaks no_leaks;
  {
    const Fault<&Calls::pipe2> fault(1, EMFILE);
    EXPECT_EQ(Lifeline::Create(Kernel()).status().code(), absl::StatusCode::kResourceExhausted);
  }
  {
    const Fault<&Calls::fcntl> fault(2, EINVAL);
    EXPECT_FALSE(Lifeline::Create(Kernel()).ok());
  }
  Kernel kernel;
  kernel.pidfd = true;
  const Fault<&Calls::pidfd_open> no_pidfd(1, EMFILE);
  const Fault<&Calls::pipe2> no_pipe(1, EMFILE);
  EXPECT_EQ(Lifeline::Create(kernel).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Lifeline, AFailingPollProvesNothing) {
  const absl::StatusOr<Lifeline> lifeline = Lifeline::Create(Kernel());
  ASSERT_TRUE(lifeline.ok());
  const Fault<&Calls::poll> fault(kEvery, EINTR);
  EXPECT_FALSE(lifeline->MasterGone());
}

}  // namespace
}  // namespace alertpipe::os
