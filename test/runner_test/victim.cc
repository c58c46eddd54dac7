// SPDX-License-Identifier: Apache-2.0
//
// Cases that deserve each verdict of the runner. Run by runner_test alone: most of them must fail.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "runner/test_case.h"

namespace {

// Keeps a pointer from being optimised away, and from nothing else.
void* volatile escape = nullptr;

void* Allocate(size_t size) {
  escape = std::malloc(size);
  void* const block = escape;
  escape = nullptr;
  return block;
}

[[noreturn]] void SleepForEver() {
  while (true) pause();
}

void WaitFor(pid_t pid) { ASSERT_EQ(waitpid(pid, nullptr, 0), pid); }

pid_t ParentOf(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    pid_t parent = -1;
    if (word == "PPid:" && status >> parent) return parent;
  }
  return -1;
}

// A grandchild whose parent has died. Returns its pid.
pid_t ForkOrphan() {
  int channel[2];
  EXPECT_EQ(pipe2(channel, O_CLOEXEC), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    const pid_t orphan = fork();
    if (orphan == 0) {
      setsid();
      SleepForEver();
    }
    _exit(write(channel[1], &orphan, sizeof(orphan)) == sizeof(orphan) ? 0 : 1);
  }
  WaitFor(parent);
  pid_t orphan = -1;
  EXPECT_EQ(read(channel[0], &orphan, sizeof(orphan)), static_cast<ssize_t>(sizeof(orphan)));
  close(channel[0]);
  close(channel[1]);
  return orphan;
}

TEST(Good, Passes) { RecordProperty("key", "value"); }

TEST(Good, Skips) { GTEST_SKIP() << "for a reason"; }

TEST(Good, DISABLED_Waits) { FAIL() << "disabled cases do not run"; }

TEST(Good, Reaps) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  WaitFor(child);
}

TEST(Good, KillsItsOrphan) { ASSERT_EQ(kill(ForkOrphan(), SIGKILL), 0); }

TEST(Good, FillsACacheOnce) {
  static std::string* const cache = new std::string(10000, 'x');
  EXPECT_EQ(cache->size(), 10000u);
}

// Threads bring stacks, arenas and caches with them, more of them when they happen to overlap.
TEST(Good, RunsThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([i] {
      std::ostringstream stream;
      for (int j = 0; j < 1000; ++j) stream << std::string(static_cast<size_t>(j), 'x') << i * 0.5;
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Good, DiesInAFork) {
  EXPECT_DEATH(std::abort(), "");
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(std::abort(), "");
}

TEST(Good, IsAllowedToLeak) { ASSERT_GE(dup(STDERR_FILENO), 0); }
ALERTPIPE_ALLOW(Good, IsAllowedToLeak, kDescriptors, "shows that an allowance works");

TEST(Good, SeesTheCallersEnvironment) {
  const char* const tunables = std::getenv("GLIBC_TUNABLES");
  const char* const expected = std::getenv("VICTIM_EXPECTS_TUNABLES");
  EXPECT_EQ(std::string(tunables == nullptr ? "" : tunables), expected == nullptr ? "" : expected);
}

class BadValue : public testing::TestWithParam<int> {};
TEST_P(BadValue, Hangs) { SleepForEver(); }
INSTANTIATE_TEST_SUITE_P(All, BadValue, testing::Values(7));
ALERTPIPE_TIME_LIMIT(BadValue, Hangs, 1);

TEST(Bad, Fails) { EXPECT_EQ(1, 2) << "seen with \x01 and \xff"; }

TEST(Bad, LeaksDescriptor) { ASSERT_GE(open("/dev/zero", O_RDONLY | O_CLOEXEC), 0); }

TEST(Bad, ClosesAForeignDescriptor) { close(STDIN_FILENO); }

TEST(Bad, ReplacesADescriptor) {
  const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(dup2(zero, STDIN_FILENO), STDIN_FILENO);
  close(zero);
}

TEST(Bad, LeavesChild) {
  if (fork() == 0) SleepForEver();
}

TEST(Bad, LeavesZombie) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
}

TEST(Bad, LeavesOrphan) { ForkOrphan(); }

TEST(Bad, LeaksHeap) { ASSERT_NE(Allocate(24), nullptr); }

TEST(Bad, GrowsReachableHeap) {
  static auto* const blocks = new std::vector<void*>();
  blocks->reserve(100);
  blocks->push_back(Allocate(1 << 20));
}

TEST(Bad, LeaksMapping) {
  ASSERT_NE(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            MAP_FAILED);
}

TEST(Bad, Hangs) {
  if (fork() == 0) SleepForEver();
  ForkOrphan();
  SleepForEver();
}
ALERTPIPE_TIME_LIMIT(Bad, Hangs, 1);

TEST(Bad, HangsAgainstAbort) {
  signal(SIGABRT, SIG_IGN);
  SleepForEver();
}
ALERTPIPE_TIME_LIMIT(Bad, HangsAgainstAbort, 1);

// Interrupts the runner: the case's parent is the warden, whose parent is the supervisor. The pid
// goes to a descriptor of the supervisor, since the output of an interrupted case is not shown.
TEST(Bad, HangsBeforeInterrupt) {
  const pid_t supervisor = ParentOf(getppid());
  const std::string console = "/proc/" + std::to_string(supervisor) + "/fd/1";
  FILE* const stream = std::fopen(console.c_str(), "a");
  ASSERT_NE(stream, nullptr);
  std::fprintf(stream, "pid %d (case)\n", getpid());
  std::fclose(stream);
  kill(supervisor, SIGTERM);
  SleepForEver();
}

TEST(Bad, Crashes) {
  std::fprintf(stderr, "last words\n");
  raise(SIGKILL);
}

TEST(Bad, ExitsEarly) { _exit(0); }

TEST(Bad, LetsAForkEscape) {
  const pid_t child = fork();
  if (child == 0) return;
  WaitFor(child);
}

TEST(Bad, FloodsOutput) {
  const std::string line(1 << 20, 'x');
  for (int i = 0; i < 65; ++i) std::fputs(line.c_str(), stderr);
  SleepForEver();
}

class BadSuite : public testing::Test {
 protected:
  static void SetUpTestSuite() { open("/dev/zero", O_RDONLY | O_CLOEXEC); }
};
TEST_F(BadSuite, LeaksInItsSetUp) {}

}  // namespace
