// SPDX-License-Identifier: Apache-2.0
//
// Situations that no other test of the core gets into: shortages, forged notices, peers that nobody
// reads for, moments in the start of a worker.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "contents.h"
#include "core/endpoint.h"
#include "core/slot_stats.h"
#include "memory_faults.h"
#include "packet_builder.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

FamilySettings Settings(std::uint32_t workers) { return GenerousSettings(workers + 1); }

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count) {
  return SimulatedFamily::WithWorkers(Settings(count));
}

std::vector<Told> Of(Event::Kind kind, const std::vector<Told>& all) {
  std::vector<Told> found;
  for (const Told& told : all) {
    if (told.kind == kind) found.push_back(told);
  }
  return found;
}

// ---- What is sent back --------------------------------------------------------------------------

// A family in which no alert of more than a packet can be held.
std::unique_ptr<SimulatedFamily> Narrow() {
  FamilySettings settings = Settings(2);
  settings.reassembly_bytes_max = 100;
  return SimulatedFamily::WithWorkers(settings);
}

// Worker 2 rejects `count` alerts, and does not say so yet.
void RejectMany(SimulatedFamily* family, int count, std::string_view name) {
  const std::string data = MakeData(4100);
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(family->Send(1, To::Slot(2), name, data).ok());
    family->Pump(1);
    family->ReadAll(2);
  }
}

// With names of every length, so that all ways to fill a packet come up, also those in which it has
// no room for a request that nobody has handled.
TEST(Returns, FillPacketsToWhateverFits) {
  for (std::size_t length = 0; length <= 32; ++length) {
    const auto family = Narrow();
    const std::string name(length, 'n');
    ASSERT_TRUE(family->Request(1, To::Slot(2), "ask").ok());
    family->Pump(1);
    const std::vector<Delivery> asked = family->Deliver(2);
    ASSERT_EQ(asked.size(), 1u);
    RejectMany(family.get(), 140, name);
    family->at(2).Unhandled(asked[0].sender, asked[0].request_id);
    family->Settle();
    const std::vector<Told> told = Of(Event::Kind::kUndelivered, family->Events(1));
    ASSERT_EQ(told.size(), 140u) << length;
    for (std::size_t i = 0; i < told.size(); ++i) {
      ASSERT_EQ(told[i].name, name);
      ASSERT_EQ(told[i].alert_id, i + 2);
    }
    const std::vector<Ended> ended = family->Outcomes(1);
    ASSERT_EQ(ended.size(), 1u) << length;
    EXPECT_EQ(ended[0].outcome, ResponseOutcome::kUnhandled);
    EXPECT_EQ(family->stats(1).damaged_records, 0u);
  }
}

TEST(Returns, AreBoundedAndWhatFindsNoRoomIsCounted) {
  const auto family = Narrow();
  RejectMany(family.get(), 4100, "n");
  const std::uint64_t dropped = family->stats(2).rejects_dropped;
  EXPECT_EQ(dropped, 4u);
  family->Settle();
  EXPECT_EQ(Of(Event::Kind::kUndelivered, family->Events(1)).size(), 4100 - dropped);
  EXPECT_EQ(family->stats(2).rejects_dropped, dropped);
}

TEST(Returns, OfTheWrongLengthAreDamage) {
  const auto family = Workers(2);
  family->Inject(1, PacketBuilder(2, 1, 1, 1).Part(RecordKind::kReject, "short").Bytes());
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_records, 1u);
  EXPECT_TRUE(family->Events(1).empty());
}

TEST(Returns, SayThatTheReceiverHadNoMemory) {
  MemoryFaults memory;
  const auto family = Workers(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "plain", MakeData(10000)).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "request", MakeData(10000)).ok());
  family->EndTurn(1);
  memory.Fail(1, 1000);
  family->ReadAll(2);
  memory.FailNone();
  family->Settle();
  const std::vector<Told> told = Of(Event::Kind::kUndelivered, family->Events(1));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, "plain");
  EXPECT_EQ(told[0].reason, UndeliveredReason::kReceiverMemory);
  const std::vector<Ended> ended = family->Outcomes(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].outcome, ResponseOutcome::kUndelivered);
  EXPECT_EQ(family->stats(1).undelivered_receiver_memory, 2u);
  EXPECT_EQ(family->stats(2).alerts_rejected, 2u);
}

TEST(Returns, AreEventsUntilTheLastHasBeenTold) {
  const auto family = Workers(2);
  family->pipe(2).refusals = 1000;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(family->Send(1, To::Slot(2), "n", "x").ok());
  Endpoint& sender = family->at(1);
  sender.FailAll(UndeliveredReason::kClosed);
  Event event;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(sender.has_events()) << i;
    ASSERT_TRUE(sender.NextEvent(&event)) << i;
    EXPECT_EQ(event.kind, Event::Kind::kUndelivered);
  }
  EXPECT_TRUE(sender.has_events()) << "the reader of the failed queue is not at its end";
  EXPECT_FALSE(sender.NextEvent(&event));
  EXPECT_FALSE(sender.has_events());
}

// ---- Notices ------------------------------------------------------------------------------------

std::string ForgedJoined(const SimulatedFamily& family, int to, int slot) {
  const RosterWord word = family.roster().Get(slot);
  const JoinedBody body{static_cast<std::uint16_t>(slot), word.generation, word.pid};
  return PacketBuilder(kMasterSlot, 1, family.roster().Get(to).generation, 1)
      .Control(RecordKind::kJoined, body)
      .Bytes();
}

// True but early: the notice of the death before has not come yet. A worker joins once.
TEST(ForgedNotices, OfASuccessorTellItOnce) {
  const auto family = Workers(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Inject(1, ForgedJoined(*family, 1, 2));
  family->ReadAll(1);
  std::vector<Told> joined = Of(Event::Kind::kJoined, family->Events(1));
  ASSERT_EQ(joined.size(), 1u);
  EXPECT_EQ(joined[0].peer, family->PeerIn(2));
  family->Settle();
  EXPECT_TRUE(Of(Event::Kind::kJoined, family->Events(1)).empty());
  ASSERT_TRUE(family->Send(1, To(family->PeerIn(2)), "n").ok());
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 1u);
}

TEST(ForgedNotices, OfTheReceiverItselfAreNoNews) {
  const auto family = Workers(2);
  const std::uint64_t before = family->stats(1).control_read;
  family->Inject(1, ForgedJoined(*family, 1, 1));
  family->ReadAll(1);
  EXPECT_TRUE(family->Events(1).empty());
  EXPECT_EQ(family->stats(1).control_read, before + 1);
}

std::string ForgedDraining(int from, std::uint32_t generation, std::uint64_t sequence,
                           const DrainingBody& body) {
  return PacketBuilder(from, generation, 1, sequence).Control(RecordKind::kDraining, body).Bytes();
}

TEST(ForgedNotices, OfDrainingThatTheRosterDoesNotBearOutAreDamage) {
  FamilySettings settings = Settings(5);
  const auto family = std::make_unique<SimulatedFamily>(settings);
  for (int slot = 1; slot <= 3; ++slot) family->Respawn(slot);
  family->BeginRespawn(4);
  ASSERT_TRUE(family->Step(4));
  family->Settle();
  const DrainingBody bodies[] = {
      {kMasterSlot, 1, 0}, {99, 1, 0}, {2, 1, 99}, {2, 2, 0}, {3, 1, 0}, {4, 1, 0}, {5, 1, 0},
  };
  for (const DrainingBody& body : bodies) {
    const std::uint64_t before = family->stats(1).damaged_records;
    family->Inject(1, ForgedDraining(2, 1, 1, body));
    family->ReadAll(1);
    EXPECT_EQ(family->stats(1).damaged_records, before + 1) << body.slot << ' ' << body.generation;
  }
  const std::uint64_t before = family->stats(1).damaged_records;
  family->Inject(1, ForgedDraining(2, 1, 1, {3, 0, 0}));
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_records, before) << "it may just be late";
  for (const int slot : {2, 3}) EXPECT_TRUE(family->Send(1, To(family->PeerIn(slot)), "n").ok());
  EXPECT_FALSE(family->at(1).told_to_drain());
}

// Of a predecessor about its successor, and of the master about a successor of the reader's own.
TEST(ForgedNotices, OfDrainingAboutOthersAreDamageEvenIfTrue) {
  const auto family = Workers(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Retire(2);
  family->Inject(1, ForgedDraining(2, 1, 1, {2, 2, 0}));
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_records, 1u);
  family->roster_memory().Publish(1, 2, SlotState::kDraining, 4711);
  family->Inject(1, ForgedDraining(kMasterSlot, 1, 1, {1, 2, 0}));
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_records, 2u);
  EXPECT_FALSE(family->at(1).told_to_drain());
}

// ---- Barriers -----------------------------------------------------------------------------------

std::vector<int> BarriersOk(SimulatedFamily* family, int slot) {
  std::vector<int> numbers;
  for (const auto& [number, report] : family->BarriersEnded(slot)) {
    EXPECT_TRUE(report.status.ok()) << report.status;
    numbers.push_back(number);
  }
  return numbers;
}

// Worker 1 owes one acknowledgement that may leave, and one that has to wait for an alert; and has
// asked in the same way itself.
TEST(BarrierCorners, WhatMayLeaveDoesAndTheRestWaits) {
  const auto family = Workers(2);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->EndTurn(1);  // finds the pipe full
  ASSERT_TRUE(family->Barrier(2, Scope::kOthers, 3).ok());
  family->Pump(2);
  family->ReadAll(1);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n", "x").ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 2).ok());
  ASSERT_TRUE(family->Barrier(2, Scope::kOthers, 4).ok());
  family->Pump(2);
  family->ReadAll(1);
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  EXPECT_EQ(BarriersOk(family.get(), 1), (std::vector<int>{1, 2}));
  EXPECT_EQ(BarriersOk(family.get(), 2), (std::vector<int>{3, 4}));
}

// Packets that what is sent back fills to the last bytes, so that an acknowledgement or a barrier
// does or does not fit behind it.
TEST(BarrierCorners, ComeBehindWhatIsSentBackWhateverFits) {
  for (std::size_t length = 0; length <= 32; ++length) {
    for (const bool asks : {false, true}) {
      const auto family = Narrow();
      const std::size_t each = RecordSize(RecordKind::kReject, 0, length, RejectBody::kBytes);
      const auto count = static_cast<int>((kPacketBytesMax - kHeaderBytes) / each);
      RejectMany(family.get(), count, std::string(length, 'n'));
      const int asker = asks ? 2 : 1;
      ASSERT_TRUE(family->Barrier(asker, Scope::kOthers, 1).ok());
      if (!asks) {
        family->Pump(1);
        family->ReadAll(2);
      }
      family->Settle();
      ASSERT_EQ(BarriersOk(family.get(), asker), std::vector<int>{1}) << length;
      EXPECT_EQ(Of(Event::Kind::kUndelivered, family->Events(1)).size(),
                static_cast<std::size_t>(count));
    }
  }
}

TEST(BarrierCorners, OneThatWasReplacedSinceItWasChosenHasDied) {
  const auto family = Workers(3);
  std::vector<Target> targets;
  family->at(1).SelectLiving(Scope::kOthers, &targets);
  ASSERT_EQ(targets.size(), 2u);
  const Peer before = family->PeerIn(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  BarrierReport seen;
  int calls = 0;
  BarrierCallback callback = [&](const BarrierReport& report) {
    seen = report;
    ++calls;
  };
  ASSERT_TRUE(family->at(1).BeginBarrier(targets, kNever, &callback).ok());
  family->Settle();
  family->BarriersEnded(1);
  ASSERT_EQ(calls, 1);
  EXPECT_TRUE(seen.status.ok()) << seen.status;
  ASSERT_EQ(seen.died.size(), 1u);
  EXPECT_EQ(seen.died[0].slot, before.slot);
  EXPECT_EQ(seen.died[0].generation, before.generation);
}

TEST(BarrierCorners, AskNeitherTheDeadNorTheUnreachable) {
  const auto family = Workers(4);
  family->Kill(2);
  family->Bury(2);
  family->Kill(3);
  family->at(1).PeerUnreachable(3);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  for (int i = 0; i < 5; ++i) {
    for (const int slot : {1, 4}) {
      family->ReadAll(slot);
      family->Pump(slot);
    }
  }
  EXPECT_EQ(BarriersOk(family.get(), 1), std::vector<int>{1});
}

// ---- Being replaced -----------------------------------------------------------------------------

// Drains worker 1 with everybody's turns, as far as it gets.
void DrainFirst(SimulatedFamily* family) {
  family->Retire(1);
  family->Pump(kMasterSlot);
  family->ReadAll(1);
  ASSERT_TRUE(family->at(1).told_to_drain());
  family->at(1).BeginDrain();
  family->at(1).BeginDrain();  // the second time is no news
  for (int i = 0; i < 10; ++i) {
    for (int slot = 0; slot < family->slots(); ++slot) {
      if (!family->runs(slot)) continue;
      family->ReadAll(slot);
      family->Pump(slot);
    }
  }
}

TEST(DrainCorners, InFavourOfNobody) {
  const auto family = Workers(2);
  DrainFirst(family.get());
  const std::vector<Told> told = Of(Event::Kind::kDraining, family->Events(1));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].peer, Peer());
  EXPECT_TRUE(family->at(1).drained());
  EXPECT_EQ(family->stats(1).barriers_begun, 2u);
}

TEST(DrainCorners, NobodyWaitsForOneThatCannotBeReached) {
  const auto family = Workers(3);
  family->Kill(2);
  family->at(1).PeerUnreachable(2);
  DrainFirst(family.get());
  EXPECT_TRUE(family->at(1).drained());
}

// The master dies in either round. Nobody tells of it but the lifeline.
TEST(DrainCorners, GoesOnWithoutTheMaster) {
  for (int turns = 0; turns < 6; ++turns) {
    const auto family = Workers(3);
    family->Retire(1);
    family->Pump(kMasterSlot);
    family->ReadAll(1);
    family->at(1).BeginDrain();
    const auto turn = [&](int first) {
      for (int slot = first; slot < family->slots(); ++slot) {
        family->ReadAll(slot);
        family->Pump(slot);
      }
    };
    for (int i = 0; i < turns; ++i) turn(kMasterSlot);
    for (int slot = 1; slot < family->slots(); ++slot) family->at(slot).PeerGone(kMasterSlot);
    for (int i = 0; i < 10; ++i) turn(1);
    EXPECT_TRUE(family->at(1).drained()) << turns;
  }
}

// The last of others has come; own responses and acknowledgements have not left.
TEST(DrainCorners, WhatIsOwedAtTheEndIsWaitedFor) {
  const auto family = Workers(2);
  DrainFirst(family.get());
  ASSERT_TRUE(family->at(1).drained());
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Respond(1, family->PeerIn(2), 4711).ok());
  family->EndTurn(1);
  EXPECT_FALSE(family->at(1).drained()) << "a response";
  family->Pump(1);
  EXPECT_TRUE(family->at(1).drained());
  ASSERT_TRUE(family->Barrier(2, Scope::kOthers, 1).ok());
  family->Pump(2);
  family->ReadAll(1);
  EXPECT_FALSE(family->at(1).drained()) << "an acknowledgement";
  family->Pump(1);
  EXPECT_TRUE(family->at(1).drained());
  family->ReadAll(2);
  EXPECT_EQ(BarriersOk(family.get(), 2), std::vector<int>{1});
}

TEST(DrainCorners, TheSuccessorInTheSameSlotIsSentTo) {
  const auto family = Workers(2);
  DrainFirst(family.get());
  const Peer before = family->PeerIn(1);
  EXPECT_FALSE(family->Send(2, To(before), "n").ok()) << "it has said its last";
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  EXPECT_TRUE(family->Send(2, To(family->PeerIn(1)), "n").ok());
  EXPECT_FALSE(family->Send(2, To(before), "n").ok());
}

// Worker 1 comes when worker 2 is being replaced.
TEST(DrainCorners, ANewcomerSendsToOneThatIsBeingReplacedOnlyAfterItHasHeardIt) {
  const auto family = Workers(3);
  family->Retire(2);
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  const Peer old = family->PeerIn(2);
  EXPECT_FALSE(family->Send(1, To(old), "n").ok());
  ASSERT_TRUE(family->Send(3, To::Slot(1), "n").ok());
  family->Pump(3);
  EXPECT_EQ(family->Deliver(1).size(), 1u);
  EXPECT_FALSE(family->Send(1, To(old), "n").ok()) << "another one was heard";
  ASSERT_TRUE(family->Send(2, To::Slot(1), "n").ok());
  family->Pump(2);
  EXPECT_EQ(family->Deliver(1).size(), 1u);
  EXPECT_TRUE(family->Send(1, To(old), "n").ok());
}

TEST(DrainCorners, ASuccessorIsHeardWhereItsPredecessorWasNot) {
  const auto family = Workers(3);
  family->Retire(2);
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(2, To::Slot(1), "n").ok());
  family->Settle();
  EXPECT_EQ(family->Deliver(1).size(), 1u);
  EXPECT_TRUE(family->Send(1, To(family->PeerIn(2)), "n").ok());
}

// The word changes before the child has made its endpoint.
TEST(DrainCorners, OneThatIsReplacedBeforeItBeginsTalksToItself) {
  HeapRoster roster(GenerousSettings(3));
  roster.Publish(kMasterSlot, 1, SlotState::kUp, 100);
  roster.Publish(1, 1, SlotState::kDraining, 101);
  roster.Publish(2, 1, SlotState::kDraining, 102);
  CounterPage page;
  Endpoint endpoint(roster.roster(), {101, 1, 1}, &page, nullptr);
  Target target;
  EXPECT_TRUE(endpoint.Resolve(To(Peer{101, 1, 1}), &target).ok());
  EXPECT_FALSE(endpoint.Resolve(To(Peer{102, 2, 1}), &target).ok());
}

// ---- A look at the roster in place of lost notices ----------------------------------------------

TEST(RecheckCorners, OnlyAfterAReadThatFoundThePipeEmpty) {
  const auto family = Workers(2);
  const std::string garbage(100, '\xff');
  Endpoint& endpoint = family->at(1);
  family->Inject(1, garbage);
  ASSERT_TRUE(family->Read(1));
  ASSERT_TRUE(endpoint.wants_read());
  Arrival arrival;
  endpoint.NextArrival(&arrival);
  EXPECT_TRUE(endpoint.wants_read()) << "nothing has been read since";
  // As from a pipe that a relative has enlarged: more than fits.
  Inbox& inbox = endpoint.inbox();
  std::memset(inbox.space(), 0xff, inbox.space_bytes());
  inbox.Received(inbox.space_bytes());
  do {
    endpoint.NextArrival(&arrival);
  } while (arrival.kind != Arrival::Kind::kNone);
  EXPECT_TRUE(endpoint.wants_read()) << "there may be more";
  for (int i = 0; i < 3; ++i) family->Read(1);
  EXPECT_FALSE(endpoint.wants_read());
  EXPECT_TRUE(family->Events(1).empty());
}

TEST(RecheckCorners, OneThatIsBeingStartedIsToldOfWhenItRuns) {
  SimulatedFamily family(Settings(2));
  family.Respawn(1);
  family.Settle();
  family.Events(1);
  family.BeginRespawn(2);
  ASSERT_TRUE(family.Step(2));
  family.Inject(1, std::string(100, '\xff'));
  for (int i = 0; i < 3; ++i) family.Read(1);
  EXPECT_FALSE(family.at(1).wants_read());
  EXPECT_TRUE(family.Events(1).empty());
  while (family.Step(2)) {
  }
  family.Settle();
  EXPECT_EQ(Of(Event::Kind::kJoined, family.Events(1)).size(), 1u);
}

// Of a process that the master has taken for dead.
TEST(RecheckCorners, ThatTheOwnSuccessorIsReplacedIsNoNews) {
  const auto family = Workers(2);
  family->roster_memory().Publish(1, 2, SlotState::kDraining, 4711);
  family->Inject(1, std::string(100, '\xff'));
  for (int i = 0; i < 3; ++i) family->Read(1);
  EXPECT_EQ(family->stats(1).damaged_framing, 1u);
  EXPECT_FALSE(family->at(1).told_to_drain());
}

// ---- Who is there -------------------------------------------------------------------------------

std::set<int> LiveSlots(const Endpoint& endpoint) {
  std::vector<Peer> live;
  endpoint.Live(&live);
  std::set<int> slots;
  for (const Peer& peer : live) slots.insert(peer.slot);
  return slots;
}

// As after the master's death: only a write has told, the roster still says that it lives.
TEST(Unreachable, IsLeftOutEverywhereUntilItHasASuccessor) {
  const auto family = Workers(3);
  family->Kill(2);
  family->at(1).PeerUnreachable(2);
  EXPECT_EQ(LiveSlots(family->at(1)), (std::set<int>{1, 3}));
  EXPECT_EQ(family->at(1).CountUp(), 2);
  EXPECT_EQ(family->Broadcast(1, Scope::kOthers, "n", "").accepted, 1u);
  EXPECT_EQ(family->Send(1, To::Slot(2), "n").status().code(), absl::StatusCode::kUnavailable);
  for (int i = 0; i < 4; ++i) {
    Target target;
    ASSERT_TRUE(family->at(1).Resolve(To::AnyWorker(), &target).ok());
    EXPECT_EQ(target.slot, 3);
  }
  family->Bury(2);
  family->Respawn(2);
  EXPECT_EQ(LiveSlots(family->at(1)), (std::set<int>{1, 2, 3}));
  EXPECT_EQ(family->at(1).CountUp(), 3);
  EXPECT_EQ(family->Broadcast(1, Scope::kOthers, "n", "").accepted, 2u);
  EXPECT_TRUE(family->Send(1, To::Slot(2), "n").ok());
}

TEST(Unreachable, OneThatWasBeingReplacedIsDead) {
  const auto family = Workers(2);
  family->Retire(2);
  family->Kill(2);
  family->at(1).PeerUnreachable(2);
  const absl::Status status = family->Send(1, To::Slot(2), "n").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(status.message()).find("is dead"), std::string::npos) << status;
}

TEST(Unreachable, TheMasterIsDeadNotDetached) {
  const auto family = Workers(1);
  family->at(1).PeerGone(kMasterSlot);
  const absl::Status status = family->Send(1, To::Master(), "n").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(status.message()).find("is dead"), std::string::npos) << status;
}

// The kernel gives pids again: of all that have had it the one that lives is meant.
TEST(Pids, OfTheDeadMayBeThoseOfTheLiving) {
  SimulatedFamily family(Settings(4));
  constexpr pid_t kPid = 4711;
  Target target;
  for (const int slot : {1, 2}) family.roster_memory().Publish(slot, 1, SlotState::kDown, kPid);
  const absl::Status dead = family.at(0).Resolve(To::Pid(kPid), &target);
  EXPECT_EQ(dead.code(), absl::StatusCode::kUnavailable) << dead;
  EXPECT_EQ(target.slot, 1) << "the first of the dead";
  family.roster_memory().Publish(3, 1, SlotState::kUp, kPid);
  ASSERT_TRUE(family.at(0).Resolve(To::Pid(kPid), &target).ok());
  EXPECT_EQ(target.slot, 3);
  ASSERT_TRUE(family.at(0).Resolve(To::Pid(kPid), &target).ok()) << "and again";
  EXPECT_EQ(target.slot, 3);
}

// Between the fork and its parent's store of the pid.
TEST(Starting, AWorkerCountsItselfAndOthersOnlyOnceTheyRun) {
  SimulatedFamily family(Settings(2));
  family.BeginRespawn(1);
  ASSERT_TRUE(family.Step(1));
  EXPECT_EQ(family.at(0).CountUp(), 0) << "it is announced";
  ASSERT_TRUE(family.Step(1));
  EXPECT_EQ(family.at(1).CountUp(), 1) << "it knows itself";
  EXPECT_EQ(family.at(0).CountUp(), 0) << "its pid is not known";
  // Worker 2 begins when worker 1 has no pid, and is told of it later.
  family.Respawn(2);
  EXPECT_EQ(family.at(2).CountUp(), 1);
  while (family.Step(1)) {
  }
  family.Settle();
  EXPECT_EQ(family.at(2).CountUp(), 2);
  const std::vector<Told> joined = Of(Event::Kind::kJoined, family.Events(2));
  ASSERT_EQ(joined.size(), 1u);
  EXPECT_EQ(joined[0].peer, family.PeerIn(1));
}

// ---- Bounds -------------------------------------------------------------------------------------

TEST(Caps, ABroadcastAboveTheEndpointsCapByOwnershipReachesAll) {
  FamilySettings settings = Settings(3);
  settings.queued_bytes_max = 65536;
  const auto family = SimulatedFamily::WithWorkers(settings);
  for (const int slot : {2, 3}) family->pipe(slot).refusals = 1000;
  const std::string data = MakeData(200000);
  const BroadcastResult result =
      family->Broadcast(1, Scope::kOthers, "n", Buffer::Copy(data).value());
  EXPECT_EQ(result.accepted, 2u);
  EXPECT_EQ(result.written, 0u);
  for (const int slot : {2, 3}) family->pipe(slot).refusals = 0;
  family->Settle();
  for (const int slot : {2, 3}) {
    const std::vector<Delivery> delivered = family->Deliver(slot);
    ASSERT_EQ(delivered.size(), 1u) << slot;
    EXPECT_TRUE(delivered[0].data == data);
  }
}

// A worker can scribble over the tag of its own page.
TEST(SlotStats, FiguresWithAnotherTagAreNobodys) {
  HeapRoster roster(GenerousSettings(2));
  const auto page = std::make_unique<CounterPage>();
  roster.Publish(1, 3, SlotState::kUp, 100);
  page->Reset(3);
  EXPECT_TRUE(ReadSlot(roster.roster(), *page, roster.roster().archived(1), 1).live.has_value());
  page->Reset(4);
  EXPECT_FALSE(ReadSlot(roster.roster(), *page, roster.roster().archived(1), 1).live.has_value());
}

}  // namespace
}  // namespace alertpipe::core
