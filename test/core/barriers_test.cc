// SPDX-License-Identifier: Apache-2.0
//
// Barriers between endpoints: an acknowledgement comes only when everything before it has been
// handled or has come back, and nothing that is in the way - a full pipe, a death, a flood - loses
// it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "contents.h"
#include "core/endpoint.h"
#include "packet_builder.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count, std::size_t capacity = 65536) {
  FamilySettings settings = GenerousSettings(count + 1);
  settings.pipe_capacity = capacity;
  return SimulatedFamily::WithWorkers(settings);
}

// The barriers that have ended: their numbers and codes.
std::vector<std::pair<int, absl::StatusCode>> Ends(SimulatedFamily* family, int slot) {
  std::vector<std::pair<int, absl::StatusCode>> ends;
  for (const auto& [number, report] : family->BarriersEnded(slot))
    ends.emplace_back(number, report.status.code());
  return ends;
}

using EndsOf = std::vector<std::pair<int, absl::StatusCode>>;
const EndsOf kFirstOk = {{1, absl::StatusCode::kOk}};

TEST(Barriers, EndWhenAllHaveHandledEverything) {
  const auto family = Workers(3);
  ASSERT_TRUE(family->Broadcast(1, Scope::kOthers, "config", "v42").ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  family->Pump(2);
  family->ReadAll(1);
  EXPECT_EQ(Ends(family.get(), 1), EndsOf{}) << "slot 3 has handled nothing";
  EXPECT_EQ(family->Deliver(3).size(), 1u);
  family->Pump(3);
  family->ReadAll(1);
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
  EXPECT_EQ(family->stats(1).barriers_begun, 1u);
  EXPECT_EQ(family->stats(1).barriers_missed, 0u);
}

TEST(Barriers, OfTheFamilyAskTheMasterAndOneself) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kFamily, 1).ok());
  ASSERT_TRUE(family->Barrier(0, Scope::kWorkers, 2).ok());
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
  EXPECT_EQ(Ends(family.get(), 0), (EndsOf{{2, absl::StatusCode::kOk}}));
}

// An alert lies between the two.
TEST(Barriers, DoNotWaitForAnAcknowledgementThatHasToWait) {
  const auto family = Workers(2, 4096);
  ASSERT_TRUE(family->Barrier(2, Scope::kOthers, 2).ok());
  family->Pump(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "between").ok());
  family->ReadAll(1);
  ASSERT_EQ(family->at(1).queued_bytes(2), 4096u);
  // What leaves is something, until nothing is left.
  family->at(1).Unblocked(2);
  iovec parts[Outbox::kPartsMax];
  int writes = 0;
  for (; writes < 10 && family->at(1).NextWrite(2, parts, false) > 0; ++writes) {
    ASSERT_GT(parts[0].iov_len, kHeaderBytes) << "an empty packet";
    ASSERT_EQ(family->pipe(2).Write(parts, 1), parts[0].iov_len);
    family->at(1).Wrote(2, parts[0].iov_len);
  }
  EXPECT_EQ(writes, 3);
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
  EXPECT_EQ(Ends(family.get(), 2), (EndsOf{{2, absl::StatusCode::kOk}}));
}

// What its predecessor has left behind is rejected before the barrier leaves.
TEST(Barriers, OfASuccessorOutliveWhatItsPredecessorIsRefused) {
  FamilySettings settings = GenerousSettings(3);
  settings.reassembly_bytes_max = 1000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  ASSERT_TRUE(family->Send(2, To::Slot(1), "large", MakeData(5000)).ok());
  family->EndTurn(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).alerts_rejected, 1u);
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
  EXPECT_EQ(family->stats(1).rejects_dropped, 0u);
}

TEST(Barriers, DoNotOvertakeWhatIsQueued) {
  const auto family = Workers(2, 4096);
  const std::string large = MakeData(40000);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "large", large).ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  ASSERT_TRUE(family->Send(1, To::Slot(2), "after").ok());
  int rounds = 0;
  bool handled = false;
  for (; rounds < 1000; ++rounds) {
    family->Pump(1);
    for (const Delivery& delivery : family->Deliver(2)) {
      handled = handled || delivery.name == "large";
    }
    family->Pump(2);
    family->ReadAll(1);
    const bool ended = !Ends(family.get(), 1).empty();
    ASSERT_FALSE(ended && !handled);
    if (ended) break;
  }
  EXPECT_TRUE(handled);
  EXPECT_GT(rounds, 5);
  EXPECT_LT(rounds, 1000);
}

// What is sent behind a barrier, for ever, does not put it off.
TEST(Barriers, EndUnderTrafficThatNeverEnds) {
  const auto family = Workers(2, 4096);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "first", MakeData(9000)).ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  int rounds = 0;
  for (; Ends(family.get(), 1).empty() && rounds < 1000; ++rounds) {
    // Each ends in the packet that the next one begins in.
    ASSERT_TRUE(family->Send(1, To::Slot(2), "more", MakeData(9000)).ok());
    family->Pump(1);
    family->ReadAll(2);
    family->Pump(2);
    family->ReadAll(1);
  }
  EXPECT_LT(rounds, 10);
}

TEST(Barriers, AcknowledgementComesBehindWhatTheOtherHasAccepted) {
  const auto family = Workers(2, 4096);
  family->ReadAll(1);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  ASSERT_TRUE(family->Send(2, To::Slot(1), "large", MakeData(30000)).ok());
  family->ReadAll(2);
  bool delivered = false;
  for (int rounds = 0; rounds < 100; ++rounds) {
    family->Pump(2);
    delivered = !family->Deliver(1).empty() || delivered;
    const bool ended = !Ends(family.get(), 1).empty();
    ASSERT_FALSE(ended && !delivered);
    if (ended) return;
  }
  FAIL() << "the barrier did not end";
}

TEST(Barriers, AreNotLostOnAFullPipe) {
  const auto family = Workers(2, 4096);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "fills", MakeData(3000)).ok());
  family->Pump(1);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->pipe(2).refusals = 3;
  for (int i = 0; i < 3; ++i) {
    family->Pump(1);
    family->ReadAll(2);
  }
  family->Pump(1);
  family->ReadAll(2);
  family->pipe(1).refusals = 3;
  for (int i = 0; i < 4; ++i) family->Pump(2);
  family->ReadAll(1);
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
}

TEST(Barriers, ADeathEndsTheWaitingForIt) {
  const auto family = Workers(3);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->Kill(3);
  family->ReadAll(2);
  family->Pump(2);
  family->ReadAll(1);
  EXPECT_EQ(Ends(family.get(), 1), EndsOf{});
  const Peer dead{static_cast<pid_t>(family->roster().Get(3).pid), 3, 1};
  family->Bury(3);
  family->Settle();
  const auto ended = family->BarriersEnded(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].second.status.ok());
  ASSERT_EQ(ended[0].second.died.size(), 1u);
  EXPECT_EQ(ended[0].second.died[0], dead);
  EXPECT_TRUE(ended[0].second.missing.empty());
}

// What was owed to a dead incarnation is not sent to its successor.
TEST(Barriers, ASuccessorIsNotAsked) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());  // not written yet
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  const auto ended = family->BarriersEnded(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].second.died.size(), 1u);
  EXPECT_EQ(family->stats(1).damaged_records, 0u);
  EXPECT_EQ(family->stats(2).damaged_records, 0u);
}

TEST(Barriers, AnAskerThatDiesIsForgotten) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->ReadAll(2);  // owes
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  family->Settle();
  EXPECT_EQ(family->stats(1).damaged_records, 0u) << "an acknowledgement reached the successor";
  EXPECT_FALSE(family->at(2).HasOutput(1));
}

TEST(Barriers, DeadlineNamesWhoIsMissing) {
  const auto family = Workers(3);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1, 500).ok());
  family->Pump(1);
  EXPECT_EQ(family->at(1).next_deadline(), 500u);
  EXPECT_TRUE(family->at(1).MayVanish(3));
  EXPECT_TRUE(family->at(1).WaitsFor(3));
  family->ReadAll(2);
  family->Pump(2);
  family->ReadAll(1);
  family->at(1).Expire(500);
  const auto ended = family->BarriersEnded(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].second.status.code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_EQ(ended[0].second.missing.size(), 1u);
  EXPECT_EQ(ended[0].second.missing[0], family->PeerIn(3));
  EXPECT_EQ(family->stats(1).barriers_missed, 1u);
  // Its acknowledgement comes too late, and harms nobody.
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1), EndsOf{});
  EXPECT_EQ(family->stats(1).damaged_records, 0u);
}

TEST(Barriers, ClosingEndsThem) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->at(1).FailAll(UndeliveredReason::kClosed);
  EXPECT_EQ(Ends(family.get(), 1), (EndsOf{{1, absl::StatusCode::kCancelled}}));
}

TEST(Barriers, BeyondTheLimitAreRefused) {
  const auto family = Workers(2);
  for (std::size_t i = 0; i < kBarriersMax; ++i)
    ASSERT_TRUE(family->Barrier(1, Scope::kOthers, static_cast<int>(i)).ok());
  const absl::Status refused = family->Barrier(1, Scope::kOthers, 64);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.message(), "too many barriers: 64 have not ended, the limit is 64");
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1).size(), kBarriersMax);
  EXPECT_TRUE(family->Barrier(1, Scope::kOthers, 65).ok());
}

TEST(Barriers, AlertsThatCameBackAreToldBefore) {
  FamilySettings settings = GenerousSettings(3);
  settings.reassembly_bytes_max = 8192;
  settings.pipe_capacity = 65536;
  const auto family = SimulatedFamily::WithWorkers(settings);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "rejected", MakeData(20000)).ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->ReadAll(2);
  family->Pump(2);
  family->ReadAll(1);
  EXPECT_EQ(family->stats(2).alerts_rejected, 1u);
  Event event;
  ASSERT_TRUE(family->at(1).NextEvent(&event));
  EXPECT_EQ(event.kind, Event::Kind::kUndelivered);
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
}

// ---- Hostile ----

std::string ForgedFrom(SimulatedFamily* family, int slot, int to, RecordKind kind,
                       std::uint64_t id) {
  return PacketBuilder(slot, family->roster().Get(slot).generation,
                       family->roster().Get(to).generation, 1)
      .Control(kind, BarrierBody{id})
      .Bytes();
}

TEST(ForgedBarriers, AcknowledgementsOfWhatWasNeverAskedAreDamage) {
  const auto family = Workers(2);
  family->Inject(1, ForgedFrom(family.get(), 2, 1, RecordKind::kAcknowledge, 1));
  family->Inject(1, ForgedFrom(family.get(), 2, 1, RecordKind::kAcknowledge, 0));
  family->Inject(1, ForgedFrom(family.get(), 2, 1, RecordKind::kBarrier, 0));
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_records, 3u);
}

TEST(ForgedBarriers, AFloodMergesAndIsAnsweredByTheLast) {
  const auto family = Workers(2);
  for (std::uint64_t id = 1; id <= 1000; ++id)
    family->Inject(1, ForgedFrom(family.get(), 2, 1, RecordKind::kBarrier, id));
  family->ReadAll(1);
  const std::uint64_t before = family->stats(1).packets_written;
  family->Pump(1);
  EXPECT_EQ(family->stats(1).packets_written, before + 1);
  family->ReadAll(2);
  EXPECT_EQ(family->stats(2).control_read, kBarriersMax + 0u);
}

TEST(ForgedBarriers, FromTheDeadAreDropped) {
  const auto family = Workers(2);
  const std::string forged = ForgedFrom(family.get(), 2, 1, RecordKind::kBarrier, 1);
  family->Kill(2);
  family->Bury(2);
  family->Inject(1, forged);
  family->ReadAll(1);
  EXPECT_FALSE(family->at(1).HasOutput(2));
}

// One is due and the other waits for the queue: what is due leaves, and no packet of nothing.
TEST(Barriers, ABarrierIsNotHeldUpByAnAcknowledgementThatWaits) {
  const auto family = Workers(2);
  family->pipe(2).refusals = 2;
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "queued").ok());
  ASSERT_TRUE(family->Barrier(2, Scope::kOthers, 2).ok());
  family->Pump(2);
  family->ReadAll(1);
  family->pipe(2).refusals = 0;
  family->at(1).Unblocked(2);
  iovec parts[Outbox::kPartsMax];
  ASSERT_EQ(family->at(1).NextWrite(2, parts, false), 1);
  ASSERT_GT(parts[0].iov_len, kHeaderBytes);
  family->at(1).MarkDirty(2);
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
  EXPECT_EQ(Ends(family.get(), 2), (EndsOf{{2, absl::StatusCode::kOk}}));
}

std::unique_ptr<SimulatedFamily> WorkersWithoutMemory() {
  FamilySettings settings = GenerousSettings(3);
  settings.pipe_capacity = 65536;
  settings.reassembly_bytes_max = 5000;
  return SimulatedFamily::WithWorkers(settings);
}

// The last of a worker that has died is read when its successor has been asked already.
TEST(Barriers, WhatComesBackToTheDeadTakesNothingFromTheSuccessor) {
  const auto family = WorkersWithoutMemory();
  ASSERT_TRUE(family->Send(2, To::Slot(1), "more than can be held", MakeData(20000)).ok());
  family->EndTurn(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).alerts_rejected, 1u);
  family->Settle();
  EXPECT_EQ(Ends(family.get(), 1), kFirstOk);
}

// An alert came back to a queue that was the successor's by then: it was not handled, and nobody
// was told, so the barrier may not say that it has been passed there.
TEST(Barriers, AnAcknowledgementOfOneWhoseQueueIsGoneDoesNotCount) {
  const auto family = WorkersWithoutMemory();
  const Peer dead = family->PeerIn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "more than can be held", MakeData(20000)).ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->ReadAll(2);
  family->Pump(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "to the successor").ok());
  family->Settle();
  const auto ended = family->BarriersEnded(1);
  ASSERT_EQ(ended.size(), 1u);
  ASSERT_EQ(ended.begin()->second.died.size(), 1u);
  EXPECT_EQ(ended.begin()->second.died[0], dead);
}

}  // namespace
}  // namespace alertpipe::core
