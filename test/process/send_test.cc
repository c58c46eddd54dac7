// SPDX-License-Identifier: Apache-2.0
//
// What a send promises at the call: whom it reaches, what its result says, which limit refuses it.
// The test's process is mostly the attached master, so that results can be looked at right here;
// deaf workers make pipes and queues full.
#include <sys/mman.h>

#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

// What workers heard, by slot.
struct Heard {
  Count alerts[64];
  Count last[64];  // number of the last alert
  Text from[64];
};

Member::Body Listener(Heard* heard) {
  return [heard](Member& me) {
    const int slot = me.slot();
    me->ReceiveDefault([heard, slot](Alert& alert) {
      heard->last[slot] = NumberOf(alert.data());
      heard->from[slot].Set(std::to_string(alert.sender().slot));
      ++heard->alerts[slot];
    });
  };
}

// Checks that the alerts of one sender are numbered 1, 2, 3 ...
Member::Body InOrder(Heard* heard) {
  return [heard](Member& me) {
    const int slot = me.slot();
    me->ReceiveDefault([heard, slot, &me](Alert& alert) {
      me.Check(NumberOf(alert.data()) == heard->last[slot] + 1, "out of order");
      heard->last[slot] = NumberOf(alert.data());
      ++heard->alerts[slot];
    });
    me.Run();
  };
}

// A large reserved address range of which no byte is ever touched.
class Unbacked {
 public:
  explicit Unbacked(std::size_t bytes) : bytes_(bytes) {
    at_ = static_cast<char*>(
        mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  ~Unbacked() { munmap(at_, bytes_); }
  char* at() const { return at_; }
  std::string_view view() const { return {at_, bytes_}; }

 private:
  char* at_;
  std::size_t bytes_;
};

// A Buffer that counts how often it is freed.
Buffer Counted(std::string* bytes, int* freed) {
  return Buffer::Adopt(
      bytes->data(), bytes->size(),
      [](void* context, char*, std::size_t) { ++*static_cast<int*>(context); }, freed);
}

// Sends data of `bytes` bytes until one is queued, so that the receiver's pipe is full.
std::uint64_t FillPipe(Family& family, const Peer& deaf, std::size_t bytes) {
  for (std::uint64_t sent = 1;; ++sent) {
    family->Flush();
    const SendResult result = family->Send(deaf, "fill", std::string(bytes, 'f'));
    EXPECT_TRUE(result.ok()) << result.status();
    family->Flush();
    if (!result.ok() || family->QueuedBytes(deaf.slot) > 0) return sent;
  }
}

// ---- Whom a send reaches ------------------------------------------------------------------------

TEST(SendTarget, PidSlotAndPeerMeanTheSameLiveWorker) {
  Shared<Heard> heard;
  Family family(FamilyOf(3));
  family.Spawn(Listener(&*heard));
  const Peer second = family.Spawn(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(family->Send(second.pid, "by pid").ok());
  EXPECT_TRUE(family->Send(To::Pid(second.pid), "by pid").ok());
  EXPECT_TRUE(family->Send(To::Slot(second.slot), "by slot").ok());
  EXPECT_TRUE(family->Send(second, "by peer").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[2] == 4; }));
  EXPECT_EQ(heard->alerts[1] + heard->alerts[3], 0u);
}

TEST(SendTarget, WorkersReachEachOtherAndTheAttachedMaster) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  int to_master = 0;
  Peer sender;
  family->Receive("to the master", [&](Alert& alert) {
    ++to_master;
    sender = alert.sender();
  });
  const Peer first = family.Spawn(Listener(&*heard));
  const Peer second = family.Spawn([&](Member& me) {
    me.Check(me->Send(first.pid, "by pid").ok(), "send to a pid");
    me.Check(me->Send(first, "by peer").ok(), "send to a peer");
    me.Check(me->Send(To::Master(), "to the master").ok(), "send to the master");
    me.Check(me->Send(me->master(), "to the master").ok(), "send to the master as a peer");
    me.Check(me->Send(me->master().pid, "to the master").ok(), "send to the master's pid");
  });
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 2 && to_master == 3; }));
  EXPECT_EQ(heard->from[1].Get(), "2");
  EXPECT_EQ(sender, second);
  EXPECT_EQ(sender.pid, second.pid);
}

TEST(SendTarget, MasterWithoutALoopIsNoReceiver) {
  Shared<Heard> heard;
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  family.Spawn([&](Member& me) {
    const SendResult slot = me->Send(To::Master(), "nobody there");
    me.Check(slot.status().code() == StatusCode::kUnavailable,
             "To::Master: " + slot.status().ToString());
    const SendResult pid = me->Send(me->master().pid, "nobody there");
    me.Check(pid.status().code() == StatusCode::kUnavailable,
             "its pid: " + pid.status().ToString());
    me.Check(me->master().is_master() && me->master().pid == getppid(),
             "the master is known all the same");
    const BroadcastResult all = me->Broadcast("hello", "", Scope::kFamily);
    me.Check(all.ok() && all.accepted == 1 && all.refused.empty(), "a family without its master");
    ++heard->alerts[1];
  });
  EXPECT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "from no endpoint").status(),
                   StatusCode::kFailedPrecondition));
}

TEST(SendTarget, WhoeverIsNoMemberIsNotFound) {
  Family family(FamilyOf(2));
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(Says(family->Send(1, "x").status(), StatusCode::kNotFound, {"1"}));
  EXPECT_TRUE(Says(family->Send(getppid(), "x").status(), StatusCode::kNotFound,
                   {std::to_string(getppid())}));
  EXPECT_TRUE(
      Says(family->Send(To::Slot(2), "never started").status(), StatusCode::kUnavailable, {"2"}));
  EXPECT_TRUE(
      Says(family->Send(To::Slot(3), "no such slot").status(), StatusCode::kNotFound, {"3"}));
  EXPECT_TRUE(
      Says(family->Send(To::Slot(-1), "no such slot").status(), StatusCode::kNotFound, {"-1"}));
  EXPECT_EQ(family->stats().alerts_refused, 5u);
}

TEST(SendTarget, ZeroAndNegativePidsReachNobody) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  for (const pid_t pid : {0, -1, -getpid(), 1 << 24, (1 << 24) + getpid(), 0x7fffffff}) {
    const SendResult result = family->Send(pid, "x");
    EXPECT_EQ(result.outcome(), Outcome::kRefused) << pid;
    EXPECT_EQ(result.alert_id(), 0u) << pid;
    EXPECT_TRUE(result.status().code() == StatusCode::kNotFound ||
                result.status().code() == StatusCode::kInvalidArgument)
        << pid << ": " << result.status();
  }
  EXPECT_TRUE(family->Send(To::Slot(1), "y").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] > 0; }));
  EXPECT_EQ(heard->alerts[1], 1u);
}

TEST(SendTarget, DeadWorkerIsUnavailableHoweverItIsNamed) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  const Peer old = family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(old));
  EXPECT_TRUE(Says(family->Send(old, "x").status(), StatusCode::kUnavailable));
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "x").status(), StatusCode::kUnavailable));
  EXPECT_TRUE(Says(family->Send(old.pid, "x").status(), StatusCode::kUnavailable));
  const Peer successor = family.Respawn(1);
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(Says(family->Send(old, "not for the successor").status(), StatusCode::kUnavailable));
  Peer future = successor;
  ++future.generation;
  EXPECT_FALSE(family->Send(future, "not born yet").ok());
  EXPECT_TRUE(family->Send(successor, "for it").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] > 0; }));
  EXPECT_EQ(heard->alerts[1], 1u);
}

TEST(SendTarget, AnyWorkerTakesTurnsAndIsNeverTheSender) {
  Shared<Heard> heard;
  Family family(FamilyOf(4));
  for (int i = 0; i < 3; ++i) family.Spawn(Listener(&*heard));
  family.Spawn([&](Member& me) {
    Listener (&*heard)(me);
    me->Receive("start", [&](Alert&) {
      for (int job = 0; job < 30; ++job)
        me.Check(me->Send(To::AnyWorker(), "job", "0123456789").ok(), "any worker");
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(4), "start").ok());
  ASSERT_TRUE(
      family.Until([&] { return heard->alerts[1] + heard->alerts[2] + heard->alerts[3] == 30; }));
  for (int slot = 1; slot <= 3; ++slot) EXPECT_EQ(heard->alerts[slot], 10u) << slot;
  EXPECT_EQ(heard->alerts[4], 0u);
}

TEST(SendTarget, AnyWorkerIsTheOneWithTheFewestBytesQueuedHere) {
  Shared<Heard> heard;
  Family family(FamilyOf(3, 4096));
  const Peer busy = family.SpawnDeaf(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  const std::uint64_t filled = FillPipe(family, busy, 1000);
  for (int job = 0; job < 20; ++job) {
    ASSERT_TRUE(family->Send(To::AnyWorker(), "job").ok());
    family->Flush();
  }
  ASSERT_TRUE(family.Until([&] { return heard->alerts[2] + heard->alerts[3] == 20; }));
  family.Wake(busy);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == filled; }));
}

TEST(SendTarget, AnyWorkerNeedsAnother) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  EXPECT_TRUE(Says(family->Send(To::AnyWorker(), "job").status(), StatusCode::kUnavailable));
  family.Spawn([&](Member& me) {
    const SendResult alone = me->Send(To::AnyWorker(), "job");
    me.Check(alone.status().code() == StatusCode::kUnavailable,
             "alone: " + alone.status().ToString());
    ++heard->alerts[1];
  });
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
  const Peer second = family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(second));
  for (int job = 0; job < 4; ++job) EXPECT_TRUE(family->Send(To::AnyWorker(), "job").ok());
}

// ---- What the result says -----------------------------------------------------------------------

TEST(SendOutcome, FirstOfATurnIsWrittenLaterOnesAreQueuedForItsEnd) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  family.Turns(3);
  const std::uint64_t notices = family->stats().packets_written;
  for (std::uint64_t turn = 0; turn < 3; ++turn) {
    family.InTurn([&] {
      const std::uint64_t packets = family->stats().packets_written;
      EXPECT_EQ(family->Send(To::Slot(1), "first", "1").outcome(), Outcome::kWritten);
      EXPECT_EQ(family->stats().packets_written, packets + 1);
      for (int i = 0; i < 9; ++i)
        EXPECT_EQ(family->Send(To::Slot(1), "later", "2").outcome(), Outcome::kQueued);
      EXPECT_GT(family->QueuedBytes(1), 0u);
      EXPECT_EQ(family->QueuedBytes(), family->QueuedBytes(1));
    });
    ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 10 * (turn + 1); }));
    EXPECT_EQ(family->QueuedBytes(), 0u);
    EXPECT_EQ(family->stats().packets_written - notices, 2 * (turn + 1))
        << "ten small alerts share two packets";
  }
}

TEST(SendOutcome, FlushWritesWhatIsQueuedOutsideTheLoop) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.Spawn(InOrder(&*heard));
  ASSERT_TRUE(family.Ready());
  for (std::uint64_t number = 1; number <= 10; ++number) {
    EXPECT_TRUE(family->Send(To::Slot(1), "n", Numbered(number)).ok());
  }
  EXPECT_GT(family->QueuedBytes(1), 0u);
  EXPECT_TRUE(family->Flush().ok());
  EXPECT_EQ(family->QueuedBytes(1), 0u);
  EXPECT_TRUE(Eventually([&] { return heard->alerts[1] == 10; })) << "without a turn of the loop";
}

TEST(SendOutcome, FlushIsOkWhenAReceiverIsFull) {
  Shared<Heard> heard;
  Family family(FamilyOf(1, 4096));
  const Peer deaf = family.SpawnDeaf(Listener(&*heard));
  FillPipe(family, deaf, 1000);
  const std::size_t queued = family->QueuedBytes(1);
  EXPECT_TRUE(family->Flush().ok());
  EXPECT_EQ(family->QueuedBytes(1), queued);
}

TEST(SendOutcome, AlertIdsCountFromOnePerReceiver) {
  Family family(FamilyOf(2));
  family.Spawn([](Member&) {});
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  for (std::uint64_t id = 1; id <= 5; ++id) {
    EXPECT_EQ(family->Send(To::Slot(1), "x").alert_id(), id);
    EXPECT_EQ(family->Send(To::Slot(1), std::string(255, 'n')).alert_id(), 0u);
    EXPECT_EQ(family->Send(To::Slot(2), "x", std::string(10000, 'x')).alert_id(), id);
  }
  ASSERT_TRUE(family->Broadcast("x").ok());
  EXPECT_EQ(family->Send(To::Slot(1), "x").alert_id(), 7u);
}

TEST(SendOutcome, StatsCountWhatWasAcceptedRefusedAndWritten) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  for (int i = 0; i < 7; ++i)
    ASSERT_TRUE(family->Send(To::Slot(1), "name", std::string(100, 'x')).ok());
  ASSERT_TRUE(family->Send(To::Slot(1), "", std::string(9000, 'x')).ok());
  EXPECT_FALSE(family->Send(To::Slot(1), std::string(255, 'n')).ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 8; }));
  const Stats stats = family->stats();
  EXPECT_EQ(stats.alerts_accepted, 8u);
  EXPECT_EQ(stats.alerts_written, 8u);
  EXPECT_EQ(stats.alerts_refused, 1u);
  EXPECT_EQ(stats.bytes_accepted, 7u * 104 + 9000);
  EXPECT_EQ(stats.queued_bytes, 0u);
  EXPECT_EQ(stats.alerts_undelivered, 0u);
}

// ---- Limits -------------------------------------------------------------------------------------

TEST(SendLimit, NamesHoldAnyBytesUpTo254) {
  struct Names {
    Count alerts;
    Text name[4];
  };
  Shared<Names> names;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) { names->name[names->alerts++].Set(alert.name()); });
    me.Run();
  });
  std::string longest;
  for (int byte = 0; byte < 254; ++byte) longest.push_back(static_cast<char>(byte));
  const std::string zeros(3, '\0');
  ASSERT_TRUE(family->Send(To::Slot(1), "").ok());
  ASSERT_TRUE(family->Send(To::Slot(1), longest).ok());
  ASSERT_TRUE(family->Send(To::Slot(1), zeros).ok());
  EXPECT_TRUE(Says(family->Send(To::Slot(1), std::string(255, 'n')).status(),
                   StatusCode::kInvalidArgument, {"name", "254", "255"}));
  EXPECT_TRUE(Says(family->Broadcast(std::string(1000, 'n')).status(), StatusCode::kInvalidArgument,
                   {"name", "254", "1000"}));
  ASSERT_TRUE(family.Until([&] { return names->alerts == 3; }));
  EXPECT_EQ(names->name[0].Get(), "");
  EXPECT_EQ(names->name[1].Get(), longest);
  EXPECT_EQ(names->name[2].Get(), zeros);
}

TEST(SendLimit, OneByteMoreThanFourGibLess256IsRefusedUnseen) {
  Family family(FamilyOf(1));
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  const Unbacked huge(kDataBytesMax + 1);
  const std::initializer_list<std::string> texts = {"data", "4294967040", "4294967041"};
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "huge", huge.view()).status(),
                   StatusCode::kInvalidArgument, texts));
  EXPECT_TRUE(
      Says(family->Broadcast("huge", huge.view()).status(), StatusCode::kInvalidArgument, texts));
  int freed = 0;
  Buffer buffer = Buffer::Adopt(
      huge.at(), kDataBytesMax + 1,
      [](void* count, char*, std::size_t) { ++*static_cast<int*>(count); }, &freed);
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "huge", std::move(buffer)).status(),
                   StatusCode::kInvalidArgument, texts));
  EXPECT_EQ(freed, 1) << "refused data is freed";
}

TEST(SendLimit, FamilyMaySetALowerLimit) {
  Shared<Heard> heard;
  MasterOptions options = FamilyOf(1);
  options.alert_bytes_max = 10000;
  Family family(options);
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(family->Send(To::Slot(1), "x", std::string(10000, 'x')).ok());
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "x", std::string(10001, 'x')).status(),
                   StatusCode::kInvalidArgument, {"10000", "10001"}));
  EXPECT_TRUE(Says(family->Broadcast("x", std::string(10001, 'x')).status(),
                   StatusCode::kInvalidArgument, {"10000", "10001"}));
  EXPECT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
}

TEST(SendLimit, EverySizeAroundAPacketArrivesWhole) {
  struct Sizes {
    Count alerts;
  };
  Shared<Sizes> seen;
  Family family(FamilyOf(1));
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 40; ++size) sizes.push_back(size);
  for (std::size_t size = 4000; size <= 4110; ++size) sizes.push_back(size);
  for (std::size_t size = 8080; size <= 8200; size += 3) sizes.push_back(size);
  for (const std::size_t size : {12288, 16384, 65535, 65536, 65537, 262144, 300001})
    sizes.push_back(size);
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) {
      const std::uint64_t at = seen->alerts++;
      me.Check(alert.data().size() == sizes[at], "size of alert " + std::to_string(at));
      me.Check(IsPattern(alert.data(), at), "bytes of alert " + std::to_string(at));
    });
    me.Run();
  });
  for (std::size_t at = 0; at < sizes.size(); ++at) {
    ASSERT_TRUE(family->Send(To::Slot(1), "size", Pattern(sizes[at], at)).ok());
    if (at % 3 == 0) family.Turns(1);
  }
  EXPECT_TRUE(family.Until([&] { return seen->alerts == sizes.size(); }));
}

// ---- Caps ---------------------------------------------------------------------------------------

constexpr std::uint64_t kPeerCap = 100000;

MasterOptions Capped(int workers) {
  MasterOptions options = TightFamilyOf(workers);
  options.queued_bytes_per_peer_max = kPeerCap;
  options.queued_bytes_max = 150000;
  return options;
}

// Sends until refused; returns the refusal and counts what was accepted.
SendResult FillQueue(Family& family, const Peer& deaf, std::uint64_t* accepted) {
  while (true) {
    SendResult result = family->Send(deaf, "fill", std::string(1000, 'x'));
    if (!result.ok()) return result;
    ++*accepted;
    if (*accepted > 1000) ADD_FAILURE() << "no cap";
  }
}

TEST(SendCap, FullQueueOfOnePeerRefusesAndNamesPeerOptionValueAndUsage) {
  Shared<Heard> heard;
  Family family(Capped(1));
  const Peer deaf = family.SpawnDeaf(Listener(&*heard));
  std::uint64_t accepted = 0;
  const SendResult refused = FillQueue(family, deaf, &accepted);
  const std::size_t usage = family->QueuedBytes(1);
  EXPECT_TRUE(Says(refused.status(), StatusCode::kResourceExhausted,
                   {"queued_bytes_per_peer_max", "100000", std::to_string(usage), "slot 1",
                    std::to_string(deaf.pid)}));
  EXPECT_EQ(refused.outcome(), Outcome::kRefused);
  EXPECT_LE(usage, kPeerCap);
  EXPECT_GT(usage, kPeerCap - 4097);
  family.Turns(3);
  EXPECT_LE(family->stats().queued_bytes_peak, kPeerCap);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == accepted; }))
      << "what was accepted is never dropped";
  EXPECT_EQ(family->QueuedBytes(), 0u);
}

TEST(SendCap, FullEndpointRefusesAndNamesItsOption) {
  Shared<Heard> heard;
  Family family(Capped(2));
  const Peer first = family.SpawnDeaf(Listener(&*heard));
  const Peer second = family.SpawnDeaf(Listener(&*heard));
  std::uint64_t accepted[2] = {};
  EXPECT_TRUE(Says(FillQueue(family, first, &accepted[0]).status(), StatusCode::kResourceExhausted,
                   {"queued_bytes_per_peer_max"}));
  const SendResult refused = FillQueue(family, second, &accepted[1]);
  EXPECT_TRUE(
      Says(refused.status(), StatusCode::kResourceExhausted,
           {"queued_bytes_max", "150000", std::to_string(family->QueuedBytes()), "slot 2"}));
  EXPECT_LE(family->QueuedBytes(), 150000u);
  EXPECT_LE(family->stats().queued_bytes_peak, 150000u);
  family.Wake(first);
  family.Wake(second);
  ASSERT_TRUE(family.Until(
      [&] { return heard->alerts[1] == accepted[0] && heard->alerts[2] == accepted[1]; }));
}

TEST(SendCap, ViewsLargerThanACapCanOnlyBeHandedOver) {
  Family family(Capped(1));
  family.SpawnDeaf([](Member&) {});
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "x", std::string(200000, 'x')).status(),
                   StatusCode::kInvalidArgument, {"queued_bytes_per_peer_max", "100000", "200"}));
}

TEST(SendCap, OneHandedOverAlertMayBeLargerThanAnEmptyQueue) {
  Shared<Heard> heard;
  Family family(Capped(1));
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    me->Receive("large", [&](Alert& alert) {
      me.Check(alert.data().size() == 1000000 && IsPattern(alert.data(), 7), "large data");
      ++heard->alerts[1];
    });
    me.Run();
  });
  std::string first = Pattern(1000000, 7);
  std::string second = first;
  int freed[2] = {};
  EXPECT_EQ(family->Send(deaf, "large", Counted(&first, &freed[0])).outcome(), Outcome::kQueued);
  EXPECT_EQ(freed[0], 0);
  const SendResult refused = family->Send(deaf, "large", Counted(&second, &freed[1]));
  EXPECT_TRUE(Says(refused.status(), StatusCode::kResourceExhausted,
                   {"queued_bytes_per_peer_max", "100000"}));
  EXPECT_EQ(freed[1], 1) << "refused data is freed at once";
  EXPECT_TRUE(Says(family->Send(deaf, "small").status(), StatusCode::kResourceExhausted))
      << "the queue is over its cap";
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
  EXPECT_EQ(freed[0], 1) << "freed once it is written";
  EXPECT_TRUE(family->Send(deaf, "large", Buffer(std::string(first))).ok())
      << "the queue is empty again";
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 2; }));
}

TEST(SendCap, BroadcastHoldsItsDataOnceAndFreesItOnce) {
  Shared<Heard> heard;
  MasterOptions options = TightFamilyOf(3);
  options.queued_bytes_max = 1500000;
  Family family(options);
  std::vector<Peer> deaf;
  for (int i = 0; i < 3; ++i) deaf.push_back(family.SpawnDeaf(Listener(&*heard)));
  std::string data = Pattern(1000000, 3);
  int freed = 0;
  const BroadcastResult sent = family->Broadcast("large", Counted(&data, &freed));
  EXPECT_TRUE(sent.ok());
  EXPECT_EQ(sent.accepted, 3u) << (sent.refused.empty() ? absl::Status() : sent.refused[0].status);
  EXPECT_EQ(sent.written, 0u);
  EXPECT_LT(family->QueuedBytes(), 1100000u) << "held once";
  EXPECT_GT(family->QueuedBytes(1), 900000u) << "charged to each";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(freed, 0);
    family.Wake(deaf[static_cast<std::size_t>(i)]);
    ASSERT_TRUE(family.Until([&] { return heard->alerts[i + 1] == 1; }));
  }
  EXPECT_TRUE(family.Until([&] { return freed == 1; }));
}

TEST(SendCap, BroadcastsStayWithinTheCapOfTheEndpoint) {
  Family family(Capped(8));
  for (int i = 0; i < 8; ++i) family.SpawnDeaf([](Member&) {});
  for (const std::size_t bytes : {9000, 5000, 2100, 100}) {
    for (int tries = 0; tries < 2000; ++tries) {
      const BroadcastResult sent = family->Broadcast("x", std::string(bytes, 'x'));
      ASSERT_TRUE(sent.ok()) << sent.status();
      EXPECT_EQ(sent.accepted + sent.refused.size(), 8u);
      if (!sent.refused.empty()) break;
    }
    EXPECT_LE(family->stats().queued_bytes_peak, 150000u) << bytes;
    EXPECT_GT(family->stats().queued_bytes_peak, 120000u) << bytes;
  }
}

TEST(SendCap, OnDrainedSaysWhenAFullQueueIsEmpty) {
  Shared<Heard> heard;
  Family family(Capped(2));
  const Peer deaf = family.SpawnDeaf(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  std::vector<Peer> drained;
  family->OnDrained([&](const Peer& peer) {
    EXPECT_EQ(family->QueuedBytes(peer.slot), 0u);
    drained.push_back(peer);
  });
  std::uint64_t accepted = 0;
  FillQueue(family, deaf, &accepted);
  ASSERT_TRUE(family->Send(To::Slot(2), "to an idle one").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[2] == 1; }));
  family.Turns(3);
  EXPECT_TRUE(drained.empty());
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == accepted; }));
  ASSERT_TRUE(family.Until([&] { return !drained.empty(); }));
  EXPECT_EQ(drained.size(), 1u);
  EXPECT_EQ(drained[0], deaf);
  EXPECT_TRUE(family->Send(deaf, "again").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == accepted + 1; }));
  EXPECT_EQ(drained.size(), 1u);
}

TEST(SendCap, PausingAtARefusalAndGoingOnWhenDrainedLosesNothing) {
  Shared<Heard> heard;
  Family family(Capped(2));
  family.Spawn(InOrder(&*heard));
  family.Spawn([&](Member& me) {
    Pump pump(20000, [&](std::uint64_t number) {
      return me->Send(To::Slot(1), "n", Numbered(number, 100));
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    pump.Go();
    me.Run();
    me.Check(pump.done() && pump.refusals() > 0, "pump: " + pump.trouble().ToString());
  });
  EXPECT_TRUE(family.Until([&] { return heard->alerts[1] == 20000; }));
}

// ---- Order --------------------------------------------------------------------------------------

TEST(SendOrder, SmallLargeHandedOverAndBroadcastAlertsKeepTheirOrder) {
  Shared<Heard> heard;
  Family family(FamilyOf(2, 8192));
  family.Spawn(InOrder(&*heard));
  family.Spawn([&](Member& me) {
    constexpr std::size_t kSizes[] = {8,    9, 100,  4000, 8, 4055, 4056,  4057,
                                      4060, 8, 5000, 8192, 8, 8,    70000, 1000};
    Pump pump(3000, [&](std::uint64_t number) -> SendResult {
      std::string data = Numbered(number, kSizes[number % std::size(kSizes)]);
      if (number % 7 == 0) return me->Send(To::Slot(1), "handed over", Buffer(std::move(data)));
      if (number % 5 != 0) return me->Send(To::Slot(1), "copied", data);
      const BroadcastResult all = me->Broadcast("broadcast", data, Scope::kOthers);
      if (all.accepted == 1) return SendResult(Outcome::kQueued, number);
      return all.refused.empty() ? SendResult(all.status()) : SendResult(all.refused[0].status);
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    pump.Go();
    me.Run();
    me.Check(pump.done(), "pump: " + pump.trouble().ToString());
  });
  EXPECT_TRUE(family.Until([&] { return heard->alerts[1] == 3000; }));
}

TEST(SendOrder, AlertsToOneselfAreQueuedAndNeverRunInsideSend) {
  Family family(FamilyOf(1));
  int depth = 0;
  std::vector<std::uint64_t> order;
  family->Receive("self", [&](Alert& alert) {
    EXPECT_EQ(++depth, 1);
    const std::uint64_t number = NumberOf(alert.data());
    order.push_back(number);
    if (number < 100) {
      EXPECT_TRUE(family->Send(To::Master(), "self", Numbered(2 * number)).ok());
      EXPECT_TRUE(family->Send(getpid(), "self", Numbered(2 * number + 1)).ok());
    }
    --depth;
  });
  ASSERT_TRUE(family->Send(family->self(), "self", Numbered(1)).ok());
  EXPECT_TRUE(order.empty());
  ASSERT_TRUE(family.Until([&] { return order.size() == 199; }));
  for (std::size_t at = 0; at < order.size(); ++at) EXPECT_EQ(order[at], at + 1);
}

// ---- Broadcast ----------------------------------------------------------------------------------

// Who heard the last broadcast, as a string of slots, once the family is quiet.
std::string WhoHeard(Family& family, Heard& heard, int master_heard, int slots) {
  family.Turns(20);
  std::string who = master_heard > 0 ? "M" : "";
  for (int slot = 1; slot <= slots; ++slot) {
    for (std::uint64_t times = heard.alerts[slot].exchange(0); times > 0; --times)
      who += std::to_string(slot);
  }
  return who;
}

TEST(Broadcast, ScopesReachWorkersOthersOrTheFamily) {
  Shared<Heard> heard;
  Shared<Heard> results;
  Family family(FamilyOf(3));
  int master_heard = 0;
  family->Receive("hello", [&](Alert&) { ++master_heard; });
  for (int i = 0; i < 3; ++i) {
    family.Spawn([&](Member& me) {
      Listener (&*heard)(me);
      me->Receive("broadcast", [&](Alert& alert) {
        const BroadcastResult sent =
            me->Broadcast("hello", "", static_cast<Scope>(NumberOf(alert.data())));
        me.Check(sent.ok() && sent.refused.empty(), "broadcast");
        results->alerts[1] = sent.accepted;
      });
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  const struct {
    Scope scope;
    std::uint64_t accepted;
    const char* who;
  } kFromWorker2[] = {
      {Scope::kWorkers, 3, "123"}, {Scope::kOthers, 2, "13"}, {Scope::kFamily, 4, "M123"}};
  for (const auto& expected : kFromWorker2) {
    master_heard = 0;
    results->alerts[1] = 0;
    ASSERT_TRUE(
        family->Send(To::Slot(2), "broadcast", Numbered(static_cast<std::uint64_t>(expected.scope)))
            .ok());
    const auto heard_by_all = [&] {
      return results->alerts[1] != 0 && heard->alerts[1] + heard->alerts[2] + heard->alerts[3] +
                                                static_cast<std::uint64_t>(master_heard) >=
                                            expected.accepted;
    };
    ASSERT_TRUE(family.Until(heard_by_all));
    EXPECT_EQ(results->alerts[1], expected.accepted);
    EXPECT_EQ(WhoHeard(family, *heard, master_heard, 3), expected.who);
  }
}

TEST(Broadcast, FromTheMasterReachesItselfOnlyAsFamily) {
  Shared<Heard> heard;
  Family family(FamilyOf(3));
  int master_heard = 0;
  family->Receive("hello", [&](Alert&) { ++master_heard; });
  family.Spawn(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(family->Broadcast("hello").accepted, 2u);
  EXPECT_EQ(family->Broadcast("hello", "", Scope::kOthers).accepted, 2u);
  EXPECT_EQ(family->Broadcast("hello", "", Scope::kFamily).accepted, 3u);
  ASSERT_TRUE(family.Until(
      [&] { return heard->alerts[1] == 3 && heard->alerts[2] == 3 && master_heard == 1; }));
  EXPECT_EQ(WhoHeard(family, *heard, master_heard, 3), "M111222");
}

TEST(Broadcast, ToNobodyIsAcceptedByNobody) {
  Family family(FamilyOf(1));
  const BroadcastResult sent = family->Broadcast("hello");
  EXPECT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent.accepted, 0u);
  EXPECT_TRUE(sent.refused.empty());
}

TEST(Broadcast, ListsTheReceiverThatIsFullAndReachesTheOthers) {
  Shared<Heard> heard;
  Family family(Capped(3));
  family.Spawn(Listener(&*heard));
  const Peer deaf = family.SpawnDeaf(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  std::uint64_t filled = 0;
  FillQueue(family, deaf, &filled);
  BroadcastResult sent;
  family.InTurn([&] { sent = family->Broadcast("news", std::string(2000, 'n')); });
  EXPECT_TRUE(sent.ok()) << "the call as a whole was fine: " << sent.status();
  EXPECT_EQ(sent.accepted, 2u);
  EXPECT_EQ(sent.written, 2u);
  ASSERT_EQ(sent.refused.size(), 1u);
  EXPECT_EQ(sent.refused[0].peer, deaf);
  EXPECT_TRUE(
      Says(sent.refused[0].status, StatusCode::kResourceExhausted, {"queued_bytes_per_peer_max"}));
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 1 && heard->alerts[3] == 1; }));
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[2] == filled; }));
}

// ---- After Close --------------------------------------------------------------------------------

TEST(SendAfterClose, EverythingIsRefused) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  family.Spawn(Listener(&*heard));
  family.Spawn([&](Member& me) {
    const auto refused = [&](const absl::Status& status, const char* what) {
      me.Check(status.code() == StatusCode::kFailedPrecondition,
               std::string(what) + ": " + status.ToString());
    };
    const auto all_refused = [&] {
      refused(me->Send(To::Slot(1), "late").status(), "Send");
      refused(me->Send(To::Slot(1), "late", Buffer(std::string("late"))).status(),
              "Send of a Buffer");
      refused(me->Broadcast("late").status(), "Broadcast");
      refused(me->Close(absl::ZeroDuration()).status(), "Close");
    };
    me.Check(me->Send(To::Slot(1), "in time").ok(), "in time");
    me->Receive("close", [&](Alert&) {
      me.Check(me->Close(absl::Seconds(10),
                         [&](const CloseReport& report) {
                           me.Check(report.undelivered_alerts == 0 && !report.deadline_passed,
                                    "report");
                           all_refused();
                           ++heard->last[2];
                         })
                   .ok(),
               "Close");
      all_refused();
    });
    me.Run();
    all_refused();
    ++heard->last[2];
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(2), "close").ok());
  ASSERT_TRUE(family.Until([&] { return heard->last[2] == 2 && family.exits.size() == 1; }));
  // Written is not handled yet.
  EXPECT_TRUE(family.Until([&] { return heard->alerts[1] == 1; }));
}

TEST(SendAfterClose, WhatIsQueuedIsStillWritten) {
  Shared<Heard> heard;
  Family family(TightFamilyOf(2));
  const Peer deaf = family.SpawnDeaf(InOrder(&*heard));
  family.Spawn([&](Member& me) {
    for (std::uint64_t number = 1; number <= 100; ++number) {
      me.Check(me->Send(To::Slot(1), "n", Numbered(number, 1000)).ok(), "send");
    }
    me.Check(me->QueuedBytes() > 50000, "queued");
    me->Close(absl::Seconds(20), [&](const CloseReport& report) {
      me.Check(report.undelivered_alerts == 0 && !report.deadline_passed, "report");
      ++heard->last[2];
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  family.Turns(10);
  EXPECT_EQ(heard->last[2], 0u);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 100 && family.exits.size() == 1; }));
  EXPECT_EQ(heard->last[2], 1u);
}

TEST(SendAfterClose, AtTheDeadlineTheRestIsReported) {
  Shared<Heard> heard;
  Family family(TightFamilyOf(1));
  family.SpawnDeaf(Listener(&*heard));
  std::uint64_t back = 0;
  std::uint64_t last_id = 0;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.reason, UndeliveredReason::kClosed);
    EXPECT_EQ(NumberOf(undelivered.data), undelivered.has_data ? undelivered.alert_id : 0);
    EXPECT_GT(undelivered.alert_id, last_id);
    last_id = undelivered.alert_id;
    ++back;
  });
  for (std::uint64_t number = 1; number <= 50; ++number) {
    ASSERT_TRUE(family->Send(To::Slot(1), "n", Numbered(number, 1000)).ok());
  }
  bool closed = false;
  CloseReport report;
  ASSERT_TRUE(family
                  ->Close(absl::Milliseconds(20),
                          [&](const CloseReport& said) {
                            report = said;
                            closed = true;
                          })
                  .ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  EXPECT_TRUE(report.deadline_passed);
  EXPECT_EQ(report.undelivered_alerts, back);
  EXPECT_EQ(last_id, 50u);
  EXPECT_GT(back, 40u);
  EXPECT_EQ(family->stats().alerts_written + back, 50u);
}

}  // namespace
}  // namespace alertpipe::process
