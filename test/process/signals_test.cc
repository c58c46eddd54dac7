// SPDX-License-Identifier: Apache-2.0
//
// Signals that hit a process in the middle of everything: a timer that fires 10,000 times a second,
// and SIGPIPE with its default action.
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "../os/support.h"
#include "family.h"
#include "os/kernel.h"
#include "runner/test_case.h"

namespace alertpipe::process {
namespace {

// ---- SIGALRM at 10 kHz --------------------------------------------------------------------------

volatile sig_atomic_t g_alarms = 0;

// Takes the place of the alarm(2) that bounds every forked process, and does its work.
void OnAlarm(int) {
  g_alarms = g_alarms + 1;
  if (g_alarms > 10000 * 120) _exit(97);
}

// Without SA_RESTART, so that every call that can be interrupted is.
class Alarms {
 public:
  Alarms() {
    struct sigaction action = {};
    action.sa_handler = &OnAlarm;
    sigaction(SIGALRM, &action, &before_);
    g_alarms = 0;
    SetInterval(100);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;
  ~Alarms() {
    SetInterval(0);
    sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  static void SetInterval(int microseconds) {
    itimerval timer = {};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = microseconds;
    setitimer(ITIMER_REAL, &timer, nullptr);
  }

  struct sigaction before_;
};

// Around packets, around runs of packets, and far beyond what a pipe holds.
std::size_t SizeOf(std::uint64_t number) {
  constexpr std::size_t kSizes[] = {0, 1, 100, 4000, 4050, 4060, 4061, 4096, 8192, 20000, 300000};
  return kSizes[number % std::size(kSizes)] + number % 7;
}

struct Talk {
  Count alerts[3];
  Count alarms[3];
  Count exits;
};

TEST(Alarm, TenThousandASecondHarmNothing) {
  constexpr std::uint64_t kAlerts = 1500;
  Shared<Talk> talk;
  Family family(FamilyOf(3));
  for (int i = 0; i < 2; ++i) {
    family.Spawn([&](Member& me) {
      const Alarms alarms;
      const int slot = me.slot();
      Pump pump(kAlerts, [&, slot](std::uint64_t number) {
        return me->Send(To::Slot(3 - slot), "n", Pattern(SizeOf(number), number));
      });
      me->OnDrained([&](const Peer&) { pump.Go(); });
      me->Receive("go", [&](Alert&) { pump.Go(); });
      me->Receive("n", [&, slot](Alert& alert) {
        const std::uint64_t number = talk->alerts[slot] + 1;
        me.Check(alert.data().size() == SizeOf(number) && IsPattern(alert.data(), number),
                 "an alert is not what was sent");
        ++talk->alerts[slot];
      });
      me.Every(1, [&, slot] { talk->alarms[slot] = static_cast<std::uint64_t>(g_alarms); });
      me.Run();
      const Stats stats = me->stats();
      me.Check(
          stats.damaged_bytes + stats.damaged_packets + stats.damaged_records + stats.lost_alerts ==
              0,
          "damage");
      me.Check(pump.done(), pump.trouble().ToString());
    });
  }
  ASSERT_TRUE(family.Ready());
  {
    // The master is not spared: it sends, forks, notices a death.
    const Alarms alarms;
    for (int slot = 1; slot <= 2; ++slot) ASSERT_TRUE(family->Send(To::Slot(slot), "go").ok());
    for (int round = 0; round < 3; ++round) {
      const Peer third = family.Spawn([](Member&) {});
      ASSERT_TRUE(family.Ready());
      ASSERT_TRUE(family.KillAndReap(third));
    }
    ASSERT_TRUE(family.Until([&] {
      return talk->alerts[1] == kAlerts && talk->alerts[2] == kAlerts;
    })) << talk->alerts[1]
        << ' ' << talk->alerts[2];
    ASSERT_TRUE(family.Until([&] {
      return g_alarms > 500 && talk->alarms[1] > 500 && talk->alarms[2] > 500;
    })) << "the timers did not fire: "
        << g_alarms << ' ' << talk->alarms[1] << ' ' << talk->alarms[2];
  }
}
ALERTPIPE_TIME_LIMIT(Alarm, TenThousandASecondHarmNothing, 120);

// ---- SIGPIPE ------------------------------------------------------------------------------------

bool IsDefault(int signal) {
  struct sigaction action;
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_DFL;
}

struct Orphans {
  Count pid[3];
  Count gone;
  Count queued;
  Count undelivered;
  Count refused;
  Count was_default;
};

// Without the master, nobody holds the read end of a dead worker's pipe: what is written there
// raises SIGPIPE. Worker 1 sends to worker 2, idle and with a full pipe.
void CheckBrokenPipes() {
  Shared<Orphans> orphans;
  Household house([&] {
    signal(SIGPIPE, SIG_DFL);
    Family family(TightFamilyOf(2));
    family.Spawn([&](Member& me) {
      me->OnMasterGone([&] { ++orphans->gone; });
      me->OnUndelivered([&](const Undelivered&) { ++orphans->undelivered; });
      me->Receive("fill", [&](Alert&) {
        for (int i = 0; i < 50; ++i) me->Send(To::Slot(2), "x", std::string(1000, 'x'));
        orphans->queued = me->QueuedBytes(2);
      });
      me.Every(1, [&] {
        if (orphans->undelivered == 0) return;
        orphans->refused += !me->Send(To::Slot(2), "y").ok();
      });
      me.Run();
    });
    family.SpawnDeaf([](Member&) {});
    if (!family.Ready()) return;
    orphans->was_default = IsDefault(SIGPIPE);
    family->Send(To::Slot(1), "fill");
    if (!family.Until([&] { return orphans->queued > 0; })) return;
    for (int slot = 1; slot <= 2; ++slot)
      orphans->pid[slot] = static_cast<std::uint64_t>(family.live[slot].pid);
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return orphans->pid[1] != 0 && orphans->pid[2] != 0; }));
  EXPECT_EQ(orphans->was_default, 1u);
  const std::vector<pid_t> workers = {static_cast<pid_t>(orphans->pid[1].load()),
                                      static_cast<pid_t>(orphans->pid[2].load())};
  house.KillMaster(workers);
  ASSERT_TRUE(Eventually([&] { return orphans->gone == 1; }));
  house.KillOrphan(workers[1]);
  EXPECT_TRUE(Eventually([&] { return orphans->undelivered > 40 && orphans->refused > 10; }))
      << orphans->undelivered << ' ' << orphans->refused;
  EXPECT_TRUE(house.EndOrphan(workers[0])) << "SIGPIPE has killed it";
}

TEST(Sigpipe, AtItsDefaultKillsNoWorker) { CheckBrokenPipes(); }

// An older kernel: RWF_NOSIGNAL is not known, a write to a broken pipe raises the signal.
ssize_t WithoutNosignal(int fd, const iovec* parts, int count, off_t offset, int flags) {
  if ((flags & os::kRwfNosignal) != 0) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return ::pwritev2(fd, parts, count, offset, flags);
}

TEST(Sigpipe, AtItsDefaultKillsNoWorkerOfAnOlderKernel) {
  const os::Replace<&os::Calls::pwritev2> write(&WithoutNosignal);
  CheckBrokenPipes();
}

// Nor does the library change what the signal does to the program's own writes, where it can do
// without.
TEST(Sigpipe, StaysWhatTheProgramHasMadeOfIt) {
  const absl::StatusOr<os::Kernel> kernel = os::ProbeKernel();
  ASSERT_TRUE(kernel.ok());
  if (!kernel->nosignal) GTEST_SKIP() << "this kernel has no RWF_NOSIGNAL for pipes";
  Shared<Orphans> seen;
  signal(SIGPIPE, SIG_DFL);
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    me.Check(IsDefault(SIGPIPE), "SIGPIPE was changed");
    ++seen->gone;
  });
  EXPECT_TRUE(family.Until([&] { return seen->gone == 1; }));
  EXPECT_TRUE(IsDefault(SIGPIPE));
}

}  // namespace
}  // namespace alertpipe::process
