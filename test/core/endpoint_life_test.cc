// SPDX-License-Identifier: Apache-2.0
//
// Deaths, successors, notices and rejects.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "contents.h"
#include "core/endpoint.h"
#include "memory_faults.h"
#include "packet_builder.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

using Kind = Event::Kind;

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count,
                                         std::size_t capacity = SuiteCapacity()) {
  FamilySettings settings = GenerousSettings(count + 1);
  settings.pipe_capacity = capacity;
  return SimulatedFamily::WithWorkers(settings);
}

std::vector<Told> OfKind(const std::vector<Told>& events, Kind kind) {
  std::vector<Told> found;
  for (const Told& told : events) {
    if (told.kind == kind) found.push_back(told);
  }
  return found;
}

void ExpectUndamaged(SimulatedFamily* family) {
  for (int slot = 0; slot < family->slots(); ++slot) {
    if (!family->runs(slot)) continue;
    const Stats stats = family->stats(slot);
    EXPECT_EQ(stats.damaged_bytes + stats.damaged_packets + stats.damaged_records, 0u) << slot;
    EXPECT_EQ(stats.lost_alerts, 0u) << slot;
    EXPECT_TRUE(family->TakeDamage(slot).empty()) << slot;
  }
}

// ---- What was queued for the dead comes back

TEST(Death, WhatWasNotWrittenComesBackWithNameAndData) {
  const auto family = Workers(2);
  const Peer dead = family->PeerIn(2);
  family->pipe(2).refusals = 1;
  const std::string large = MakeData(50000);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "small", "data").ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "large", large).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "owned", Buffer::Copy(large).value()).ok());
  family->Kill(2);
  family->Bury(2);
  family->Settle();
  const std::vector<Told> events = family->Events(1);
  const std::vector<Told> failed = OfKind(events, Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 3u);
  const std::string* data[] = {nullptr, &large, &large};
  const char* names[] = {"small", "large", "owned"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(failed[i].alert_id, i + 1);
    EXPECT_EQ(failed[i].name, names[i]);
    EXPECT_TRUE(failed[i].has_name);
    ASSERT_TRUE(failed[i].has_data);
    EXPECT_TRUE(failed[i].data == (data[i] != nullptr ? *data[i] : "data"));
    EXPECT_EQ(failed[i].reason, UndeliveredReason::kPeerDied);
    EXPECT_EQ(failed[i].peer, dead);
    EXPECT_EQ(failed[i].peer.pid, dead.pid);
  }
  EXPECT_EQ(OfKind(events, Kind::kLeft).size(), 1u);
  EXPECT_EQ(family->stats(1).alerts_undelivered, 3u);
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
  EXPECT_TRUE(family->at(1).AllWritten());
}

TEST(Death, AHalfWrittenAlertComesBackByName) {
  const auto family = Workers(2, 8192);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "half", MakeData(50000)).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "next", "data").ok());
  family->Kill(2);
  family->Bury(2);
  family->Settle();
  const std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 2u);
  EXPECT_EQ(failed[0].name, "half");
  EXPECT_EQ(failed[0].alert_id, 1u);
  EXPECT_EQ(failed[1].name, "next");
  EXPECT_EQ(failed[1].alert_id, 2u);
  EXPECT_EQ(family->drained(2).alerts, 0u);
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
}

TEST(Death, TheSuccessorGetsNothingOfWhatWasMeantForTheDead) {
  const auto family = Workers(3, 8192);
  const Peer dead = family->PeerIn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "old", MakeData(50000)).ok());
  ASSERT_TRUE(family->Send(3, To::Slot(2), "old", "data").ok());
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  // The senders have heard nothing yet: the roster tells them.
  ASSERT_TRUE(family->Send(1, To::Slot(2), "new").ok());
  ASSERT_TRUE(family->Send(3, To::Slot(2), "new").ok());
  family->Settle();
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].name, "new");
  EXPECT_EQ(delivered[1].name, "new");
  EXPECT_TRUE(absl::IsUnavailable(family->Send(1, dead, "reply").status()));
  EXPECT_TRUE(family->Send(1, family->PeerIn(2), "reply").ok());
  const std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].peer, dead);
  ExpectUndamaged(family.get());
}

TEST(Death, IdsStartAnewForTheSuccessor) {
  const auto family = Workers(2);
  for (int i = 0; i < 5; ++i) family->Send(1, To::Slot(2), "n");
  family->EndTurn(1);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  EXPECT_EQ(family->Send(1, To::Slot(2), "n").alert_id(), 1u);
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  ExpectUndamaged(family.get());
}

TEST(Death, WhatWasInThePipeIsCountedByTheDrain) {
  const auto family = Workers(2);
  for (int i = 0; i < 5; ++i) family->Send(1, To::Slot(2), "n");
  family->EndTurn(1);
  family->Kill(2);
  family->Bury(2);
  EXPECT_EQ(family->drained(2).alerts, 5u);
  EXPECT_EQ(family->drained(2).stale, 0u);
  EXPECT_TRUE(family->pipe(2).empty());
}

// A write that was under way while the slot was replaced ends in the successor's pipe: told by its
// generation.
TEST(Death, APacketThatComesLateIsStale) {
  const auto family = Workers(2);
  family->before_write = [&](int, int to) {
    if (to != 2) return;
    family->before_write = nullptr;
    family->Kill(2);
    family->Bury(2);
    family->Respawn(2);
  };
  EXPECT_EQ(family->Send(1, To::Slot(2), "late").outcome(), Outcome::kWritten);
  family->Settle();
  EXPECT_TRUE(family->Deliver(2).empty());
  EXPECT_EQ(family->stats(2).alerts_stale, 1u);
  EXPECT_TRUE(family->Send(1, To::Slot(2), "new").ok());
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  ExpectUndamaged(family.get());
}

TEST(Death, ADeadSendersHalfAlertIsFreedByTheNotice) {
  const auto family = Workers(2, 8192);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "half", MakeData(50000)).ok());
  family->ReadAll(2);
  EXPECT_GT(family->stats(2).reassembly_bytes, 0u);
  family->Kill(1);
  family->Bury(1);
  EXPECT_GT(family->stats(2).reassembly_bytes, 0u);
  family->Settle();
  EXPECT_EQ(family->stats(2).reassembly_bytes, 0u);
  EXPECT_EQ(family->stats(2).partials_dropped, 1u);
  EXPECT_TRUE(family->Deliver(2).empty());
  family->Respawn(1);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "whole", MakeData(20000)).ok());
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  ExpectUndamaged(family.get());
}

TEST(Death, LastWordsOfTheDeadAreDelivered) {
  const auto family = Workers(2);
  family->Send(1, To::Slot(2), "last words");
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  family->Send(1, To::Slot(2), "first words");
  family->Settle();
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].name, "last words");
  EXPECT_EQ(delivered[1].name, "first words");
  EXPECT_NE(delivered[0].sender, delivered[1].sender);
  ExpectUndamaged(family.get());
}

TEST(Death, ADownSlotIsUnavailable) {
  const auto family = Workers(2);
  const Peer dead = family->PeerIn(2);
  family->Kill(2);
  family->Bury(2);
  for (const To& to : {To(dead), To(dead.pid), To::Slot(2)}) {
    const SendResult result = family->Send(1, to, "n");
    EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
  }
  EXPECT_EQ(family->Broadcast(1, Scope::kWorkers, "n", "").accepted, 1u);
}

// The slot of a receiver is looked up, and then it is queued for: the incarnation may have changed
// in between.
TEST(Death, AReplacementBetweenLookUpAndQueueingMisdeliversNothing) {
  const auto family = Workers(2);
  const Peer dead = family->PeerIn(2);
  family->before_queue = [&](int, int) {
    family->before_queue = nullptr;
    family->Kill(2);
    family->Bury(2);
    family->Respawn(2);
  };
  const bool accepted = family->Send(1, dead, "for the dead").ok();
  family->Settle();
  EXPECT_TRUE(family->Deliver(2).empty()) << "delivered to the successor";
  EXPECT_EQ(OfKind(family->Events(1), Kind::kUndelivered).size(), accepted ? 1u : 0u);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "for the successor").ok());
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  ExpectUndamaged(family.get());
}

// The successor has been sent to already when a send to its predecessor gets as far as the queue.
TEST(Death, AQueueNeverGoesBackToAPredecessor) {
  const auto family = Workers(2);
  Target before;
  ASSERT_TRUE(family->at(1).Resolve(To::Slot(2), &before).ok());
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "new").ok());
  const Admission late = family->at(1).Accept(before, {"old", "", 0, 0}, nullptr, false, true);
  EXPECT_TRUE(absl::IsUnavailable(late.status));
  ASSERT_TRUE(family->Send(1, To::Slot(2), "newer").ok());
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 2u);
  ExpectUndamaged(family.get());
}

TEST(Death, AFailedForkGivesBackWhatWasSentToIt) {
  SimulatedFamily family(GenerousSettings(3));
  family.Respawn(1);
  family.BeginRespawn(2);
  family.Step(2);
  ASSERT_TRUE(family.Send(1, To::Slot(2), "in the pipe").ok());
  ASSERT_TRUE(family.Send(1, To::Slot(2), "queued").ok());
  family.FailNextFork();
  while (family.Step(2)) {
  }
  EXPECT_TRUE(family.life(2).idle());
  EXPECT_EQ(family.drained(2).alerts, 1u);
  family.Settle();
  EXPECT_EQ(OfKind(family.Events(1), Kind::kUndelivered).at(0).name, "queued");
  family.Respawn(2);
  EXPECT_EQ(family.PeerIn(2).generation, 2u);
  EXPECT_TRUE(family.Send(1, To::Slot(2), "new").ok());
  EXPECT_EQ(family.Deliver(2).size(), 1u);
}

// The master has put a death into the roster and died before it told anybody.
TEST(MasterGone, ADeathThatItDidNotTellIsFoundInTheRoster) {
  const auto family = Workers(2, 8192);
  const Peer dead = family->PeerIn(2);
  std::uint64_t request = 0;
  ASSERT_TRUE(family->Request(1, To(dead), "request", "", kNever, &request).ok());
  ASSERT_TRUE(family->Send(2, To::Slot(1), "half", MakeData(50000)).ok());
  family->ReadAll(1);
  ASSERT_GT(family->stats(1).reassembly_bytes, 0u);
  family->Kill(2);
  family->BeginBury(2);
  ASSERT_TRUE(family->Step(2));  // kPublishDown
  family->at(1).PeerGone(kMasterSlot);
  EXPECT_EQ(family->stats(1).reassembly_bytes, 0u);
  EXPECT_EQ(family->stats(1).partials_dropped, 1u);
  const std::vector<Told> left = OfKind(family->Events(1), Kind::kLeft);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].peer, dead);
  const std::vector<Ended> ended = family->Outcomes(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].outcome, ResponseOutcome::kPeerDied);
}

// Nothing is sent to one that is being replaced, which would show that nobody reads its pipe.
TEST(MasterGone, OneThatWasBeingReplacedMayVanish) {
  const auto family = Workers(2);
  const Peer old = family->PeerIn(2);
  for (const int slot : {1, 2}) EXPECT_FALSE(family->at(1).MayVanish(slot)) << slot;
  family->roster_memory().Publish(2, old.generation, SlotState::kDraining,
                                  static_cast<std::uint32_t>(old.pid));
  EXPECT_TRUE(family->at(1).MayVanish(2));
  EXPECT_FALSE(family->at(1).MayVanish(1));
  for (const int slot : {1, 2})
    EXPECT_FALSE(family->at(2).MayVanish(slot)) << "it knows of itself; " << slot;
  family->at(1).PeerGone(2);
  for (const int slot : {1, 2}) EXPECT_FALSE(family->at(1).MayVanish(slot)) << slot;
  EXPECT_EQ(OfKind(family->Events(1), Kind::kLeft).size(), 1u);
}

TEST(PeerGone, GivesTheQueueBack) {
  const auto family = Workers(2);
  family->pipe(2).refusals = 1;
  family->Send(1, To::Slot(2), "queued", "data");
  family->at(1).PeerGone(2);
  const std::vector<Told> events = family->Events(1);
  ASSERT_EQ(OfKind(events, Kind::kUndelivered).size(), 1u);
  EXPECT_EQ(OfKind(events, Kind::kLeft).size(), 1u);
  EXPECT_TRUE(family->at(1).AllWritten());
}

TEST(FailAll, GivesEverythingBackWithItsReason) {
  const auto family = Workers(3);
  for (const int to : {2, 3}) {
    family->pipe(to).refusals = 1;
    family->Send(1, To::Slot(to), "n", MakeData(9000));
    family->Send(1, To::Slot(to), "m");
  }
  family->at(1).FailAll(UndeliveredReason::kClosed);
  const std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 4u);
  for (const Told& told : failed) {
    EXPECT_EQ(told.reason, UndeliveredReason::kClosed);
    EXPECT_TRUE(told.has_data);
  }
  EXPECT_TRUE(family->at(1).AllWritten());
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
  EXPECT_FALSE(family->at(1).has_events());
}

TEST(End, AnEndpointThatGoesWithFullQueuesFreesEverything) {
  MemoryFaults memory;
  {
    const auto family = Workers(3, 8192);
    for (int i = 0; i < 3; ++i) {
      family->Send(1, To::Slot(2), "n", MakeData(30000));
      family->Send(1, To::Slot(3), "n", Buffer::Copy(MakeData(30000)).value());
      family->Broadcast(1, Scope::kWorkers, "n", MakeData(20000));
    }
    family->Read(2);
    family->Kill(3);
    family->Bury(3);
    family->Pump(1);  // failures wait to be told
  }
  EXPECT_EQ(memory.live_blocks(), 0);
}

// ---- Notices

TEST(Notices, TellJoinsAndDeathsInOrder) {
  const auto family = Workers(2);
  const Peer old = family->PeerIn(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  for (const int slot : {0, 1}) {
    const std::vector<Told> events = family->Events(slot);
    ASSERT_EQ(events.size(), 2u) << slot;
    EXPECT_EQ(events[0].kind, Kind::kLeft);
    EXPECT_EQ(events[0].peer, old);
    EXPECT_EQ(events[0].peer.pid, old.pid);
    EXPECT_EQ(events[1].kind, Kind::kJoined);
    EXPECT_EQ(events[1].peer, family->PeerIn(2));
    EXPECT_EQ(events[1].peer.pid, family->PeerIn(2).pid);
  }
  EXPECT_TRUE(family->Events(2).empty()) << "nobody is told of itself";
}

// A worker that does not read misses nothing: its notices merge.
TEST(Notices, MergeWhileAPipeIsFull) {
  const auto family = Workers(2, 4096);
  // A packet of 4096 bytes, so that not even the last page has room.
  ASSERT_TRUE(family->Send(2, To::Slot(1), "n", MakeData(kWholeBytesMax - 1)).ok());
  for (int i = 0; i < 500; ++i) {
    family->Kill(2);
    family->Bury(2);
    family->Respawn(2);
    family->Pump(0);
  }
  const std::uint64_t before = family->stats(1).control_read;
  family->Settle();
  const std::vector<Told> events = family->Events(1);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Kind::kLeft);
  EXPECT_EQ(events[1].kind, Kind::kJoined);
  EXPECT_EQ(events[1].peer, family->PeerIn(2));
  EXPECT_LE(family->stats(1).control_read - before, 4u);
  ExpectUndamaged(family.get());
}

// Notices of hundreds of slots need several packets, which must not lose one.
TEST(Notices, OfManySlotsTakeSeveralPackets) {
  const auto family = Workers(600);
  for (int slot = 2; slot <= 600; ++slot) {
    family->Kill(slot);
    family->Bury(slot);
    family->Respawn(slot);
  }
  family->Settle();
  const std::vector<Told> events = family->Events(1);
  EXPECT_EQ(OfKind(events, Kind::kLeft).size(), 599u);
  EXPECT_EQ(OfKind(events, Kind::kJoined).size(), 599u);
  ExpectUndamaged(family.get());
}

TEST(Notices, OvertakeAQueueWithoutBreakingTheSequence) {
  const auto family = Workers(2, 8192);
  // The master is in the midst of a large alert to 1, with more behind it.
  const std::string data = MakeData(40000);
  ASSERT_TRUE(family->Send(0, To::Slot(1), "large", data).ok());
  ASSERT_TRUE(family->Send(0, To::Slot(1), "small").ok());
  EXPECT_GT(family->at(0).queued_bytes(1), 0u);
  family->Kill(2);
  family->Bury(2);
  // It reads two pages and hears of the death long before the alert is whole.
  family->Read(1);
  family->Pump(0);
  family->Read(1);
  EXPECT_EQ(OfKind(family->Events(1), Kind::kLeft).size(), 1u);
  EXPECT_GT(family->at(0).queued_bytes(1), 0u);
  family->Settle();
  const std::vector<Delivery> delivered = family->Deliver(1);
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_TRUE(delivered[0].data == data);
  ExpectUndamaged(family.get());
}

TEST(Notices, ForgedOnesAreIgnoredAndCounted) {
  const auto family = Workers(3);
  const std::uint32_t self = family->PeerIn(1).generation;
  const auto forged = [&](int from) { return PacketBuilder(from, 1, self, 1); };
  const std::string packets[] = {
      // Not dead.
      forged(0).Control(RecordKind::kDied, DiedBody{2, 1}).Bytes(),
      forged(0).Control(RecordKind::kDied, DiedBody{2, 0xffffffff}).Bytes(),
      // Not there.
      forged(0).Control(RecordKind::kDied, DiedBody{0, 1}).Bytes(),
      forged(0).Control(RecordKind::kDied, DiedBody{4, 1}).Bytes(),
      forged(0).Control(RecordKind::kDied, DiedBody{0xffff, 1}).Bytes(),
      // The incarnation that is there, with a pid that is not its own.
      forged(0).Control(RecordKind::kJoined, JoinedBody{2, 1, 99}).Bytes(),
      forged(0).Control(RecordKind::kJoined, JoinedBody{2, 2, 99}).Bytes(),
      forged(0).Control(RecordKind::kJoined, JoinedBody{0, 1, 99}).Bytes(),
      forged(0).Control(RecordKind::kJoined, JoinedBody{4, 1, 99}).Bytes(),
      // Not the master.
      forged(3).Control(RecordKind::kDied, DiedBody{2, 0}).Bytes(),
      forged(3).Control(RecordKind::kJoined, JoinedBody{2, 1, 99}).Bytes(),
      // Nobody asked, and nobody is being replaced.
      forged(0).Control(RecordKind::kBarrier, BarrierBody{0}).Bytes(),
      forged(0).Control(RecordKind::kAcknowledge, BarrierBody{1}).Bytes(),
      forged(0).Control(RecordKind::kDraining, DrainingBody{1, 1, 3}).Bytes(),
      forged(0).Control(RecordKind::kDraining, DrainingBody{2, 1, 3}).Bytes(),
      forged(3).Control(RecordKind::kDraining, DrainingBody{3, 1, 0}).Bytes(),
      // Bodies of the wrong length.
      forged(0).Part(RecordKind::kDied, "12345").Bytes(),
      forged(0).Part(RecordKind::kJoined, "").Bytes(),
      forged(0).Part(RecordKind::kDraining, "1234567").Bytes(),
      forged(0).Part(RecordKind::kBarrier, "1234567").Bytes(),
      forged(0).Part(RecordKind::kAcknowledge, "123456789").Bytes(),
      forged(0).Part(RecordKind::kReject, "12345678").Bytes(),
  };
  std::uint64_t count = 0;
  for (const std::string& packet : packets) {
    family->Inject(1, packet);
    family->ReadAll(1);
    EXPECT_EQ(family->stats(1).damaged_records, ++count);
    EXPECT_EQ(family->TakeDamage(1).size(), 1u);
    EXPECT_TRUE(family->Events(1).empty()) << count;
  }
  EXPECT_TRUE(family->Send(1, To::Slot(2), "still there").ok());
  EXPECT_EQ(family->Deliver(2).size(), 1u);
}

// ---- Rejects

FamilySettings SmallBudget() {
  FamilySettings settings = GenerousSettings(4);
  settings.reassembly_bytes_max = 20000;
  settings.pipe_capacity = 8192;
  return settings;
}

TEST(Rejects, ComeBackAsUndeliveredWithTheName) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "fits", MakeData(20000)).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(20001)).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "small", "data").ok());
  family->Settle();
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].name, "fits");
  EXPECT_EQ(delivered[1].name, "small");
  const std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].name, "too large");
  EXPECT_TRUE(failed[0].has_name);
  EXPECT_FALSE(failed[0].has_data);
  EXPECT_EQ(failed[0].alert_id, 2u);
  EXPECT_EQ(failed[0].reason, UndeliveredReason::kReceiverFull);
  EXPECT_EQ(failed[0].peer, family->PeerIn(2));
  EXPECT_EQ(family->stats(2).alerts_rejected, 1u);
  EXPECT_EQ(family->stats(1).alerts_undelivered, 1u);
  ExpectUndamaged(family.get());
}

TEST(Rejects, OfAnAlertToOneself) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  for (const int self : {1, 0}) {
    ASSERT_TRUE(family->Send(self, To::Slot(self), "too large", MakeData(30000)).ok());
    ASSERT_TRUE(family->Send(self, To::Slot(self), "small").ok());
    family->Settle();
    EXPECT_EQ(family->Deliver(self).size(), 1u);
    const std::vector<Told> events = family->Events(self);
    ASSERT_EQ(OfKind(events, Kind::kUndelivered).size(), 1u);
    EXPECT_TRUE(OfKind(events, Kind::kJoined).empty());
    EXPECT_TRUE(OfKind(events, Kind::kLeft).empty());
  }
  ExpectUndamaged(family.get());
}

// And before any acknowledgement: who has asked for a barrier must not take them for handled.
TEST(Rejects, AreSentAlthoughTheirEndpointHasClosed) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(30000)).ok());
  while (family->stats(2).alerts_rejected == 0) {
    family->Pump(1);
    family->Read(2);
  }
  family->Pump(1);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->EndTurn(1);
  family->at(2).FailAll(UndeliveredReason::kClosed);
  family->ReadAll(2);
  family->Pump(1);
  family->ReadAll(2);
  family->EndTurn(2);
  family->ReadAll(1);
  const std::vector<Told> told = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, "too large");
  EXPECT_EQ(told[0].reason, UndeliveredReason::kReceiverFull);
  family->Settle();
  EXPECT_EQ(family->BarriersEnded(1).size(), 1u);
}

TEST(Rejects, ManyAreSentInSeveralPackets) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  const std::string name(250, 'n');
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(family->Send(1, To::Slot(2), name, MakeData(21000)).ok());
  }
  family->Settle();
  EXPECT_TRUE(family->Deliver(2).empty());
  const std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 40u);
  for (std::size_t i = 0; i < failed.size(); ++i) EXPECT_EQ(failed[i].alert_id, i + 1);
  ExpectUndamaged(family.get());
}

TEST(Rejects, OvertakeAQueueWithoutBreakingTheSequence) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  const std::string data = MakeData(15000);
  // 2 is in the midst of an alert to 1 when it has to reject one of 1.
  ASSERT_TRUE(family->Send(2, To::Slot(1), "large", data).ok());
  EXPECT_GT(family->at(2).queued_bytes(1), 0u);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(30000)).ok());
  for (int i = 0; i < 8; ++i) {
    family->Pump(1);
    family->ReadAll(2);
  }
  EXPECT_EQ(family->stats(2).alerts_rejected, 1u);
  family->Settle();
  EXPECT_EQ(OfKind(family->Events(1), Kind::kUndelivered).size(), 1u);
  const std::vector<Delivery> delivered = family->Deliver(1);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_TRUE(delivered[0].data == data);
  ExpectUndamaged(family.get());
}

TEST(Rejects, ForTheDeadAreForgotten) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(30000)).ok());
  for (int i = 0; i < 8; ++i) {
    family->Pump(1);
    family->ReadAll(2);
  }
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  family->Settle();
  EXPECT_TRUE(OfKind(family->Events(1), Kind::kUndelivered).empty());
  ExpectUndamaged(family.get());
}

// The rejecting worker dies, its successor has been sent to, and only then is the reject read.
TEST(Rejects, OfADeadReceiverAreNoDamage) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(30000)).ok());
  for (int i = 0; i < 8; ++i) {
    family->Pump(1);
    family->ReadAll(2);
  }
  family->EndTurn(2);  // the reject is in 1's pipe
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "to the successor").ok());
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  ExpectUndamaged(family.get());
}

// Rejected while half of it was still here, and then the receiver died: that is one failure, not
// two.
TEST(Rejects, AreNotFollowedByAFailureOfTheSameAlert) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(200000)).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "next").ok());
  while (family->stats(2).alerts_rejected == 0) {
    family->Pump(1);
    family->Read(2);
  }
  family->EndTurn(2);
  family->ReadAll(1);
  std::vector<Told> failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].reason, UndeliveredReason::kReceiverFull);
  ASSERT_GT(family->at(1).queued_bytes(2), 0u);
  family->Kill(2);
  family->Bury(2);
  family->Settle();
  failed = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].name, "next");
  EXPECT_EQ(family->stats(1).alerts_undelivered, 2u);
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
}

// The same, with the reject still unread when the queue is given back.
TEST(Rejects, ThatAreReadAfterTheFailureAreTheSameFailure) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "too large", MakeData(30000)).ok());
  while (family->stats(2).alerts_rejected == 0) {
    family->Pump(1);
    family->Read(2);
  }
  ASSERT_TRUE(family->Send(1, To::Slot(2), "half", MakeData(200000)).ok());
  while (family->stats(2).alerts_rejected == 1) {
    family->Pump(1);
    family->Read(2);
  }
  family->EndTurn(2);
  ASSERT_GT(family->at(1).queued_bytes(2), 0u);
  family->Kill(2);
  family->Bury(2);
  family->Settle();
  std::string told;
  for (const Told& failed : OfKind(family->Events(1), Kind::kUndelivered)) {
    told += failed.name + (failed.reason == UndeliveredReason::kPeerDied ? " died " : " full ");
  }
  EXPECT_EQ(told, "too large full half died ");
  ExpectUndamaged(family.get());
}

TEST(Rejects, OfASuccessorCountFromOneAgain) {
  const auto family = SimulatedFamily::WithWorkers(SmallBudget());
  family->Send(1, To::Slot(2), "small");
  family->Send(1, To::Slot(2), "too large", MakeData(30000));
  family->Settle();
  EXPECT_EQ(OfKind(family->Events(1), Kind::kUndelivered).size(), 1u);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  family->Events(1);
  family->Send(1, To::Slot(2), "too large", MakeData(30000));
  family->Settle();
  EXPECT_EQ(OfKind(family->Events(1), Kind::kUndelivered).size(), 1u);
  ExpectUndamaged(family.get());
}

TEST(Rejects, ForgedOnesAreIgnoredAndCounted) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  const std::uint32_t self = family->PeerIn(1).generation;
  const auto reject = [&](std::uint64_t id, std::uint8_t reason) {
    return PacketBuilder(2, 1, self, 1)
        .Control(RecordKind::kReject, RejectBody{id, 0, reason}, "n");
  };
  std::uint64_t count = 0;
  for (const std::string& packet :
       {reject(0, 1).Bytes(), reject(2, 1).Bytes(), reject(~std::uint64_t{0}, 1).Bytes(),
        reject(1, 0).Bytes(), reject(1, 3).Bytes(), reject(1, 255).Bytes()}) {
    family->Inject(1, packet);
    family->ReadAll(1);
    EXPECT_EQ(family->stats(1).damaged_records, ++count);
    EXPECT_TRUE(family->Events(1).empty());
  }
}

// The same of one that has a successor by now: once for what it was sent, whatever it claims.
TEST(Rejects, ForgedOnesOfADeadReceiverAreIgnoredAndCounted) {
  const auto family = Workers(2);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  family->EndTurn(1);
  const std::uint32_t self = family->PeerIn(1).generation;
  const auto reject = [&](std::uint64_t id, std::uint8_t reason) {
    const std::string packet = PacketBuilder(2, 1, self, 1)
                                   .Control(RecordKind::kReject, RejectBody{id, 0, reason}, "n")
                                   .Bytes();
    family->Inject(1, packet);
  };
  reject(2, 1);
  reject(2, 1);    // again
  reject(1, 1);    // out of order
  reject(4, 1);    // never sent
  reject(3, 255);  // for no reason
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "to the successor").ok());
  family->Settle();
  const auto told = OfKind(family->Events(1), Kind::kUndelivered);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].alert_id, 2u);
  EXPECT_EQ(family->stats(1).damaged_records, 1u);
}

// ---- Shortage

TEST(Shortage, AnyAllocationThatFailsRefusesOneSend) {
  bool fired = true;
  int nth = 1;
  for (; fired; ++nth) {
    MemoryFaults memory;
    {
      const auto family = Workers(2, 8192);
      const std::string data = MakeData(20000);
      std::vector<std::string> accepted;
      family->pipe(2).refusals = 1;
      // A copy for the library is made outside the core, so the data is handed over ready.
      std::vector<Buffer> buffers;
      buffers.reserve(3);
      for (int i = 0; i < 3; ++i) buffers.push_back(Buffer::Copy(data).value());
      SharedData* shared[3];
      for (int i = 0; i < 3; ++i) {
        shared[i] =
            SharedData::Create(&buffers[static_cast<std::size_t>(i)], &family->at(1).meter());
      }
      Target target;
      ASSERT_TRUE(family->at(1).Resolve(To::Slot(2), &target).ok());
      memory.Fail(nth);
      for (int i = 0; i < 6; ++i) {
        const std::string name = std::to_string(i);
        const Content content =
            i % 2 == 0 ? Content{name, "small", 0, 0} : Content{name, shared[i / 2]->view(), 0, 0};
        const Admission admission =
            family->at(1).Accept(target, content, i % 2 == 0 ? nullptr : shared[i / 2], true, true);
        if (admission.write_now) family->Write(1, 2, !admission.idle);
        if (admission.status.ok()) {
          accepted.push_back(name);
          EXPECT_EQ(admission.alert_id, accepted.size());
        } else {
          EXPECT_TRUE(absl::IsResourceExhausted(admission.status));
        }
      }
      fired = memory.fired();
      memory.FailNone();
      EXPECT_EQ(accepted.size(), fired ? 5u : 6u) << nth;
      for (SharedData* data_of : shared) data_of->Release();
      family->Settle();
      std::vector<std::string> names;
      for (const Delivery& delivery : family->Deliver(2)) names.push_back(delivery.name);
      EXPECT_EQ(names, accepted);
      EXPECT_EQ(family->stats(1).queued_bytes, 0u);
      ExpectUndamaged(family.get());
    }
    EXPECT_EQ(memory.live_blocks(), 0) << nth;
  }
  EXPECT_GT(nth, 3);
}

}  // namespace
}  // namespace alertpipe::core
