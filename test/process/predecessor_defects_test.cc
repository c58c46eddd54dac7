// SPDX-License-Identifier: Apache-2.0
//
// The ten defects of ngx.ipc, the predecessor of this library. Each is impossible here, and has a
// case of its own that would show it: on real processes, with what a hostile or broken relative
// could write put raw into a worker's pipe (forger.h).
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/packet.h"
#include "family.h"
#include "forger.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;
using core::RecordKind;

// What the attacked worker heard and counted.
struct Victim {
  Count good;
  Count forged;
  Count reassembly;
  Count damaged_records;
  Count damaged_packets;
  Count damaged_bytes;
  Count lost;
  Count hooks;
};

// A worker that counts "good" alerts and takes down what else it hears.
Member::Body VictimBody(Victim* victim) {
  return [victim](Member& me) {
    me->OnDamage([victim](const Damage& damage) {
      if (damage.bytes_discarded > 0) ++victim->hooks;
    });
    me->Receive("good", [victim](Alert&) { ++victim->good; });
    me->Receive("forged", [victim](Alert&) { ++victim->forged; });
    me.Every(1, [victim, &me] {
      const Stats stats = me->stats();
      victim->reassembly = stats.reassembly_bytes;
      victim->damaged_records = stats.damaged_records;
      victim->damaged_packets = stats.damaged_packets;
      victim->damaged_bytes = stats.damaged_bytes;
      victim->lost = stats.lost_alerts;
    });
    me.Run();
  };
}

void Idle(Member&) {}

// ---- 1 ------------------------------------------------------------------------------------------

// There: heap overflow, because received + packet length may exceed the total length, and because
// the name length of later headers is trusted.
TEST(PredecessorDefects, Defect01HeapOverflowByPartsThatExceedTheTotal) {
  Shared<Victim> victim;
  Family family(FamilyOf(2));
  family.Spawn(VictimBody(&*victim));
  Forger forger(family.Spawn(Idle), 1);
  ASSERT_TRUE(family.Ready());
  const std::string small(50, 's');
  const std::string large(3700, 'l');
  const std::vector<std::vector<std::string>> attacks = {
      {forger.First("forged", small, 100), forger.Part(RecordKind::kLast, large)},
      {forger.First("forged", small, 100), forger.Part(RecordKind::kMiddle, large)},
      {forger.First("forged", small, 100), forger.Part(RecordKind::kMiddle, small)},
      {forger.First("forged", small, 100), forger.Part(RecordKind::kLast, small.substr(1))},
      {forger.First("forged", small, 10)},
      {forger.First("forged", small, 50)},
      {forger.First("forged", small, 0)},
      {forger.First("forged", small, 0xffffffff)},
      {forger.First("forged", large, 3800),
       forger.Part(RecordKind::kMiddle, large, std::string(254, 'n'))},
      {forger.Whole(std::string(255, 'n'), small)},
      {forger.First("forged", small, 100), forger.Whole("forged inside", small)},
  };
  std::uint64_t damaged = 0;
  std::uint64_t good = 0;
  for (const std::vector<std::string>& attack : attacks) {
    for (const std::string& packet : attack) family.Inject(1, packet);
    ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
    ++good;
    ASSERT_TRUE(family.Until([&] {
      return victim->good == good && victim->damaged_records > damaged;
    })) << "attack "
        << good << ", " << victim->damaged_records << " damaged records";
    damaged = victim->damaged_records;
  }
  EXPECT_EQ(victim->forged, 0u);
  EXPECT_GE(victim->hooks, attacks.size());
}

// A name in a later part is no name, and a record that claims more than its packet is none.
TEST(PredecessorDefects, Defect01HeapOverflowByLengthsInLaterHeaders) {
  Shared<Victim> victim;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("parts", [&](Alert& alert) {
      me.Check(alert.name() == "parts" && alert.data() == std::string(100, 's'),
               "a forged name got in");
    });
    VictimBody (&*victim)(me);
  });
  Forger forger(family.Spawn(Idle), 1);
  ASSERT_TRUE(family.Ready());
  const std::string half(50, 's');
  family.Inject(1, forger.First("parts", half, 100));
  family.Inject(1, forger.Part(RecordKind::kLast, half, std::string(250, 'n')));
  for (const std::size_t at :
       {core::kHeaderBytes + 1, core::kHeaderBytes + 2, core::kHeaderBytes + 3}) {
    std::string packet = forger.Whole("forged", half);
    packet[at] = '\xff';  // name length, data length
    family.Inject(1, packet);
  }
  ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
  ASSERT_TRUE(family.Until([&] { return victim->good == 1 && victim->damaged_records >= 3; }));
  EXPECT_EQ(victim->forged, 0u);
}

// ---- 2 ------------------------------------------------------------------------------------------

// There: one packet of 25 bytes makes the receiver allocate 4 GiB.
TEST(PredecessorDefects, Defect02TinyPacketAllocatesFourGib) {
  Shared<Victim> victim;
  Family family(FamilyOf(4));
  const Peer receiver = family.Spawn(VictimBody(&*victim));
  std::vector<Forger> forgers;
  for (int i = 0; i < 3; ++i) forgers.emplace_back(family.Spawn(Idle), 1);
  ASSERT_TRUE(family.Ready());
  const std::uint64_t before = ProcessBytes(receiver.pid, "status", "VmSize:");
  for (Forger& forger : forgers) family.Inject(1, forger.First("f", "x", 4294967040));
  ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
  ASSERT_TRUE(
      family.Until([&] { return victim->good == 1 && victim->reassembly == forgers.size(); }));
  ASSERT_GT(before, 0u);
  EXPECT_LT(ProcessBytes(receiver.pid, "status", "VmSize:"), before + (4u << 20))
      << "not even reserved";
}

// ---- 3 ------------------------------------------------------------------------------------------

// There: with the pipe full and no memory, the call says OK and the alert is gone.
TEST(PredecessorDefects, Defect03AcceptedWithoutMemoryAndLost) {
  if (Sanitized()) GTEST_SKIP() << "sanitizers do not survive a limited address space";
  struct Seen {
    Count accepted;
    Count refused;
    Count heard;
  };
  Shared<Seen> seen;
  MasterOptions options = FamilyOf(2, 4096);
  options.queued_bytes_per_peer_max = std::uint64_t{1} << 30;
  options.queued_bytes_max = std::uint64_t{1} << 30;
  Family family(options);
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    me->ReceiveDefault(
        [&](Alert& alert) { me.Check(NumberOf(alert.data()) == ++seen->heard, "out of order"); });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    rlimit unlimited;
    getrlimit(RLIMIT_AS, &unlimited);
    rlimit tight = unlimited;
    tight.rlim_cur = ProcessBytes(getpid(), "status", "VmSize:") + (32u << 20);
    for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{100}}) {
      std::string data = Numbered(0, bytes);
      setrlimit(RLIMIT_AS, &tight);
      SendResult sent = SendResult(Outcome::kQueued, 1);
      std::uint64_t accepted = seen->accepted;
      for (int tries = 0; tries < 1000000; ++tries) {
        const std::uint64_t number = accepted + 1;
        std::memcpy(data.data(), &number, sizeof number);
        sent = me->Send(deaf, "x", data);
        if (!sent.ok()) break;
        ++accepted;
      }
      setrlimit(RLIMIT_AS, &unlimited);
      seen->accepted = accepted;
      me.Check(sent.status().code() == StatusCode::kResourceExhausted, sent.status().ToString());
      me.Check(sent.status().message().find("queued_bytes") == std::string::npos,
               "memory, not a cap");
      ++seen->refused;
    }
    me.Check(me->Send(deaf, "x", Numbered(++seen->accepted)).ok(), "memory is back");
    ++seen->refused;
  });
  ASSERT_TRUE(family.Until([&] { return seen->refused == 3; }));
  EXPECT_GT(seen->accepted, 10u);
  family.Wake(deaf);
  EXPECT_TRUE(family.Until([&] { return seen->heard == seen->accepted; }))
      << seen->heard << " of " << seen->accepted;
}

// ---- 4 ------------------------------------------------------------------------------------------

// There: the process count grows at every respawn, and loops run past the end of the shared array.
TEST(PredecessorDefects, Defect04RespawnsGrowTheProcessCount) {
  Shared<Victim> victim;
  Family family(FamilyOf(2));
  family.OnExit([&](const WorkerExit& exit) { family.Respawn(exit.worker.slot); });
  for (int i = 0; i < 2; ++i) family.Spawn(VictimBody(&*victim));
  for (std::uint32_t round = 0; round < 40; ++round) {
    ASSERT_TRUE(family.Ready());
    const Peer mortal = family.live[static_cast<int>(1 + round % 2)];
    family.Kill(mortal);
    ASSERT_TRUE(
        family.Until([&] { return family.live[mortal.slot].generation == mortal.generation + 1; }));
    EXPECT_EQ(family->Workers().size(), 2u);
    EXPECT_TRUE(Says(family->Spawn([](Slot) { return 0; }).status(), StatusCode::kResourceExhausted,
                     {"workers_max"}));
  }
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(family->Broadcast("good").accepted, 2u);
  ASSERT_TRUE(family.Until([&] { return victim->good == 2; }));
  EXPECT_EQ(family.live[1].generation, 21u);
  EXPECT_EQ(family.live[2].generation, 21u);
}

// ---- 5 ------------------------------------------------------------------------------------------

// There: a reader that is killed between header and body leaves the body; its successor takes
// payload for a header and delivers a forged alert. Here a worker reads just so much and dies: what
// is next in the pipe is a well-made packet for its successor.
TEST(PredecessorDefects, Defect05SuccessorReadsPayloadOfAHalfReadPacket) {
  Shared<Victim> victim;
  Family family(FamilyOf(1));
  const Peer reader = family.SpawnMain([&](Slot slot) {
    if (slot.generation() > 1) return family.Live(std::move(slot), VictimBody(&*victim));
    const int inbox = DescriptorOf(family.inbox(1), O_RDONLY);
    char head[core::kHeaderBytes + core::kRecordBytes +
              4];  // up to the data of an alert named "bait"
    while (read(inbox, head, sizeof head) != static_cast<ssize_t>(sizeof head)) usleep(1000);
    kill(getpid(), SIGKILL);
    return 1;
  });
  family.ExpectExit(reader, 0, SIGKILL);
  Forger forger(family->self(), 2);
  std::string bait;
  for (int i = 0; i < 20; ++i) bait += forger.Whole("forged", "data");
  ASSERT_EQ(family->Send(reader, "bait", bait).outcome(), Outcome::kWritten);
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
  const Peer successor = family.Respawn(1);
  ASSERT_TRUE(family->Send(successor, "good").ok());
  ASSERT_TRUE(family.Until([&] { return victim->good == 1; }));
  family.Turns(10);
  EXPECT_EQ(victim->forged, 0u);
  EXPECT_EQ(victim->damaged_bytes + victim->damaged_packets + victim->damaged_records, 0u);
}

// The same with readers that are killed at random while they are flooded with such packets.
TEST(PredecessorDefects, Defect05ReadersKilledUnderLoadLeaveAWholePipe) {
  Shared<Victim> victim;
  Family family(FamilyOf(2, 16384));
  family.OnExit([&](const WorkerExit& exit) { family.Respawn(exit.worker.slot); });
  family.Spawn(VictimBody(&*victim));
  family.Spawn([](Member& me) {
    me.Every(1, [&] {
      for (const Peer& peer : me->Workers()) {
        if (peer == me->self()) continue;
        for (std::uint32_t ahead = 0; ahead < 3; ++ahead) {
          Forger forger(me->self(), peer.generation + ahead);
          std::string bait = Pattern(ahead * 13, ahead);
          while (bait.size() < 9000) bait += forger.Whole("forged", "bait");
          me->Send(peer, "good", bait);
        }
      }
    });
    me.Run();
  });
  for (std::uint32_t generation = 1; generation <= 30; ++generation) {
    ASSERT_TRUE(family.Ready());
    const std::uint64_t good = victim->good;
    ASSERT_TRUE(family.Until([&] { return victim->good > good + generation % 7; }));
    EXPECT_EQ(victim->damaged_bytes + victim->damaged_packets + victim->damaged_records, 0u);
    family.Kill(family.live[1]);
    ASSERT_TRUE(family.Until([&] { return family.live[1].generation == generation + 1; }));
  }
  EXPECT_EQ(victim->forged, 0u);
}

// ---- 6 ------------------------------------------------------------------------------------------

// There: one orphan continuation packet destroys the good alerts of other senders. Here a real
// worker sends large alerts while orphans of all kinds are thrown between their parts.
TEST(PredecessorDefects, Defect06OrphanPartDestroysOthersAlerts) {
  constexpr std::uint64_t kAlerts = 100;
  Shared<Victim> victim;
  Family family(FamilyOf(3, 16384));
  family.Spawn([&](Member& me) {
    me->Receive("large", [&](Alert& alert) {
      me.Check(alert.sender().slot == 2, "sender");
      me.Check(IsPattern(alert.data(), victim->good + 1) && alert.data().size() == 100000,
               "large alert");
      ++victim->good;
    });
    me->ReceiveDefault([&](Alert&) { ++victim->forged; });
    me.Every(1, [&] { victim->damaged_records = me->stats().damaged_records; });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    Pump pump(kAlerts, [&](std::uint64_t number) {
      return me->Send(To::Slot(1), "large", Pattern(100000, number));
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    me->Receive("start", [&](Alert&) { pump.Go(); });
    me.Run();
    me.Check(pump.done(), pump.trouble().ToString());
  });
  Forger forger(family.Spawn(Idle), 1);
  ASSERT_TRUE(family.Ready());
  family->Send(To::Slot(2), "start");
  const std::string part(3000, 'o');
  for (int orphans = 0; orphans < 300; ++orphans) {
    family.Inject(1, forger.Part(orphans % 2 == 0 ? RecordKind::kMiddle : RecordKind::kLast, part));
    family.Turns(1);
  }
  ASSERT_TRUE(family.Until([&] { return victim->good == kAlerts; })) << victim->good;
  EXPECT_EQ(victim->forged, 0u);
  EXPECT_TRUE(family.Until([&] { return victim->damaged_records == 300; }))
      << victim->damaged_records;
}

// Bytes that are no packet at all cost at most what was read with them; what is sent afterwards
// arrives.
TEST(PredecessorDefects, Defect06GarbageIsSurvived) {
  Shared<Victim> victim;
  Family family(FamilyOf(1));
  family.Spawn(VictimBody(&*victim));
  ASSERT_TRUE(family.Ready());
  std::uint64_t bytes = 0;
  for (std::uint64_t round = 1; round <= 100; ++round) {
    const std::string garbage = Pattern(1 + round * 37, round);
    family.Inject(1, garbage);
    bytes += garbage.size();
    ASSERT_TRUE(family.Until([&] { return victim->damaged_bytes == bytes; }))
        << victim->damaged_bytes;
    ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
    ASSERT_TRUE(family.Until([&] { return victim->good == round; }));
  }
  EXPECT_EQ(victim->hooks, 100u);
}

// ---- 7 ------------------------------------------------------------------------------------------

// There: a handler that throws leaves the worker deaf for good, and the second self-send inside a
// handler is lost.
TEST(PredecessorDefects, Defect07ThrowingHandlerLeavesTheWorkerDeaf) {
  struct Seen {
    Count errors;
    Count later;
    Count self;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    me->OnHandlerError([&](const HandlerError& error) {
      me.Check(error.name == "throw" && error.sender.is_master(), "who threw");
      ++seen->errors;
    });
    me->Receive("throw", [&](Alert& alert) {
      for (int i = 0; i < 3; ++i)
        me.Check(me->Send(getpid(), "self", alert.data()).ok(), "self-send");
      throw std::runtime_error("handler");
    });
    me->Receive("self", [&](Alert& alert) { seen->self += NumberOf(alert.data()); });
    me->Receive("later", [&](Alert&) { ++seen->later; });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(family->Send(To::Slot(1), "throw", Numbered(1)).ok());
    ASSERT_TRUE(family->Send(To::Slot(1), "later").ok());
  }
  EXPECT_TRUE(family.Until([&] {
    return seen->errors == 10 && seen->later == 10 && seen->self == 30;
  })) << seen->errors
      << ' ' << seen->later << ' ' << seen->self;
}

// ---- 8 ------------------------------------------------------------------------------------------

// There: an alert to oneself runs its handler before send returns.
TEST(PredecessorDefects, Defect08SelfSendRunsTheHandlerInsideSend) {
  struct Seen {
    Count handled;
    Count done;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    bool sending = false;
    me->Receive("self", [&](Alert& alert) {
      me.Check(!sending, "inside a send");
      const std::uint64_t depth = NumberOf(alert.data());
      ++seen->handled;
      if (depth == 10) return;
      sending = true;
      me.Check(me->Send(me->self(), "self", Numbered(depth + 1)).ok(), "by peer");
      me.Check(me->Broadcast("self", Numbered(depth + 1)).accepted == 1, "by broadcast");
      me->Flush();
      sending = false;
    });
    sending = true;
    me.Check(me->Send(getpid(), "self", Numbered(0)).ok(), "by pid");
    sending = false;
    me.Check(seen->handled == 0, "nothing was handled yet");
    me.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->handled == 2047; })) << seen->handled;
}

// ---- 9 ------------------------------------------------------------------------------------------

// There: the outgoing queue is unbounded, and reading never yields to the loop.
TEST(PredecessorDefects, Defect09QueueGrowsWithoutBound) {
  MasterOptions options = FamilyOf(1, 4096);
  Family family(options);
  family.SpawnDeaf(Idle);
  const std::string data(50000, 'x');
  SendResult sent = SendResult(Outcome::kQueued, 1);
  for (int tries = 0; sent.ok() && tries < 1000; ++tries)
    sent = family->Send(To::Slot(1), "x", data);
  EXPECT_TRUE(Says(sent.status(), StatusCode::kResourceExhausted,
                   {"queued_bytes_per_peer_max", "4194304"}));
  EXPECT_LE(family->QueuedBytes(1), 4194304u);
  EXPECT_GT(family->QueuedBytes(1), 4100000u);
  EXPECT_LT(family->stats().queued_bytes_peak, 2 * 4194304u)
      << "what holds the data in memory included";
}

TEST(PredecessorDefects, Defect09ReadingNeverYieldsToTheLoop) {
  constexpr std::uint64_t kAlerts = 30000;
  struct Seen {
    Count handled;
    Count others;
    Count others_before_the_last;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer worker = family.SpawnDeaf([&](Member& me) {
    uv_prepare_t other;
    uv_prepare_init(me.loop(), &other);
    other.data = &*seen;
    uv_prepare_start(&other,
                     [](uv_prepare_t* handle) { ++static_cast<Seen*>(handle->data)->others; });
    uv_unref(reinterpret_cast<uv_handle_t*>(&other));
    me->ReceiveDefault([&](Alert&) {
      if (++seen->handled == kAlerts) seen->others_before_the_last = seen->others.load();
    });
    me.Run();
    uv_close(reinterpret_cast<uv_handle_t*>(&other), nullptr);
    uv_run(me.loop(), UV_RUN_DEFAULT);
  });
  for (std::uint64_t i = 0; i < kAlerts; ++i) ASSERT_TRUE(family->Send(worker, "x").ok());
  family->Flush();
  family.Wake(worker);
  ASSERT_TRUE(family.Until([&] { return seen->handled == kAlerts; }));
  EXPECT_GE(seen->others_before_the_last,
            kAlerts / (2 * static_cast<std::uint64_t>(AttachOptions().alerts_per_turn_max)));
}

// ---- 10 -----------------------------------------------------------------------------------------

// There: after a reload old and new workers share a pipe, and kill -9 leaves slots taken.
TEST(PredecessorDefects, Defect10OldAndNewWorkersShareAPipe) {
  struct Seen {
    Count heard[64];  // by generation of the receiver
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1, 8192));
  std::uint64_t undelivered = 0;
  family->OnUndelivered([&](const Undelivered& failed) {
    EXPECT_EQ(failed.reason, UndeliveredReason::kPeerDied);
    ++undelivered;
  });
  family.SpawnDeaf([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) {
      me.Check(NumberOf(alert.data()) == me->self().generation, "an alert for another incarnation");
      ++seen->heard[me->self().generation];
    });
    me.Run();
  });
  std::uint64_t accepted = 0;
  for (std::uint32_t generation = 1; generation <= 20; ++generation) {
    const Peer worker = family.live[1];
    ASSERT_EQ(worker.generation, generation);
    for (int i = 0; i < 60; ++i) {
      accepted += family->Send(worker, "x", Numbered(generation, 1000)).ok();
    }
    if (generation % 2 == 0) {
      family.Wake(worker);
      ASSERT_TRUE(family.Until([&] { return seen->heard[generation] == 60; }));
    }
    ASSERT_TRUE(family.KillAndReap(worker));
    EXPECT_TRUE(family->Workers().empty()) << "its slot is free again";
    ASSERT_TRUE(family.Until([&] { return family->QueuedBytes() == 0; }));
    family.Respawn(1);
  }
  EXPECT_EQ(accepted, 1200u);
  const Stats stats = family->stats();
  EXPECT_EQ(stats.alerts_drained + undelivered, 600u);
  EXPECT_EQ(stats.alerts_drained_stale, 0u);
}

}  // namespace
}  // namespace alertpipe::process
