// SPDX-License-Identifier: Apache-2.0

#include "os/process.h"

#include <poll.h>

#include "gtest/gtest.h"
#include "os/kernel.h"
#include "support.h"

namespace alertpipe::os {
namespace {

// Waits, without reaping, until `pid` has ended.
void AwaitDeath(pid_t pid) {
  siginfo_t info = {};
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
}

pid_t SpawnSleeper() {
  return Spawn([] {
    for (;;) ::pause();
    return 0;
  });
}

sigset_t Signals(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

bool IsBlocked(int signal) {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

TEST(HasExited, LearnsWithoutReaping) {
  const pid_t pid = SpawnSleeper();
  EXPECT_FALSE(HasExited(pid).value());
  ::kill(pid, SIGKILL);
  AwaitDeath(pid);
  EXPECT_TRUE(HasExited(pid).value());
  EXPECT_TRUE(HasExited(pid).value());
  const ExitStatus status = Reap(pid);
  EXPECT_TRUE(status.known);
  EXPECT_EQ(status.signal, SIGKILL);
  EXPECT_EQ(status.code, 0);
}

TEST(HasExited, TakesAChildThatSomebodyElseReapedForDead) {
  const pid_t pid = Spawn([] { return 0; });
  EXPECT_EQ(Wait(pid), 0);
  EXPECT_TRUE(HasExited(pid).value());
  EXPECT_FALSE(Reap(pid).known);
}

TEST(HasExited, KnowsDeathEvenWhenTheSystemReaps) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGCHLD, SIG_IGN);
              const pid_t alive = SpawnSleeper();
              CHILD_EXPECT(!HasExited(alive).value());
              ::kill(alive, SIGKILL);
              while (::waitpid(alive, nullptr, 0) >= 0) {
              }
              CHILD_EXPECT(HasExited(alive).value());
              CHILD_EXPECT(!Reap(alive).known);
              return 0;
            }),
            0);
}

TEST(HasExited, RepeatsAfterAnInterruptionAndTellsOtherErrors) {
  const pid_t pid = Spawn([] { return 0; });
  AwaitDeath(pid);
  {
    const Fault<&Calls::waitid> fault(1, EINTR);
    EXPECT_TRUE(HasExited(pid).value());
    EXPECT_EQ(fault.count(), 2);
  }
  {
    const Fault<&Calls::waitid> fault(1, EINVAL);
    EXPECT_FALSE(HasExited(pid).ok());
  }
  Reap(pid);
}

TEST(IsChild, UntilItIsReaped) {
  const pid_t pid = SpawnSleeper();
  EXPECT_TRUE(IsChild(pid).value());
  ::kill(pid, SIGKILL);
  AwaitDeath(pid);
  EXPECT_TRUE(IsChild(pid).value()) << "dead, and not reaped yet";
  EXPECT_TRUE(Reap(pid).known);
  EXPECT_FALSE(IsChild(pid).value());
  EXPECT_FALSE(IsChild(::getpid()).value());
  EXPECT_FALSE(IsChild(::getppid()).value());
  EXPECT_TRUE(absl::IsInvalidArgument(IsChild(0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(IsChild(-1).status()));
}

TEST(KillChild, KillsAChildAndNobodyElse) {
  const pid_t pid = SpawnSleeper();
  ::kill(pid, SIGSTOP);
  EXPECT_EQ(KillChild(pid), 0);
  AwaitDeath(pid);
  {
    const Fault<&Calls::kill> kills;
    EXPECT_EQ(KillChild(pid), 0) << "it has ended";
    EXPECT_EQ(Wait(pid), 1000 + SIGKILL);
    EXPECT_EQ(KillChild(pid), 0) << "it has been reaped";
    EXPECT_EQ(KillChild(::getppid()), 0) << "no child: somebody else has that number";
    for (const pid_t none : {0, -1, -pid}) EXPECT_EQ(KillChild(none), EINVAL);
    EXPECT_EQ(kills.count(), 0) << "a signal was sent";
  }
  const pid_t alive = SpawnSleeper();
  {
    const Fault<&Calls::kill> fault(1, EPERM);
    EXPECT_EQ(KillChild(alive), EPERM);
  }
  EXPECT_FALSE(HasExited(alive).value());
  EXPECT_EQ(KillChild(alive), 0);
  EXPECT_EQ(Wait(alive), 1000 + SIGKILL);
}

TEST(DecodeWaitStatus, TellsEndsFromStops) {
  const pid_t pid = SpawnSleeper();
  int status = 0;
  ::kill(pid, SIGSTOP);
  ASSERT_EQ(::waitpid(pid, &status, WUNTRACED), pid);
  EXPECT_FALSE(DecodeWaitStatus(status).known);
  EXPECT_EQ(DecodeWaitStatus(status).code, 0);
  EXPECT_EQ(DecodeWaitStatus(status).signal, 0);
  ::kill(pid, SIGKILL);
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(DecodeWaitStatus(status).known);
  EXPECT_EQ(DecodeWaitStatus(status).signal, SIGKILL);
  EXPECT_EQ(DecodeWaitStatus(status).code, 0);
  const pid_t coded = Spawn([] { return 9; });
  ASSERT_EQ(::waitpid(coded, &status, 0), coded);
  EXPECT_TRUE(DecodeWaitStatus(status).known);
  EXPECT_EQ(DecodeWaitStatus(status).code, 9);
  EXPECT_EQ(DecodeWaitStatus(status).signal, 0);
}

TEST(Reap, GivesTheExitCode) {
  const pid_t pid = Spawn([] { return 42; });
  AwaitDeath(pid);
  const Fault<&Calls::waitpid> fault(1, EINTR);
  const ExitStatus status = Reap(pid);
  EXPECT_TRUE(status.known);
  EXPECT_EQ(status.code, 42);
  EXPECT_EQ(status.signal, 0);
  EXPECT_FALSE(status.core_dumped);
  EXPECT_EQ(fault.count(), 2);
}

TEST(Reap, LeavesOtherChildrenAlone) {
  const pid_t other = Spawn([] { return 7; });
  const pid_t alive = SpawnSleeper();
  AwaitDeath(other);
  EXPECT_FALSE(Reap(alive).known);
  EXPECT_FALSE(HasExited(alive).value());
  EXPECT_EQ(Wait(other), 7);
  ::kill(alive, SIGKILL);
  EXPECT_EQ(Wait(alive), 1000 + SIGKILL);
}

TEST(Process, GroupsOfProcessesAreNeverMeant) {
  const pid_t child = Spawn([] { return 5; });
  AwaitDeath(child);
  const Fault<&Calls::waitpid> waitpid;
  const Fault<&Calls::waitid> waitid;
  const Fault<&Calls::pidfd_open> pidfd_open;
  for (const pid_t pid : {0, -1, -child}) {
    EXPECT_FALSE(Reap(pid).known);
    EXPECT_EQ(HasExited(pid).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(OpenPidfd(pid).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(waitpid.count() + waitid.count() + pidfd_open.count(), 0);
  EXPECT_EQ(Wait(child), 5);
}

TEST(OpenPidfd, BecomesReadableWhenTheProcessEnds) {
  if (!ProbeKernel().value().pidfd) GTEST_SKIP() << "no pidfds here";
  const NoLeaks no_leaks;
  const pid_t pid = SpawnSleeper();
  const absl::StatusOr<UniqueFd> pidfd = OpenPidfd(pid);
  ASSERT_TRUE(pidfd.ok()) << pidfd.status();
  EXPECT_NE(::fcntl(pidfd->get(), F_GETFD) & FD_CLOEXEC, 0);
  pollfd polled = {pidfd->get(), POLLIN, 0};
  EXPECT_EQ(::poll(&polled, 1, 0), 0);
  ::kill(pid, SIGKILL);
  EXPECT_EQ(::poll(&polled, 1, 30000), 1);
  EXPECT_TRUE(HasExited(pid).value());
  Reap(pid);
}

TEST(OpenPidfd, TellsAMissingCallFromAMissingProcess) {
  for (const int error : {ENOSYS, EPERM}) {  // valgrind or an old kernel; a sandbox
    const Fault<&Calls::pidfd_open> fault(kEvery, error);
    EXPECT_EQ(OpenPidfd(1).status().code(), absl::StatusCode::kUnimplemented);
  }
  {
    const Fault<&Calls::pidfd_open> fault(kEvery, EMFILE);
    EXPECT_EQ(OpenPidfd(1).status().code(), absl::StatusCode::kResourceExhausted);
  }
  if (!ProbeKernel().value().pidfd) GTEST_SKIP() << "no pidfds here";
  const pid_t pid = Spawn([] { return 0; });
  Wait(pid);
  EXPECT_EQ(OpenPidfd(pid).status().code(), absl::StatusCode::kNotFound);
}

TEST(Fork, BlocksTheSignalsUntilTheChildIsReady) {
  const ForkResult fork = Fork(Signals(SIGUSR1));
  if (fork.pid == 0) {
    int code = IsBlocked(SIGUSR1) && !IsBlocked(SIGUSR2) ? 0 : 1;
    RestoreMask(fork);
    if (IsBlocked(SIGUSR1)) code = 2;
    ::_exit(code);
  }
  ASSERT_GT(fork.pid, 0);
  EXPECT_EQ(fork.error, 0);
  EXPECT_FALSE(IsBlocked(SIGUSR1));
  EXPECT_EQ(Wait(fork.pid), 0);
}

TEST(Fork, KeepsWhatTheCallerHadBlocked) {
  const sigset_t before = Signals(SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &before, nullptr);
  const ForkResult fork = Fork(Signals(SIGUSR1));
  if (fork.pid == 0) {
    RestoreMask(fork);
    ::_exit(IsBlocked(SIGUSR2) && !IsBlocked(SIGUSR1) ? 0 : 1);
  }
  EXPECT_TRUE(IsBlocked(SIGUSR2));
  EXPECT_EQ(Wait(fork.pid), 0);
  ::pthread_sigmask(SIG_UNBLOCK, &before, nullptr);
}

TEST(Fork, ASignalOfTheWindowWaitsForTheChildsOwnDisposition) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGUSR1, [](int) { ::_exit(99); });  // the parent's handler
              const ForkResult fork = Fork(Signals(SIGUSR1));
              if (fork.pid == 0) {
                ::raise(SIGUSR1);
                const int signals[] = {SIGUSR1};
                ResetSignals(signals, 1);
                RestoreMask(fork);
                ::_exit(98);
              }
              return Wait(fork.pid) == 1000 + SIGUSR1 ? 0 : 1;
            }),
            0);
}

int FailingMask(int /*how*/, const sigset_t* /*wanted*/, sigset_t* /*before*/) { return EINVAL; }

TEST(Fork, FailureIsToldAndTheMaskIsBack) {
  {
    const Fault<&Calls::fork> fault(1, EAGAIN);
    const ForkResult fork = Fork(Signals(SIGUSR1));
    EXPECT_EQ(fork.pid, -1);
    EXPECT_EQ(fork.error, EAGAIN);
    EXPECT_FALSE(IsBlocked(SIGUSR1));
  }
  const Fault<&Calls::fork> forks;
  const Replace<&Calls::pthread_sigmask> fault(&FailingMask);
  const ForkResult fork = Fork(Signals(SIGUSR1));
  EXPECT_EQ(fork.pid, -1);
  EXPECT_EQ(fork.error, EINVAL);
  EXPECT_EQ(forks.count(), 0);
}

TEST(ResetSignals, SetsTheDefaultAndPassesOverTheImpossible) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGUSR1, SIG_IGN);
              ::signal(SIGTERM, [](int) {});
              const int signals[] = {SIGKILL, SIGUSR1, 1000, -1, SIGTERM};
              ResetSignals(signals, 5);
              for (const int signal : {SIGUSR1, SIGTERM}) {
                struct sigaction action = {};
                CHILD_EXPECT(::sigaction(signal, nullptr, &action) == 0);
                CHILD_EXPECT(action.sa_handler == SIG_DFL);
              }
              return 0;
            }),
            0);
}

TEST(Process, MutedSignalsDoNothingAndAreNotIgnored) {
  EXPECT_EQ(RunInChild([] {
              ::signal(SIGUSR1, [](int) { ::_exit(99); });
              const int signals[] = {SIGUSR1, SIGTERM, SIGKILL, 1000};
              MuteSignals(signals, 4);
              for (const int signal : {SIGUSR1, SIGTERM}) {
                struct sigaction action;
                CHILD_EXPECT(::sigaction(signal, nullptr, &action) == 0);
                CHILD_EXPECT(action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL);
                CHILD_EXPECT((action.sa_flags & SA_RESTART) != 0);
                CHILD_EXPECT(::raise(signal) == 0);
              }
              return 0;
            }),
            0);
}

TEST(Process, BlockedSignalsWaitUntilTheMaskIsBack) {
  EXPECT_EQ(RunInChild([] {
              static volatile sig_atomic_t handled = 0;
              ::signal(SIGUSR1, [](int) { handled = 1; });
              const sigset_t usr2 = Signals(SIGUSR2);
              CHILD_EXPECT(::sigprocmask(SIG_BLOCK, &usr2, nullptr) == 0);
              const int signals[] = {SIGUSR1, SIGUSR2};
              const sigset_t before = BlockSignals(signals, 2);
              CHILD_EXPECT(IsBlocked(SIGUSR1) && IsBlocked(SIGUSR2));
              ::raise(SIGUSR1);
              CHILD_EXPECT(handled == 0);
              SetSignalMask(before);
              CHILD_EXPECT(handled == 1);
              CHILD_EXPECT(!IsBlocked(SIGUSR1) && IsBlocked(SIGUSR2));
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace alertpipe::os
