// SPDX-License-Identifier: Apache-2.0
//
// An ordinary user who has used up the pages that the kernel grants for pipes
// (fs.pipe-user-pages-soft): new pipes then hold one or two pages, and nobody may enlarge them. A
// family has to live with what it gets.
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

constexpr uid_t kNobody = 65534;
constexpr uid_t kFirstUnused = 1000000000;
constexpr int kSkipped = 77;
constexpr std::size_t kDefaultCapacity = 65536;

// Pipes up to the limit, closed at the end.
class Hoard {
 public:
  // Stops when the kernel gives a new pipe less than the default. False when it never does.
  bool Fill() {
    for (int pipes = 0; pipes < 2000; ++pipes) {
      int fds[2];
      if (pipe2(fds, O_CLOEXEC) != 0) return false;
      fds_.insert(fds_.end(), {fds[0], fds[1]});
      if (fcntl(fds[0], F_GETPIPE_SZ) < static_cast<int>(kDefaultCapacity)) return true;
      // The largest that the user may have, so that few descriptors are enough.
      for (int bytes = 1048576; bytes > 65536 && fcntl(fds[0], F_SETPIPE_SZ, bytes) < 0; bytes /= 2)
        ;
    }
    return false;
  }
  Hoard() = default;
  Hoard(const Hoard&) = delete;
  Hoard& operator=(const Hoard&) = delete;
  ~Hoard() {
    for (const int fd : fds_) close(fd);
  }

 private:
  std::vector<int> fds_;
};

std::size_t SmallestPipe(const std::set<std::uint64_t>& inodes) {
  int smallest = 1 << 30;
  for (const std::uint64_t inode : inodes)
    smallest = std::min(smallest, fcntl(DescriptorOf(inode, O_WRONLY), F_GETPIPE_SZ));
  return static_cast<std::size_t>(smallest);
}

// A family that asks for `capacity` and is not given it does all that it has to.
void LiveWith(std::size_t capacity) {
  struct Heard {
    Count alerts[3];
  };
  Shared<Heard> heard;
  const std::size_t sizes[] = {0, 1, 4000, 4096, 5000, 70000, 1000000};
  MasterOptions options = FamilyOf(2);
  options.pipe_capacity = capacity;
  Family family(options);
  EXPECT_EQ(family->pipe_capacity(), SmallestPipe(family.pipes()));
  EXPECT_GE(family->pipe_capacity(), 4096u);
  EXPECT_LE(family->pipe_capacity(), 8192u) << "asked for " << capacity;
  for (int slot = 1; slot <= 2; ++slot) {
    family.Spawn([&](Member& me) {
      const int self = me.slot();
      me->Receive("go", [&, self](Alert&) {
        for (const std::size_t bytes : sizes)
          me.Check(me->Send(To::Slot(3 - self), "n", Buffer(Pattern(bytes, bytes))).ok(), "send");
      });
      me->Receive("n", [&, self](Alert& alert) {
        const std::size_t bytes = sizes[heard->alerts[self] % std::size(sizes)];
        me.Check(alert.data().size() == bytes && IsPattern(alert.data(), bytes),
                 "an alert is not what was sent");
        ++heard->alerts[self];
      });
      me.Run();
    });
  }
  for (std::uint64_t round = 1; round <= 3; ++round) {
    ASSERT_TRUE(family.Ready());
    EXPECT_EQ(family->Broadcast("go").accepted, 2u);
    ASSERT_TRUE(family.Until([&] {
      return heard->alerts[1] == round * std::size(sizes) &&
             heard->alerts[2] == round * std::size(sizes);
    }));
    ASSERT_TRUE(family.KillAndReap(family.live[2]));
    family.Respawn(2);
  }
}

// The kernel counts a user's pipes over all processes: so this becomes a user whom no other process
// has, or, where only few users exist (a container), nobody.
bool BecomeAnOrdinaryUser() {
  if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0) return false;
  const uid_t unused = kFirstUnused + static_cast<uid_t>(getpid());
  return setresuid(unused, unused, unused) == 0 || setresuid(kNobody, kNobody, kNobody) == 0;
}

// The code that the process ends with.
int LivePastTheLimit() {
  if (geteuid() == 0) {
    if (!BecomeAnOrdinaryUser()) {
      std::perror("cannot become an ordinary user");
      return kSkipped;
    }
    prctl(PR_SET_DUMPABLE, 1);  // or /proc/self is root's
  }
  Hoard hoard;
  if (!hoard.Fill()) {
    std::perror("the page limit of pipes is not reached");
    return kSkipped;
  }
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return kSkipped;
  EXPECT_EQ(fcntl(fds[0], F_SETPIPE_SZ, 65536), -1);
  EXPECT_EQ(errno, EPERM);
  close(fds[0]);
  close(fds[1]);
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{4096}, std::size_t{65536},
                                     MasterOptions().pipe_capacity, std::size_t{1048576}}) {
    LiveWith(capacity);
  }
  return ::testing::Test::HasFailure() ? 1 : 0;
}

// In a process of its own, which can become another user if it is root.
TEST(PageLimit, AFamilyOfAnOrdinaryUserLivesWithWhatItGets) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(static_cast<unsigned>(2 * LivenessLimitSeconds()));
    const int code = LivePastTheLimit();
    std::fflush(nullptr);
    _exit(code);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "wait status " << status;
  if (WEXITSTATUS(status) == kSkipped)
    GTEST_SKIP() << "the limit cannot be reached here (RLIMIT_NOFILE, CAP_SYS_RESOURCE, or root "
                    "that cannot become another user)";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace alertpipe::process
