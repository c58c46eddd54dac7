// SPDX-License-Identifier: Apache-2.0
//
// What is reported, how often, and what is never in it. The limit is tested with a clock of its
// own; the kinds with real events, some of which only a system call that is made to fail can cause.
#include "diagnostics.h"

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../core/memory_faults.h"
#include "../core/packet_builder.h"
#include "family.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/kernel.h"

namespace alertpipe::process {
namespace {

using Kind = Diagnostic::Kind;

// ---- How often ----------------------------------------------------------------------------------

std::uint64_t g_now = 0;

class Limit : public ::testing::Test {
 protected:
  void SetUp() override { g_now = 0; }
  void Pass(std::uint64_t ns) { g_now += ns; }
  // The count of what is due now, 0 if nothing is.
  std::uint64_t Take(Kind kind, bool all = false) {
    return diagnostics_.Take(kind, all, &report_) ? report_.count : 0;
  }

  static constexpr std::uint64_t kSecond = internal::Diagnostics::kIntervalNs;
  internal::Diagnostics diagnostics_{[] { return g_now; }};
  Diagnostic report_;
};

TEST_F(Limit, TheFirstIsDueAtOnceWhateverTheClockSays) {
  EXPECT_FALSE(diagnostics_.due());
  EXPECT_EQ(Take(Kind::kUnhandled, true), 0u);
  diagnostics_.Note(Kind::kUnhandled);
  EXPECT_TRUE(diagnostics_.due());
  EXPECT_EQ(Take(Kind::kUnhandled), 1u);
  EXPECT_FALSE(diagnostics_.due());
  EXPECT_EQ(Take(Kind::kUnhandled, true), 0u);
}

TEST_F(Limit, WhatFollowsMergesUntilTheFirstEventAfterASecond) {
  diagnostics_.Note(Kind::kUnhandled);
  EXPECT_EQ(Take(Kind::kUnhandled), 1u);
  for (int i = 0; i < 10; ++i) {
    Pass(kSecond / 10 - 1);
    diagnostics_.Note(Kind::kUnhandled);
    EXPECT_EQ(Take(Kind::kUnhandled), 0u);
  }
  Pass(9);
  diagnostics_.Note(Kind::kUnhandled, Peer(), 5);
  EXPECT_FALSE(diagnostics_.due()) << "a nanosecond is missing";
  Pass(kSecond);
  EXPECT_FALSE(diagnostics_.due()) << "time alone tells nothing";
  diagnostics_.Note(Kind::kUnhandled);
  EXPECT_EQ(Take(Kind::kUnhandled), 16u);
  // The second counts from that report on.
  Pass(kSecond - 1);
  diagnostics_.Note(Kind::kUnhandled);
  EXPECT_EQ(Take(Kind::kUnhandled), 0u);
  Pass(1);
  diagnostics_.Note(Kind::kUnhandled);
  EXPECT_EQ(Take(Kind::kUnhandled), 2u);
}

TEST_F(Limit, WhatIsHeldBackComesAtTheEnd) {
  diagnostics_.Note(Kind::kStale);
  EXPECT_EQ(Take(Kind::kStale), 1u);
  diagnostics_.Note(Kind::kStale, Peer(), 7);
  EXPECT_EQ(Take(Kind::kStale), 0u);
  EXPECT_EQ(Take(Kind::kStale, true), 7u);
  EXPECT_EQ(Take(Kind::kStale, true), 0u);
}

TEST_F(Limit, KindsAreIndependent) {
  for (int kind = 0; kind < Diagnostic::kKinds; ++kind) {
    diagnostics_.Note(static_cast<Kind>(kind));
    EXPECT_EQ(Take(static_cast<Kind>(kind)), 1u) << kind;
    EXPECT_EQ(report_.kind, static_cast<Kind>(kind));
    EXPECT_FALSE(report_.text.empty());
    EXPECT_NE(report_.text, "unknown");
  }
}

TEST_F(Limit, ReportsHaveTheLatestDetailsAndOwnTheirName) {
  diagnostics_.Note(Kind::kUnhandled, {1, 1, 1}, 1, "first").error = 1;
  {
    const std::string name(254, 'n');
    Diagnostic& event = diagnostics_.Note(Kind::kUnhandled, {2, 2, 2}, 1, name);
    event.limit = 10;
    event.value = 20;
  }
  ASSERT_EQ(Take(Kind::kUnhandled), 2u);
  diagnostics_.Note(Kind::kUnhandled, {3, 3, 3}, 1, "later");
  EXPECT_EQ(report_.peer.slot, 2);
  EXPECT_EQ(report_.error, 0) << "of an earlier event";
  EXPECT_EQ(report_.limit, 10u);
  EXPECT_EQ(report_.value, 20u);
  EXPECT_EQ(report_.name, std::string(254, 'n'));
}

// ---- What -------------------------------------------------------------------------------------

// What a hook was told, in this process.
struct Told {
  struct Report {
    std::uint64_t count = 0;
    int times = 0;
    Diagnostic latest;
    std::string name;
    std::string exception;
  };
  std::map<Kind, Report> kinds;

  Endpoint::DiagnosticHook Hook() {
    return [this](const Diagnostic& event) {
      Report& report = kinds[event.kind];
      report.count += event.count;
      ++report.times;
      report.latest = event;
      report.name = std::string(event.name);
      report.exception = std::string(event.exception);
      EXPECT_GT(event.count, 0u);
    };
  }
  bool Has(Kind kind) const { return kinds.count(kind) != 0; }
};

// Takes the place of one system call of this process.
template <typename Function>
class Replaced {
 public:
  Replaced(Function os::Calls::*call, Function by) : call_(call), before_(os::calls().*call) {
    os::calls().*call = by;
  }
  ~Replaced() { os::calls().*call_ = before_; }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  Function os::Calls::*call_;
  Function before_;
};

TEST(Diagnostics, UnhandledAlertsAreToldWithTheirNamesAndAllOfThemInTheEnd) {
  Told told;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(family->Send(To::Master(), "nobody\n", "secret").ok());
  }
  ASSERT_TRUE(family.Until([&] { return family->stats().alerts_unhandled == 300; }));
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kUnhandled); }));
  EXPECT_EQ(told.kinds[Kind::kUnhandled].latest.peer, family->self());
  EXPECT_EQ(told.kinds[Kind::kUnhandled].name, "nobody\n");
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  EXPECT_EQ(told.kinds[Kind::kUnhandled].count, 300u);
  EXPECT_LT(told.kinds[Kind::kUnhandled].times, 300);
}

TEST(Diagnostics, ARefusalIsToldFromTheLoopWithTheCapAndItsUse) {
  Told told;
  MasterOptions options = FamilyOf(1, 4096);
  options.queued_bytes_per_peer_max = 8192;
  Family family(options);
  family->OnDiagnostic(told.Hook());
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  family.InTurn([&] {
    while (family->Send(deaf, "name", std::string(3000, 'x')).ok()) {
    }
    EXPECT_FALSE(told.Has(Kind::kRefusedFull)) << "inside Send";
  });
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kRefusedFull); }));
  const Diagnostic& event = told.kinds[Kind::kRefusedFull].latest;
  EXPECT_EQ(event.peer, deaf);
  EXPECT_EQ(event.peer.pid, deaf.pid);
  EXPECT_EQ(event.limit, 8192u);
  EXPECT_EQ(event.value, family->QueuedBytes(1));
  EXPECT_TRUE(event.name.empty());
}

TEST(Diagnostics, DamageIsToldBesideOnDamage) {
  Told told;
  int damage = 0;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  family->OnDamage([&](const Damage&) { ++damage; });
  // The master's pipe is one of them; nobody reads the other.
  for (const std::uint64_t pipe : family.pipes())
    ASSERT_EQ(write(DescriptorOf(pipe, O_WRONLY), std::string(77, 'x').data(), 77), 77);
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kDamagedFraming); }));
  EXPECT_EQ(damage, 1);
  EXPECT_EQ(told.kinds[Kind::kDamagedFraming].latest.value, 77u);
  EXPECT_EQ(told.kinds[Kind::kDamagedFraming].latest.peer.slot, -1);
}

TEST(Diagnostics, AThrowingHandlerIsToldToBothHooks) {
  Told told;
  int errors = 0;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  family->OnHandlerError([&](const HandlerError&) { ++errors; });
  family->Receive("bad", [](Alert&) { throw std::runtime_error("secret"); });
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(family->Send(To::Master(), "bad", "secret").ok());
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(family.Until([&] { return errors == 3 && told.Has(Kind::kHandlerThrew); }));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(told.kinds[Kind::kHandlerThrew].name, "bad");
  EXPECT_NE(told.kinds[Kind::kHandlerThrew].exception.find("runtime_error"), std::string::npos);
  EXPECT_EQ(told.kinds[Kind::kHandlerThrew].latest.peer, family->self());
}

TEST(Diagnostics, WithoutHooksOnlyAThrowingHandlerIsPrintedAndOnce) {
  Family family(FamilyOf(1));
  family->Receive("bad\n", [](Alert&) { throw std::runtime_error("secret"); });
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(family->Send(To::Master(), "bad\n", "secret").ok());
    ASSERT_TRUE(family->Send(To::Master(), "unhandled").ok());
  }
  ASSERT_TRUE(family.Until([&] {
    return family->stats().handler_errors == 3 && family->stats().alerts_unhandled == 3;
  }));
  family.Turns(2);
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(line.find("alertpipe: the handler for \"bad\\n\" threw "), 0u) << line;
  EXPECT_EQ(line.find('\n'), line.size() - 1) << "one line: " << line;
  EXPECT_EQ(line.find("secret"), std::string::npos);
}

struct Heard {
  Count alerts;
  Count limit;
  Count value;
  Count slot;
};

TEST(Diagnostics, AReceiverTellsWhatItRejects) {
  Shared<Heard> heard;
  MasterOptions options = FamilyOf(2);
  options.alert_bytes_max = options.reassembly_bytes_max = 5000;
  Family family(options);
  const Peer sender = family.Spawn([](Member& me) {
    me->Receive("go", [&me](Alert&) {
      me.Check(me->Send(To::Slot(2), "too much", std::string(4500, 'x')).ok(), "sent");
    });
  });
  family.Spawn([&heard](Member& me) {
    me->OnDiagnostic([&](const Diagnostic& event) {
      if (event.kind != Kind::kRejectedFull) return;
      heard->limit = event.limit;
      heard->value = event.value;
      heard->slot = static_cast<std::uint64_t>(event.peer.slot);
      heard->alerts += event.count;
    });
  });
  ASSERT_TRUE(family.Ready());
  // The beginning of an alert that never ends takes the room.
  family.Inject(2, core::PacketBuilder(kMasterSlot, 1, 1, 1)
                       .First("endless", 5000, std::string(3000, 'x'))
                       .Bytes());
  ASSERT_TRUE(
      family.Until([&] { return family->StatsOf(2)->live->stats.reassembly_bytes == 3000; }));
  ASSERT_TRUE(family->Send(sender, "go").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts == 1; }));
  EXPECT_EQ(heard->limit, 5000u);
  EXPECT_EQ(heard->value, 3000u);
  EXPECT_EQ(heard->slot, 1u);
  ASSERT_TRUE(
      family.Until([&] { return family->StatsOf(1)->live->stats.undelivered_receiver_full == 1; }));
}

// What a sender does not read costs bounded memory, and is said.
TEST(Diagnostics, NoticesThatFindNoRoomAreTold) {
  constexpr int kMore = 100;
  Told told;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  const Peer deaf = family.SpawnDeaf([](Member& me) { me->OnDamage([](const Damage&) {}); });
  ASSERT_TRUE(family.Until([&] { return family.inbox(1) != 0; }));
  while (family->stats().writes_blocked == 0) {
    ASSERT_TRUE(family->Send(deaf, "fill", std::string(1000, 'x')).ok());
    family->Flush();
  }
  std::set<std::uint64_t> pipes = family.pipes();
  pipes.erase(family.inbox(1));
  ASSERT_EQ(pipes.size(), 1u);
  const int fd = DescriptorOf(*pipes.begin(), O_WRONLY);
  // Requests that nobody handles, as that worker would send them.
  constexpr int kRequests = static_cast<int>(kRequestsPerPeerMax) + kMore;
  for (int sent = 0; sent < kRequests;) {
    core::PacketBuilder packet(1, 1, 1, static_cast<std::uint64_t>(sent) + 1);
    for (int i = 0; i < 100 && sent < kRequests; ++i) {
      core::Record record;
      record.flags = core::kHasRequestId;
      record.request_id = static_cast<std::uint64_t>(++sent);
      record.name = "n";
      packet.Add(record);
    }
    const std::string bytes = packet.Bytes();
    ASSERT_LE(bytes.size(), core::kPacketBytesMax);
    ASSERT_TRUE(family.Until([&] {
      return write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    }));
  }
  ASSERT_TRUE(family.Until([&] { return family->stats().alerts_unhandled == kRequests; }));
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kRejectsDropped); }));
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::ZeroDuration(), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  EXPECT_EQ(told.kinds[Kind::kRejectsDropped].count, std::uint64_t{kMore});
  EXPECT_EQ(family->stats().rejects_dropped, std::uint64_t{kMore});
}

// ---- Memory -------------------------------------------------------------------------------------

TEST(Diagnostics, AlertsThatGetNoMemoryAreToldAtBothEnds) {
  Told told;
  int handled = 0;
  UndeliveredReason reason = UndeliveredReason::kClosed;
  core::MemoryFaults memory;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  family->ReceiveDefault([&](Alert&) { ++handled; });
  family->OnUndelivered([&](const Undelivered& undelivered) { reason = undelivered.reason; });
  memory.Fail(1, 1000);
  EXPECT_TRUE(Says(family->Send(To::Master(), "large", std::string(9000, 'x')).status(),
                   absl::StatusCode::kResourceExhausted, {"no memory", "9000"}));
  memory.FailNone();
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kRefusedMemory); }));
  EXPECT_EQ(family->stats().refused_memory, 1u);

  ASSERT_TRUE(family->Send(To::Master(), "large", std::string(9000, 'x')).ok());
  memory.Fail(1, 1000);
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kRejectedMemory); }));
  memory.FailNone();
  EXPECT_EQ(told.kinds[Kind::kRejectedMemory].latest.peer, family->self());
  EXPECT_EQ(told.kinds[Kind::kRejectedMemory].latest.limit, FamilyOf(1).reassembly_bytes_max);
  ASSERT_TRUE(family.Until([&] { return reason == UndeliveredReason::kReceiverMemory; }));
  EXPECT_EQ(family->stats().alerts_rejected, 1u);
  EXPECT_EQ(handled, 0);
  family.End();
  EXPECT_EQ(memory.live_blocks(), 0);
}

// ---- The master ---------------------------------------------------------------------------------

TEST(Diagnostics, TheMasterTellsWhatItDrained) {
  for (const MasterIs is : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Told told;
    Family family(FamilyOf(2), is);
    family->OnDiagnostic(told.Hook());
    const Peer deaf = family.SpawnDeaf([](Member&) {});
    family.Spawn([deaf](Member& me) {
      for (int i = 0; i < 4; ++i) me.Check(me->Send(deaf, "name").ok(), "sent");
    });
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family.KillAndReap(deaf));
    ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kDrained); }));
    EXPECT_EQ(told.kinds[Kind::kDrained].latest.peer, deaf);
    EXPECT_EQ(told.kinds[Kind::kDrained].latest.peer.pid, deaf.pid);
    EXPECT_EQ(told.kinds[Kind::kDrained].count, family.exits[0].alerts_drained);
  }
}

int RefusePipeSize(int fd, int command, int argument) {
  if (command == F_SETPIPE_SZ) {
    errno = EPERM;
    return -1;
  }
  return fcntl(fd, command, argument);
}

TEST(Diagnostics, ASmallPipeIsToldThoughTheHookComesLater) {
  Told told;
  const Replaced small(&os::Calls::fcntl, &RefusePipeSize);
  Family family(TightFamilyOf(1, 262144));
  family->OnDiagnostic(told.Hook());
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kPipeSmall); }));
  EXPECT_EQ(told.kinds[Kind::kPipeSmall].latest.limit, 262144u);
  EXPECT_EQ(told.kinds[Kind::kPipeSmall].latest.value, family->pipe_capacity());
  EXPECT_EQ(family->stats().pipe_capacity, family->pipe_capacity());
}

// ---- System calls -------------------------------------------------------------------------------

int g_failures = 0;

ssize_t FailWrites(int fd, const iovec* parts, int count, off_t at, int flags) {
  if (g_failures-- > 0) {
    errno = ENOMEM;
    return -1;
  }
  return pwritev2(fd, parts, count, at, flags);
}

ssize_t FailReads(int fd, const iovec* parts, int count, off_t at, int flags) {
  if (g_failures-- > 0) {
    errno = ENOMEM;
    return -1;
  }
  return preadv2(fd, parts, count, at, flags);
}

TEST(Diagnostics, FailedWritesAndReadsAreToldAndCostNothing) {
  Told told;
  int handled = 0;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  family->ReceiveDefault([&](Alert&) { ++handled; });
  {
    g_failures = 1;
    const Replaced failing(&os::Calls::pwritev2, &FailWrites);
    ASSERT_EQ(family->Send(To::Master(), "name").outcome(), Outcome::kQueued);
  }
  ASSERT_TRUE(family.Until([&] { return handled == 1 && told.Has(Kind::kWriteFailed); }));
  EXPECT_EQ(told.kinds[Kind::kWriteFailed].latest.error, ENOMEM);
  EXPECT_EQ(told.kinds[Kind::kWriteFailed].latest.peer, family->self());
  EXPECT_EQ(family->stats().write_errors, 1u);
  EXPECT_EQ(family->stats().writes_blocked, 0u);
  ASSERT_TRUE(family->Send(To::Master(), "name").ok());
  {
    g_failures = 2;
    const Replaced failing(&os::Calls::preadv2, &FailReads);
    ASSERT_TRUE(family.Until([&] { return handled == 2; }));
  }
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kReadFailed); }));
  EXPECT_EQ(told.kinds[Kind::kReadFailed].latest.error, ENOMEM);
  EXPECT_EQ(family->stats().read_errors, 2u);
}

// How often the pipe is asked for while its failure lasts. A loop that spins on it asks hundreds of
// thousands of times.
int AsksWhileItFails(Family* family) {
  constexpr int kPlenty = 1 << 30;
  g_failures = kPlenty;
  const absl::Time end = absl::Now() + absl::Milliseconds(200);
  family->Until([&] { return absl::Now() >= end; });
  return kPlenty - std::exchange(g_failures, 0);
}

TEST(Diagnostics, AWriteThatKeepsFailingDoesNotKeepTheLoopBusy) {
  int handled = 0;
  Family family(FamilyOf(1));
  family->ReceiveDefault([&](Alert&) { ++handled; });
  const Replaced failing(&os::Calls::pwritev2, &FailWrites);
  g_failures = 1;
  ASSERT_EQ(family->Send(To::Master(), "name").outcome(), Outcome::kQueued);
  const int asks = AsksWhileItFails(&family);
  EXPECT_GT(asks, 0);
  EXPECT_LT(asks, 2000);
  EXPECT_TRUE(family.Until([&] { return handled == 1; }));
}

TEST(Diagnostics, AReadThatKeepsFailingDoesNotKeepTheLoopBusy) {
  int handled = 0;
  Family family(FamilyOf(1));
  family->ReceiveDefault([&](Alert&) { ++handled; });
  ASSERT_TRUE(family->Send(To::Master(), "name").ok());
  const Replaced failing(&os::Calls::preadv2, &FailReads);
  const int asks = AsksWhileItFails(&family);
  EXPECT_GT(asks, 0);
  EXPECT_LT(asks, 2000);
  EXPECT_TRUE(family.Until([&] { return handled == 1; }));
}

// libuv has no room in its epoll. The linker takes this function instead of libuv's.
int g_polls_that_fail = 0;

}  // namespace
}  // namespace alertpipe::process

extern "C" int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd) {
  if (alertpipe::process::g_polls_that_fail > 0) {
    --alertpipe::process::g_polls_that_fail;
    return UV_ENOSPC;
  }
  static const auto next =
      reinterpret_cast<decltype(&uv_poll_init)>(dlsym(RTLD_NEXT, "uv_poll_init"));
  return next(loop, handle, fd);
}

namespace alertpipe::process {
namespace {

TEST(Diagnostics, APipeThatTheLoopCannotWaitForIsToldAndTriedAgain) {
  constexpr int kFailures = 3;
  Told told;
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  const Peer deaf = family.SpawnDeaf(
      [&heard](Member& me) { me->ReceiveDefault([&heard](Alert&) { ++heard->alerts; }); });
  g_polls_that_fail = kFailures;
  std::uint64_t sent = 0;
  while (family->stats().writes_blocked == 0) {
    ASSERT_TRUE(family->Send(deaf, "name", std::string(1000, 'x')).ok());
    family->Flush();
    ++sent;
  }
  ASSERT_TRUE(family.Until([&] { return g_polls_that_fail == 0; })) << "no poll was asked for";
  ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kPollFailed); }));
  EXPECT_EQ(told.kinds[Kind::kPollFailed].latest.error, ENOSPC);
  EXPECT_EQ(told.kinds[Kind::kPollFailed].latest.peer, deaf);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts == sent; }));
}

ssize_t ReadWithoutNowait(int fd, const iovec* parts, int count, off_t at, int flags) {
  if ((flags & os::kRwfNowait) != 0) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return preadv2(fd, parts, count, at, flags);
}

TEST(Diagnostics, AClearedNonblockIsToldWhereItMatters) {
  Told told;
  int handled = 0;
  const Replaced old(&os::Calls::preadv2, &ReadWithoutNowait);
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  family->ReceiveDefault([&](Alert&) { ++handled; });
  for (const std::uint64_t pipe : family.pipes()) {
    const int fd = DescriptorOf(pipe, O_RDONLY);
    ASSERT_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
  }
  ASSERT_TRUE(family->Send(To::Master(), "name").ok());
  ASSERT_TRUE(family.Until([&] { return handled == 1 && told.Has(Kind::kNonblockRestored); }));
  EXPECT_EQ(family->stats().nonblock_restored, 1u);
}

int g_send_signal_error = 0;
int g_kill_error = 0;

int FailToSendSignal(int pidfd, int signal, siginfo_t* info, unsigned flags) {
  (void)pidfd, (void)signal, (void)info, (void)flags;
  errno = g_send_signal_error;
  return -1;
}

int KillOrFail(pid_t pid, int signal) {
  if (g_kill_error == 0) return ::kill(pid, signal);
  errno = g_kill_error;
  return -1;
}

// By pid where a sandbox does not let us by pidfd; and neither for a worker that has become
// somebody else: then it lives on.
TEST(Diagnostics, AKillThatFailsIsTold) {
  Told told;
  Family family(FamilyOf(1));
  family->OnDiagnostic(told.Hook());
  const Replaced by_pidfd(&os::Calls::pidfd_send_signal, &FailToSendSignal);
  const Replaced by_pid(&os::Calls::kill, &KillOrFail);
  g_send_signal_error = EPERM;
  RetireOptions options;
  options.deadline = absl::Milliseconds(20);
  for (const int error : {EPERM, 0}) {
    g_kill_error = error;
    const Peer worker = family.Spawn([](Member&) {});
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family.Stop(worker));
    if (error == 0) family.ExpectExit(worker, 0, SIGKILL);
    ASSERT_TRUE(family->Retire(worker.slot, options).ok());
    if (error == 0) {
      ASSERT_TRUE(family.Until([&] { return !family.Lives(worker); }));
      EXPECT_TRUE(family.exits.back().killed_at_deadline);
      continue;
    }
    ASSERT_TRUE(family.Until([&] { return told.Has(Kind::kKilled); }));
    EXPECT_EQ(told.kinds[Kind::kKilled].latest.error, EPERM);
    EXPECT_EQ(told.kinds[Kind::kKilled].latest.peer, worker);
    EXPECT_TRUE(family.Lives(worker));
    ASSERT_TRUE(family.KillAndReap(worker));
    EXPECT_FALSE(family.exits.back().killed_at_deadline);
  }
}

TEST(Diagnostics, AStaleAlertIsTold) {
  Told told;
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  const Peer first = family.Spawn([&heard](Member& me) {
    me->OnDiagnostic([&](const Diagnostic& event) {
      if (event.kind == Kind::kStale) heard->alerts += event.count;
    });
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(first));
  family.Respawn(1);
  ASSERT_TRUE(family.Ready());
  family.Inject(1, core::PacketBuilder(kMasterSlot, 1, 1, 1).Whole("for the dead", "").Bytes());
  ASSERT_TRUE(family.Until([&] { return heard->alerts == 1; }));
  EXPECT_EQ(family->StatsOf(1)->live->stats.alerts_stale, 1u);
}

// ---- What a hook may do -------------------------------------------------------------------------

TEST(Diagnostics, AHookMayCauseWhatItIsToldOf) {
  const std::uint64_t start = os::MonotonicNanos();
  int told = 0;
  Family family(FamilyOf(1));
  family->OnDiagnostic([&](const Diagnostic& report) {
    if (report.kind != Diagnostic::Kind::kUnhandled) return;  // past the page limit of pipes
    ++told;
    family->Send(To::Master(), "nobody");  // refused at the end of the Family
  });
  ASSERT_TRUE(family->Send(To::Master(), "nobody").ok());
  ASSERT_TRUE(family.Until([&] { return family->stats().alerts_unhandled >= 2; }));
  family.Turns(3);
  const std::uint64_t seconds = (os::MonotonicNanos() - start) / internal::Diagnostics::kIntervalNs;
  EXPECT_LE(static_cast<std::uint64_t>(told), 1 + seconds) << "more than one in a second";
}

TEST(Diagnostics, AHookMayDestroyItsEndpoint) {
  int told = 0;
  Family family(FamilyOf(1));
  family->OnDiagnostic([&](const Diagnostic&) {
    ++told;
    family.master.reset();
  });
  ASSERT_TRUE(family->Send(To::Master(), "nobody").ok());
  ASSERT_TRUE(family.Until([&] { return told == 1; }));
  EXPECT_EQ(family.master, nullptr);
}

}  // namespace
}  // namespace alertpipe::process
