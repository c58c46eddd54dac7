// SPDX-License-Identifier: Apache-2.0
//
// A worker that is replaced leaves without losing anything that anybody had accepted for it: step
// by step, with the others at every point of what they know.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "contents.h"
#include "core/endpoint.h"
#include "packet_builder.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

constexpr int kOld = 1;
constexpr int kOther = 2;
constexpr int kNew = 3;

// The old worker's slot has been retired in favour of kNew, and the worker has heard it.
class Drain : public ::testing::Test {
 protected:
  void Start(std::size_t capacity = 65536) {
    FamilySettings settings = GenerousSettings(4);
    settings.pipe_capacity = capacity;
    family_ = SimulatedFamily::WithWorkers(settings);
  }
  void Retire() {
    family_->Retire(kOld, kNew);
    family_->Pump(kMasterSlot);
  }
  void HearAndDrain() {
    family_->ReadAll(kOld);
    for (int i = 0; i < 20 && !old().told_to_drain(); ++i) Turn(kOther);
    ASSERT_TRUE(old().told_to_drain());
    old().BeginDrain();
  }
  // A turn of the loop of everybody but `except`.
  void Turn(int except = -1) {
    for (int slot = 0; slot < family_->slots(); ++slot) {
      if (slot == except || !family_->runs(slot)) continue;
      family_->ReadAll(slot);
      family_->Pump(slot);
    }
  }
  bool DrainsWithin(int turns, int except = -1) {
    for (int i = 0; i < turns && !old().drained(); ++i) Turn(except);
    return old().drained();
  }
  // It has exited; what is left in its pipe is lost.
  std::uint64_t LostAtItsEnd() {
    family_->Kill(kOld);
    family_->Bury(kOld);
    return family_->drained(kOld).alerts;
  }
  Endpoint& old() { return family_->at(kOld); }

  std::unique_ptr<SimulatedFamily> family_;
};

TEST_F(Drain, IsToldOnceWithItsSuccessor) {
  Start();
  Retire();
  EXPECT_FALSE(old().told_to_drain());
  family_->ReadAll(kOld);
  EXPECT_TRUE(old().told_to_drain());
  EXPECT_EQ(old().successor(), kNew);
  std::vector<Told> told = family_->Events(kOld);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Event::Kind::kDraining);
  EXPECT_EQ(told[0].peer, family_->PeerIn(kNew));
  family_->Inject(kOld, PacketBuilder(0, 1, 1, 1)
                            .Control(RecordKind::kDraining, DrainingBody{kOld, 1, kNew})
                            .Bytes());
  family_->ReadAll(kOld);
  EXPECT_TRUE(family_->Events(kOld).empty());
}

TEST_F(Drain, NothingHappensBeforeTheApplicationIsReady) {
  Start();
  Retire();
  family_->ReadAll(kOld);
  for (int i = 0; i < 10; ++i) Turn();
  EXPECT_EQ(family_->stats(kOld).barriers_begun, 0u);
  EXPECT_FALSE(old().drained());
  EXPECT_TRUE(family_->Send(kOld, To::Slot(kOther), "still works").ok());
}

TEST_F(Drain, AFamilyAtRestLetsItGoInTwoRounds) {
  Start();
  Retire();
  HearAndDrain();
  EXPECT_TRUE(DrainsWithin(10));
  EXPECT_EQ(family_->stats(kOld).barriers_begun, 2u);
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

TEST_F(Drain, NewAlertsAreRefusedNamingTheSuccessor) {
  Start();
  Retire();
  const SendResult refused = family_->Send(kOther, To::Slot(kOld), "new");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(refused.status().message()).find("is being replaced by slot 3"),
            std::string::npos)
      << refused.status();
  EXPECT_TRUE(family_->Send(kOther, To(family_->PeerIn(kOld)), "reply").ok());
}

// Accepted before, and still queued here when the old worker asks: it waits for them.
TEST_F(Drain, WaitsForWhatIsQueuedElsewhere) {
  Start(4096);
  int sent = 0;
  for (; sent < 50; ++sent)
    ASSERT_TRUE(family_->Send(kOther, To::Slot(kOld), "job", MakeData(1500)).ok());
  Retire();
  HearAndDrain();
  std::size_t delivered = family_->Deliver(kOld).size();
  for (int i = 0; i < 200 && !old().drained(); ++i) {
    Turn();
    delivered += family_->Deliver(kOld).size();
  }
  EXPECT_TRUE(old().drained());
  EXPECT_EQ(delivered, 50u);
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

TEST_F(Drain, WaitsForOneThatDoesNotRead) {
  Start();
  Retire();
  HearAndDrain();
  EXPECT_FALSE(DrainsWithin(20, kOther));
  EXPECT_TRUE(DrainsWithin(20));
}

TEST_F(Drain, DoesNotWaitForTheDead) {
  Start();
  Retire();
  HearAndDrain();
  EXPECT_FALSE(DrainsWithin(20, kOther));
  family_->Kill(kOther);
  EXPECT_FALSE(DrainsWithin(20));
  family_->Bury(kOther);
  EXPECT_TRUE(DrainsWithin(20));
}

TEST_F(Drain, WaitsForItsOwnRequests) {
  Start();
  std::uint64_t id = 0;
  ASSERT_TRUE(family_->Request(kOld, To::Slot(kOther), "question", "", kNever, &id).ok());
  Retire();
  HearAndDrain();
  EXPECT_FALSE(DrainsWithin(20));
  EXPECT_EQ(family_->stats(kOld).barriers_begun, 1u);
  const std::vector<Delivery> asked = family_->Deliver(kOther);
  ASSERT_EQ(asked.size(), 1u);
  ASSERT_TRUE(family_->Respond(kOther, asked[0].sender, asked[0].request_id, "answer").ok());
  EXPECT_TRUE(DrainsWithin(20));
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

// Between the rounds its handlers still make requests.
TEST_F(Drain, AnAlertThatIsHandledInTheFirstRoundMayAsk) {
  Start();
  ASSERT_TRUE(family_->Send(kOther, To::Slot(kOld), "job").ok());
  Retire();
  HearAndDrain();
  Turn();
  ASSERT_EQ(family_->Deliver(kOld).size(), 1u);
  EXPECT_TRUE(family_->Request(kOld, To::Slot(kOther), "question").ok());
  Turn();
  const std::vector<Delivery> asked = family_->Deliver(kOther);
  ASSERT_EQ(asked.size(), 1u);
  ASSERT_TRUE(family_->Respond(kOther, asked[0].sender, asked[0].request_id).ok());
  EXPECT_TRUE(DrainsWithin(20));
}

TEST_F(Drain, WaitsForResponsesThatItOwes) {
  Start();
  Retire();
  HearAndDrain();
  family_->HoldRequests(kOld, true);
  EXPECT_FALSE(DrainsWithin(20));
  family_->HoldRequests(kOld, false);
  EXPECT_TRUE(DrainsWithin(20));
}

// A request to its Peer that arrives in the last round is responded to before it goes.
TEST_F(Drain, WaitsForResponsesThatItOwesAtTheEnd) {
  Start();
  Retire();
  HearAndDrain();
  std::uint64_t id = 0;
  for (int i = 0; i < 20 && old().CheckMaySend().ok(); ++i) {
    Turn(kOther);
    if (!old().CheckMaySend().ok()) break;
    family_->ReadAll(kOther);
    family_->Pump(kOther);
  }
  ASSERT_FALSE(old().CheckMaySend().ok());
  // The other has not read the last word yet.
  ASSERT_TRUE(family_->Request(kOther, To(family_->PeerIn(kOld)), "late", "", kNever, &id).ok());
  family_->Pump(kOther);
  family_->HoldRequests(kOld, true);
  EXPECT_FALSE(DrainsWithin(20));
  const std::vector<Delivery> asked = family_->Deliver(kOld);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_TRUE(family_->Respond(kOld, asked[0].sender, asked[0].request_id, "in time").ok());
  family_->HoldRequests(kOld, false);
  EXPECT_TRUE(DrainsWithin(20));
  EXPECT_EQ(LostAtItsEnd(), 0u);
  Turn();
  const std::vector<Ended> ended = family_->Outcomes(kOther);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].outcome, ResponseOutcome::kResponse);
}

TEST_F(Drain, ItsLastWordClosesBothDirections) {
  Start();
  Retire();
  HearAndDrain();
  const Peer peer = family_->PeerIn(kOld);
  ASSERT_TRUE(DrainsWithin(20));
  const SendResult own = family_->Send(kOld, To::Slot(kOther), "too late");
  EXPECT_EQ(own.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(family_->Barrier(kOld, Scope::kOthers, 1).code(),
            absl::StatusCode::kFailedPrecondition);
  for (const int slot : {kMasterSlot, kOther, kNew}) {
    const SendResult reply = family_->Send(slot, To(peer), "reply");
    EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable) << slot;
    EXPECT_NE(std::string(reply.status().message()).find("replaced by slot 3"), std::string::npos);
  }
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

TEST_F(Drain, WhatItHasSentToItselfIsHandled) {
  Start(4096);
  ASSERT_TRUE(family_->Send(kOld, To::Slot(kOld), "to myself", MakeData(9000)).ok());
  Retire();
  HearAndDrain();
  std::size_t delivered = family_->Deliver(kOld).size();
  for (int i = 0; i < 50 && !old().drained(); ++i) {
    Turn();
    delivered += family_->Deliver(kOld).size();
  }
  ASSERT_TRUE(old().drained());
  EXPECT_EQ(delivered, 1u);
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

// Its last may come when its slot has a successor that something was sent to already.
TEST_F(Drain, WhatItCouldNotHoldIsToldThoughItHasGone) {
  FamilySettings settings = GenerousSettings(4);
  settings.reassembly_bytes_max = 8192;
  settings.pipe_capacity = 65536;
  family_ = SimulatedFamily::WithWorkers(settings);
  ASSERT_TRUE(family_->Send(kOther, To::Slot(kOld), "too large", MakeData(20000)).ok());
  family_->Pump(kOther);
  family_->ReadAll(kOld);
  family_->Pump(kOld);  // the reject waits in the other's pipe
  EXPECT_EQ(LostAtItsEnd(), 0u);
  family_->Respawn(kOld);
  ASSERT_TRUE(family_->Send(kOther, To::Slot(kOld), "to the successor").ok());
  family_->ReadAll(kOther);
  int undelivered = 0;
  for (const Told& told : family_->Events(kOther)) {
    if (told.kind != Event::Kind::kUndelivered) continue;
    ++undelivered;
    EXPECT_EQ(told.name, "too large");
    EXPECT_EQ(told.peer.generation, 1u);
  }
  EXPECT_EQ(undelivered, 1);
  EXPECT_EQ(family_->stats(kOther).damaged_records, 0u);
}

// Its own alert finds room only after everybody else's last word has come: nobody but itself still
// waits for it then.
TEST_F(Drain, WhatItHasSentToItselfIsNotLeftInItsPipe) {
  Start();
  Retire();
  HearAndDrain();
  family_->HoldRequests(kOld, true);
  EXPECT_FALSE(DrainsWithin(20));
  family_->pipe(kOld).refusals = 1;
  ASSERT_TRUE(family_->Send(kOld, To(family_->PeerIn(kOld)), "to myself").ok());
  family_->HoldRequests(kOld, false);
  family_->pipe(kOld).refusals = 1;
  family_->Pump(kOld);  // asks the others; what is for itself has to wait
  for (const int slot : {kMasterSlot, kOther, kNew}) {
    family_->ReadAll(slot);
    family_->Pump(slot);
  }
  family_->ReadAll(kOld);
  family_->Pump(kOld);
  EXPECT_FALSE(old().drained()) << "its alert to itself is still in its pipe";
  EXPECT_TRUE(DrainsWithin(20));
  EXPECT_EQ(family_->Deliver(kOld).size(), 1u);
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

TEST_F(Drain, TwoAtOnceDoNotWaitForEachOther) {
  Start();
  family_->Retire(kOld, kNew);
  family_->Retire(kOther, kNew);
  family_->Pump(kMasterSlot);
  HearAndDrain();
  family_->ReadAll(kOther);
  family_->at(kOther).BeginDrain();
  for (int i = 0; i < 20; ++i) Turn();
  EXPECT_TRUE(old().drained());
  EXPECT_TRUE(family_->at(kOther).drained());
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

// One that starts while another is being replaced is not asked for its last word if it comes too
// late, so it sends nothing to a Peer that somebody has told it of.
TEST_F(Drain, ALateStarterSendsNothingToItsPeer) {
  Start();
  family_->Kill(kOther);
  family_->Bury(kOther);
  Retire();
  const Peer peer = family_->PeerIn(kOld);
  family_->Respawn(kOther);
  EXPECT_EQ(family_->Send(kOther, To(peer), "unasked").status().code(),
            absl::StatusCode::kUnavailable);
  // Who has had an alert of it may reply: it will be asked.
  ASSERT_TRUE(family_->Send(kOld, To::Slot(kOther), "hello").ok());
  ASSERT_EQ(family_->Deliver(kOther).size(), 1u);
  EXPECT_TRUE(family_->Send(kOther, To(peer), "reply").ok());
  HearAndDrain();
  EXPECT_TRUE(DrainsWithin(20));
  EXPECT_EQ(LostAtItsEnd(), 0u);
}

TEST_F(Drain, AMasterThatIsNoEndpointAnyMoreIsGivenUp) {
  Start();
  Retire();
  HearAndDrain();
  RosterWord master = family_->roster().Get(kMasterSlot);
  master.state = SlotState::kFree;
  family_->roster_memory().Publish(kMasterSlot, master);
  EXPECT_FALSE(DrainsWithin(20, kMasterSlot));
  EXPECT_TRUE(old().WaitsFor(kMasterSlot));
  old().MasterClosed();
  EXPECT_TRUE(DrainsWithin(20, kMasterSlot));
  // It still tells who has died.
  family_->Events(kOld);
  family_->Kill(kOther);
  family_->Bury(kOther);
  family_->Pump(kMasterSlot);
  family_->ReadAll(kOld);
  EXPECT_EQ(family_->Events(kOld).size(), 1u);
  EXPECT_EQ(family_->stats(kOld).damaged_packets, 0u);
}

TEST_F(Drain, NoticeAboutAnotherSlotIsDamage) {
  Start();
  family_->Retire(kOther, kNew);
  family_->Inject(kOld, PacketBuilder(0, 1, 1, 1)
                            .Control(RecordKind::kDraining, DrainingBody{kOther, 1, kNew})
                            .Bytes());
  family_->ReadAll(kOld);
  EXPECT_FALSE(old().told_to_drain());
  EXPECT_EQ(family_->stats(kOld).damaged_records, 1u);
}

}  // namespace
}  // namespace alertpipe::core
