// SPDX-License-Identifier: Apache-2.0
//
// Sending and receiving while everybody lives. Deaths and control records are in
// endpoint_life_test.cc.
#include "core/endpoint.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "contents.h"
#include "memory_faults.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

std::string Names(const std::vector<Delivery>& delivered) {
  std::string names;
  for (const Delivery& delivery : delivered) names += delivery.name + " ";
  return names;
}

std::string Message(const SendResult& result) { return std::string(result.status().message()); }

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int CountDrained(const std::vector<Told>& events, int slot) {
  int count = 0;
  for (const Told& told : events) {
    count += told.kind == Event::Kind::kDrained && told.peer.slot == slot ? 1 : 0;
  }
  return count;
}

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count) {
  return SimulatedFamily::WithWorkers(GenerousSettings(count + 1));
}

// For tests in which several packets have to fit into a pipe.
FamilySettings RoomySettings(std::uint32_t slots) {
  FamilySettings settings = GenerousSettings(slots);
  settings.pipe_capacity = 65536;
  return settings;
}
std::unique_ptr<SimulatedFamily> RoomyWorkers(std::uint32_t count) {
  return SimulatedFamily::WithWorkers(RoomySettings(count + 1));
}

// ---- Writing within the call, and sharing packets

TEST(Turn, TheFirstAlertIsWrittenWithinTheCall) {
  const auto family = Workers(2);
  const SendResult result = family->Send(1, To::Slot(2), "hello", "world");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result.outcome(), Outcome::kWritten);
  EXPECT_EQ(result.alert_id(), 1u);
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].name, "hello");
  EXPECT_EQ(delivered[0].data, "world");
  EXPECT_EQ(delivered[0].sender, family->PeerIn(1));
  EXPECT_EQ(delivered[0].sender.pid, family->PeerIn(1).pid);
}

TEST(Turn, LaterOnesShareAPacketAtItsEnd) {
  const auto family = Workers(2);
  const std::uint64_t before = family->stats(1).packets_written;
  for (int i = 0; i < 50; ++i) {
    const SendResult result = family->Send(1, To::Slot(2), std::to_string(i));
    EXPECT_EQ(result.outcome(), i == 0 ? Outcome::kWritten : Outcome::kQueued);
    EXPECT_EQ(result.alert_id(), static_cast<std::uint64_t>(i) + 1);
  }
  EXPECT_EQ(family->stats(1).packets_written - before, 1u);
  family->EndTurn(1);
  EXPECT_EQ(family->stats(1).packets_written - before, 2u);
  EXPECT_EQ(family->Deliver(2).size(), 50u);
  EXPECT_TRUE(family->at(1).AllWritten());
}

// Where no runs of packets can be written.
TEST(Turn, AFullPacketLeavesBeforeTheEnd) {
  FamilySettings settings = GenerousSettings(3);
  settings.pipe_capacity = 65536;
  settings.runs = 0;
  const auto family = SimulatedFamily::WithWorkers(settings);
  const std::string data = MakeData(1500);
  std::vector<Outcome> outcomes;
  outcomes.reserve(5);
  for (int i = 0; i < 5; ++i) outcomes.push_back(family->Send(1, To::Slot(2), "n", data).outcome());
  // 1 at once, 2 and 3 wait, 4 does not fit behind them: their packet leaves.
  EXPECT_EQ(family->Deliver(2).size(), 3u);
  family->EndTurn(1);
  EXPECT_EQ(family->Deliver(2).size(), 2u);
  EXPECT_EQ(outcomes[0], Outcome::kWritten);
  EXPECT_EQ(outcomes[4], Outcome::kQueued);
}

// In one write, for which they are padded.
TEST(Turn, ARunOfFullPacketsLeavesBeforeTheEnd) {
  FamilySettings settings = GenerousSettings(3);
  settings.pipe_capacity = 65536;
  const auto family = SimulatedFamily::WithWorkers(settings);
  const std::string data = MakeData(1500);
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(family->Send(1, To::Slot(2), "n", data).ok());
  };
  send(5);
  EXPECT_EQ(family->Deliver(2).size(), 1u) << "one full packet waits for another";
  const Stats before = family->stats(1);
  send(1);  // starts a third
  const Stats after = family->stats(1);
  EXPECT_EQ(after.writes - before.writes, 1u);
  EXPECT_EQ(after.packets_written - before.packets_written, 2u);
  EXPECT_EQ(family->pipe(2).bytes(), 8192u);
  EXPECT_EQ(family->Deliver(2).size(), 4u);
  family->EndTurn(1);
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  EXPECT_EQ(family->stats(2).damaged_records, 0u);
}

TEST(Turn, ANewTurnStartsAnew) {
  const auto family = Workers(2);
  family->Send(1, To::Slot(2), "a");
  EXPECT_EQ(family->Send(1, To::Slot(2), "b").outcome(), Outcome::kQueued);
  family->EndTurn(1);
  EXPECT_EQ(family->Send(1, To::Slot(2), "c").outcome(), Outcome::kWritten);
  EXPECT_EQ(Names(family->Deliver(2)), "a b c ");
}

TEST(Turn, ReceiversDoNotShareTheirTurn) {
  const auto family = Workers(3);
  EXPECT_EQ(family->Send(1, To::Slot(2), "a").outcome(), Outcome::kWritten);
  EXPECT_EQ(family->Send(1, To::Slot(3), "a").outcome(), Outcome::kWritten);
}

TEST(Turn, LargeAlertsLeaveWithinTheCallWhenThePipeHasRoom) {
  const auto family = RoomyWorkers(2);
  const std::string data = MakeData(40000);
  EXPECT_EQ(family->Send(1, To::Slot(2), "lent", data).outcome(), Outcome::kWritten);
  family->ReadAll(2);
  EXPECT_TRUE(family->Deliver(2).at(0).data == data);
  family->EndTurn(1);
  EXPECT_EQ(family->Send(1, To::Slot(2), "owned", Buffer::Copy(data).value()).outcome(),
            Outcome::kWritten);
  EXPECT_TRUE(family->Deliver(2).at(0).data == data);
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
}

TEST(Turn, SelfSendsWaitInTheOwnPipe) {
  const auto family = Workers(1);
  EXPECT_EQ(family->Send(1, family->PeerIn(1).pid, "me").outcome(), Outcome::kWritten);
  EXPECT_TRUE(family->Send(1, To::Slot(1), "again").ok());
  family->EndTurn(1);
  const std::vector<Delivery> delivered = family->Deliver(1);
  EXPECT_EQ(Names(delivered), "me again ");
  EXPECT_EQ(delivered.at(0).sender, family->PeerIn(1));
}

// ---- Order, on a pipe that is far too small

TEST(Order, HoldsForAllSizesOverAFullPipe) {
  FamilySettings settings = GenerousSettings(4);
  settings.pipe_capacity = 8192;
  const auto family = SimulatedFamily::WithWorkers(settings);
  std::vector<std::string> expected[4];
  for (int round = 0; round < 60; ++round) {
    for (int from = 1; from <= 3; ++from) {
      const std::size_t number =
          std::size_t{4} * static_cast<unsigned>(round) + static_cast<unsigned>(from);
      const std::string data = MakeData(number * 173 % 20000, number);
      const std::string name = ProvenName(std::to_string(number), data);
      ASSERT_TRUE(round % 2 == 0
                      ? family->Send(from, To::Slot(2), name, data).ok()
                      : family->Send(from, To::Slot(2), name, Buffer::Copy(data).value()).ok());
      expected[from].push_back(name);
    }
    if (round % 7 == 0) family->Read(2);
    if (round % 3 == 0) family->Pump(1 + round % 2);
  }
  family->Settle();
  std::vector<std::string> seen[4];
  for (const Delivery& delivery : family->Deliver(2)) {
    EXPECT_TRUE(IsProven(delivery.name, delivery.data));
    seen[delivery.sender.slot].push_back(delivery.name);
  }
  for (int from = 1; from <= 3; ++from) {
    EXPECT_EQ(seen[from], expected[from]);
    EXPECT_EQ(family->stats(from).queued_bytes, 0u);
    EXPECT_TRUE(family->at(from).AllWritten());
    EXPECT_EQ(family->stats(from).alerts_written, family->stats(from).alerts_accepted);
  }
  EXPECT_EQ(family->stats(2).lost_alerts, 0u);
  EXPECT_TRUE(family->TakeDamage(2).empty());
}

TEST(Order, AStoppedReceiverDelaysNobodyElse) {
  FamilySettings settings = GenerousSettings(4);
  settings.pipe_capacity = 4096;
  const auto family = SimulatedFamily::WithWorkers(settings);
  const std::string data = MakeData(3000);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(family->Send(1, To::Slot(2), "stopped", data).ok());
    ASSERT_TRUE(family->Send(1, To::Slot(3), "fine", data).ok());
    family->Pump(1);
    family->ReadAll(3);
  }
  EXPECT_EQ(family->Deliver(3).size(), 20u);
  EXPECT_GT(family->at(1).queued_bytes(2), 15 * 3000u);
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), 20u);
}

TEST(Order, RunsAreOnlyUsedWhereTheKernelAllowsThem) {
  for (const std::uint32_t runs : {0u, 1u}) {
    FamilySettings settings = RoomySettings(3);
    settings.runs = runs;
    const auto family = SimulatedFamily::WithWorkers(settings);
    const Stats before = family->stats(1);
    family->Send(1, To::Slot(2), "n", MakeData(60000));
    const Stats after = family->stats(1);
    const std::uint64_t packets = after.packets_written - before.packets_written;
    const std::uint64_t writes = after.writes - before.writes;
    EXPECT_EQ(packets == writes, runs == 0);
    EXPECT_EQ(family->Deliver(2).size(), 1u);
  }
}

// ---- Who

TEST(Receivers, ByPidSlotAndPeer) {
  const auto family = Workers(3);
  EXPECT_TRUE(family->Send(1, family->PeerIn(2).pid, "pid").ok());
  EXPECT_TRUE(family->Send(1, To::Slot(2), "slot").ok());
  EXPECT_TRUE(family->Send(1, family->PeerIn(2), "peer").ok());
  EXPECT_TRUE(family->Send(1, To::Master(), "master").ok());
  family->EndTurn(1);
  EXPECT_EQ(Names(family->Deliver(2)), "pid slot peer ");
  EXPECT_EQ(Names(family->Deliver(0)), "master ");
}

TEST(Receivers, UnknownOnesAreNotFound) {
  const auto family = Workers(1);
  const SendResult pid = family->Send(1, 4711, "n");
  EXPECT_TRUE(absl::IsNotFound(pid.status()));
  EXPECT_TRUE(Contains(Message(pid), "4711"));
  for (const pid_t none : {0, -1}) {
    EXPECT_TRUE(absl::IsNotFound(family->Send(1, To::Pid(none), "n").status()));
  }
  for (const int slot : {-1, 2, 100000}) {
    const SendResult result = family->Send(1, To::Slot(slot), "n");
    EXPECT_TRUE(absl::IsNotFound(result.status())) << slot;
    EXPECT_TRUE(Contains(Message(result), std::to_string(slot)));
    EXPECT_EQ(result.outcome(), Outcome::kRefused);
    EXPECT_EQ(result.alert_id(), 0u);
  }
}

TEST(Receivers, AFreeSlotAndADetachedMasterAreUnavailable) {
  SimulatedFamily family(GenerousSettings(3));
  family.Respawn(1);
  EXPECT_TRUE(absl::IsUnavailable(family.Send(1, To::Slot(2), "n").status()));
  family.roster_memory().Publish(0, 1, SlotState::kFree, 100);
  EXPECT_TRUE(absl::IsUnavailable(family.Send(1, To::Master(), "n").status()));
  EXPECT_TRUE(absl::IsUnavailable(family.Send(1, 100, "n").status()));
  EXPECT_TRUE(absl::IsUnavailable(family.Send(1, To::AnyWorker(), "n").status()));
}

TEST(Receivers, AWorkerThatIsBeingStartedIsReachedBySlotAndByLearnedPid) {
  SimulatedFamily family(GenerousSettings(3));
  family.Respawn(1);
  family.BeginRespawn(2);
  while (family.life(2).step() != SlotLife::Step::kPublishUp) family.Step(2);
  // It runs, but its pid is not in the roster yet.
  EXPECT_TRUE(family.Send(1, To::Slot(2), "early").ok());
  const pid_t pid = family.PeerIn(2).pid;
  EXPECT_TRUE(absl::IsNotFound(family.Send(1, pid, "n").status()));
  EXPECT_TRUE(family.Send(2, To::Slot(1), "hello").ok());
  family.ReadAll(1);
  EXPECT_TRUE(family.Send(1, pid, "by pid").ok());
  EXPECT_EQ(family.Broadcast(1, Scope::kOthers, "all", "").accepted, 1u);
  family.EndTurn(1);
  EXPECT_EQ(Names(family.Deliver(2)), "early by pid all ");
}

TEST(Receivers, ADrainingWorkerGetsRepliesButNothingNew) {
  const auto family = Workers(2);
  const Peer peer = family->PeerIn(2);
  family->roster_memory().Publish(2, peer.generation, SlotState::kDraining,
                                  static_cast<std::uint32_t>(peer.pid));
  EXPECT_TRUE(absl::IsUnavailable(family->Send(1, To::Slot(2), "n").status()));
  EXPECT_TRUE(absl::IsUnavailable(family->Send(1, peer.pid, "n").status()));
  EXPECT_TRUE(absl::IsUnavailable(family->Send(1, To::AnyWorker(), "n").status()));
  EXPECT_EQ(family->Broadcast(1, Scope::kOthers, "n", "").accepted, 0u);
  EXPECT_TRUE(family->Send(1, peer, "reply").ok());
  EXPECT_EQ(Names(family->Deliver(2)), "reply ");
}

TEST(Receivers, ARefusalNamesTheSuccessorOfADrainingWorker) {
  const auto family = Workers(3);
  const Peer peer = family->PeerIn(2);
  const auto refusal = [&](const To& to) {
    return std::string(family->Send(1, to, "n").status().message());
  };
  // As long as the word does not say so, a successor means nothing.
  family->roster_memory().PublishSuccessor(2, 3);
  EXPECT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  family->roster_memory().PublishSuccessor(2, 0);

  family->BeginRetire(2, 3);
  while (family->Step(2)) {
  }
  EXPECT_EQ(refusal(To::Slot(2)), ToString(peer) + " is being replaced by slot 3");
  EXPECT_EQ(refusal(peer.pid), ToString(peer) + " is being replaced by slot 3");
  family->Kill(2);
  family->Bury(2);
  EXPECT_EQ(refusal(To::Slot(2)), ToString(peer) + " is dead");

  family->Respawn(2);
  const Peer next = family->PeerIn(2);
  EXPECT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  family->BeginRetire(2, 0);
  while (family->Step(2)) {
  }
  EXPECT_EQ(refusal(To::Slot(2)), ToString(next) + " is ending and takes no new alerts");
}

TEST(AnyWorker, TakesTurnsAmongIdleOnesAndNeverTheSender) {
  const auto family = Workers(4);
  int received[5] = {};
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(family->Send(1, To::AnyWorker(), "n").ok());
    family->EndTurn(1);
  }
  for (int slot = 1; slot <= 4; ++slot) {
    received[slot] = static_cast<int>(family->Deliver(slot).size());
  }
  EXPECT_EQ(received[1], 0);
  EXPECT_EQ(received[2], 3);
  EXPECT_EQ(received[3], 3);
  EXPECT_EQ(received[4], 3);
  EXPECT_TRUE(family->Deliver(0).empty());
}

TEST(AnyWorker, PrefersTheShortestQueue) {
  const auto family = Workers(3);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n", MakeData(5000)).ok());
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(family->Send(1, To::AnyWorker(), "any").ok());
    family->EndTurn(1);
  }
  EXPECT_EQ(family->Deliver(3).size(), 4u);
}

TEST(Broadcast, ScopesSelectTheirReceivers) {
  const auto family = Workers(3);
  const auto reached = [&](int from, Scope scope) {
    const BroadcastResult result = family->Broadcast(from, scope, "n", "");
    EXPECT_TRUE(result.ok());
    family->EndTurn(from);
    std::string slots;
    std::size_t count = 0;
    for (int slot = 0; slot < family->slots(); ++slot) {
      const std::size_t received = family->Deliver(slot).size();
      EXPECT_LE(received, 1u);
      if (received > 0) slots += std::to_string(slot);
      count += received;
    }
    EXPECT_EQ(result.accepted, count);
    return slots;
  };
  EXPECT_EQ(reached(1, Scope::kWorkers), "123");
  EXPECT_EQ(reached(2, Scope::kOthers), "13");
  EXPECT_EQ(reached(2, Scope::kFamily), "0123");
  EXPECT_EQ(reached(0, Scope::kWorkers), "123");
  EXPECT_EQ(reached(0, Scope::kOthers), "123");
  family->roster_memory().Publish(0, 1, SlotState::kFree, 100);
  EXPECT_EQ(reached(1, Scope::kFamily), "123");
}

TEST(Broadcast, LargeDataIsHeldOnceAndArrivesEverywhere) {
  FamilySettings settings = GenerousSettings(6);
  settings.pipe_capacity = 4096;
  const auto family = SimulatedFamily::WithWorkers(settings);
  const std::string data = MakeData(300000);
  const BroadcastResult result = family->Broadcast(1, Scope::kWorkers, "n", data);
  EXPECT_EQ(result.accepted, 5u);
  EXPECT_EQ(result.written, 0u);
  EXPECT_LT(family->stats(1).queued_bytes, 300000 + 5 * 2 * 4096u);
  family->Settle();
  for (int slot = 1; slot <= 5; ++slot) {
    const std::vector<Delivery> delivered = family->Deliver(slot);
    ASSERT_EQ(delivered.size(), 1u);
    EXPECT_TRUE(delivered[0].data == data) << slot;
  }
  EXPECT_EQ(family->stats(1).queued_bytes, 0u);
}

// ---- Limits

TEST(Limits, NamesAndDataToTheLastByte) {
  FamilySettings settings = GenerousSettings(3);
  settings.alert_bytes_max = 50000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  EXPECT_TRUE(family->Send(1, To::Slot(2), std::string(254, 'n')).ok());
  const SendResult name = family->Send(1, To::Slot(2), std::string(255, 'n'));
  EXPECT_TRUE(absl::IsInvalidArgument(name.status()));
  EXPECT_TRUE(Contains(Message(name), "254"));
  EXPECT_TRUE(Contains(Message(name), "255"));
  EXPECT_TRUE(family->Send(1, To::Slot(2), "n", MakeData(50000)).ok());
  const SendResult data = family->Send(1, To::Slot(2), "n", MakeData(50001));
  EXPECT_TRUE(absl::IsInvalidArgument(data.status()));
  EXPECT_TRUE(Contains(Message(data), "50000"));
  EXPECT_TRUE(Contains(Message(data), "50001"));
  EXPECT_TRUE(Contains(Message(data), "alert_bytes_max"));
  EXPECT_TRUE(family->at(1).CheckContent("", 50000).ok());
}

TEST(Limits, TheLargestAlertOfAll) {
  const auto family = Workers(1);
  EXPECT_TRUE(family->at(1).CheckContent("n", 4294967040).ok());
  const absl::Status status = family->at(1).CheckContent("n", 4294967041);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_TRUE(Contains(std::string(status.message()), "4294967040"));
  EXPECT_TRUE(Contains(std::string(status.message()), "4294967041"));
}

FamilySettings SmallCaps() {
  FamilySettings settings = GenerousSettings(4);
  settings.pipe_capacity = 4096;
  settings.queued_bytes_per_peer_max = 20000;
  settings.queued_bytes_max = 50000;
  return settings;
}

// Fills the queue for a receiver that does not read; returns the refusal.
SendResult Fill(SimulatedFamily* family, int from, int to, std::size_t bytes) {
  const std::string data = MakeData(bytes);
  for (int i = 0; i < 200000; ++i) {
    SendResult result = family->Send(from, To::Slot(to), "n", data);
    if (!result.ok()) return result;
  }
  ADD_FAILURE() << "never refused";
  return absl::OkStatus();
}

TEST(Caps, TheRefusalNamesThePeerTheOptionTheLimitAndTheUsage) {
  const auto family = SimulatedFamily::WithWorkers(SmallCaps());
  const SendResult refused = Fill(family.get(), 1, 2, 1000);
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status()));
  const std::string message = Message(refused);
  EXPECT_TRUE(Contains(message, "queued_bytes_per_peer_max")) << message;
  EXPECT_TRUE(Contains(message, "20000")) << message;
  EXPECT_TRUE(Contains(message, std::to_string(family->at(1).queued_bytes(2)))) << message;
  EXPECT_TRUE(Contains(message, "slot 2")) << message;
  EXPECT_LE(family->at(1).queued_bytes(2), 20000u);
  // Another receiver is not concerned.
  EXPECT_TRUE(family->Send(1, To::Slot(3), "n").ok());
}

TEST(Caps, TheEndpointsCapHoldsForAllReceiversTogether) {
  FamilySettings settings = SmallCaps();
  settings.queued_bytes_max = 40000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  Fill(family.get(), 1, 2, 1000);
  Fill(family.get(), 1, 3, 1000);
  const SendResult refused = Fill(family.get(), 1, 0, 1000);
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status()));
  EXPECT_TRUE(Contains(Message(refused), "queued_bytes_max is 40000")) << Message(refused);
  EXPECT_LE(family->stats(1).queued_bytes, 40000u);
  EXPECT_LE(family->stats(1).queued_bytes_peak, 40000u);
}

// Sizes that fill packets badly (just over a half, just over one) must not cost more than others.
TEST(Caps, BoundTheMemoryThatIsHeldForEverySizeOfAlert) {
  constexpr std::size_t kCap = 1000000;
  FamilySettings settings = SmallCaps();
  settings.queued_bytes_per_peer_max = settings.queued_bytes_max = kCap;
  for (const std::size_t bytes :
       {0, 10, 500, 1400, 2100, 2700, 4000, 4100, 4200, 6000, 8200, 20000}) {
    MemoryFaults memory;
    const auto family = SimulatedFamily::WithWorkers(settings);
    const std::size_t before = memory.live_bytes();
    EXPECT_TRUE(absl::IsResourceExhausted(Fill(family.get(), 1, 2, bytes).status()));
    const std::size_t held = family->at(1).queued_bytes(2);
    EXPECT_EQ(held, family->stats(1).queued_bytes);
    EXPECT_GT(held, kCap * 9 / 10) << bytes;
    EXPECT_LE(held, kCap) << bytes;
    // Each packet and each large alert has some bytes of bookkeeping on top.
    EXPECT_GE(memory.live_bytes() - before, held) << bytes;
    EXPECT_LE(memory.live_bytes() - before, held * 21 / 20) << bytes;
  }
}

TEST(Caps, ARefusedAlertLeavesNoTraceAndWhatWasAcceptedArrives) {
  const auto family = SimulatedFamily::WithWorkers(SmallCaps());
  Fill(family.get(), 1, 2, 1000);
  const std::size_t queued = family->at(1).queued_bytes(2);
  const std::uint64_t accepted = family->stats(1).alerts_accepted;
  EXPECT_FALSE(family->Send(1, To::Slot(2), "refused", MakeData(19000)).ok());
  EXPECT_EQ(family->at(1).queued_bytes(2), queued);
  EXPECT_EQ(family->stats(1).alerts_accepted, accepted);
  family->Settle();
  EXPECT_EQ(family->Deliver(2).size(), accepted);
  EXPECT_EQ(family->stats(2).lost_alerts, 0u);
}

TEST(Caps, DataAboveACapOnlyByOwnershipAndIntoAnEmptyQueue) {
  const auto family = SimulatedFamily::WithWorkers(SmallCaps());
  const std::string data = MakeData(60000);
  const SendResult lent = family->Send(1, To::Slot(2), "lent", data);
  EXPECT_FALSE(lent.ok());
  EXPECT_TRUE(Contains(Message(lent), "Buffer")) << Message(lent);
  EXPECT_TRUE(Contains(Message(lent), "20000")) << Message(lent);
  EXPECT_EQ(family->Send(1, To::Slot(2), "owned", Buffer::Copy(data).value()).outcome(),
            Outcome::kQueued);
  EXPECT_TRUE(absl::IsResourceExhausted(
      family->Send(1, To::Slot(2), "second", Buffer::Copy(data).value()).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(family->Send(1, To::Slot(2), "small").status()));
  family->Settle();
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_TRUE(delivered[0].data == data);
}

TEST(Caps, ABroadcastChargesTheEndpointOnce) {
  FamilySettings settings = SmallCaps();
  settings.queued_bytes_max = 30000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  const BroadcastResult result = family->Broadcast(2, Scope::kOthers, "n", MakeData(11000));
  EXPECT_EQ(result.accepted, 2u);
  EXPECT_TRUE(result.refused.empty());
}

TEST(Caps, ABroadcastListsWhoWasFull) {
  const auto family = SimulatedFamily::WithWorkers(SmallCaps());
  Fill(family.get(), 1, 2, 1000);
  const BroadcastResult result = family->Broadcast(1, Scope::kOthers, "n", MakeData(1000));
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.accepted, 1u);
  ASSERT_EQ(result.refused.size(), 1u);
  EXPECT_EQ(result.refused[0].peer.slot, 2);
  EXPECT_TRUE(absl::IsResourceExhausted(result.refused[0].status));
}

// ---- Drained

TEST(Drained, IsToldOnceAfterAFullPipe) {
  const auto family = SimulatedFamily::WithWorkers(SmallCaps());
  Fill(family.get(), 1, 2, 1000);
  EXPECT_EQ(CountDrained(family->Events(1), 2), 0);
  family->Settle();
  const std::vector<Told> events = family->Events(1);
  EXPECT_EQ(CountDrained(events, 2), 1);
  EXPECT_EQ(events.size(), 1u);
  EXPECT_EQ(events.at(0).peer.pid, family->PeerIn(2).pid);
}

TEST(Drained, IsNotToldWhenNothingHadToWait) {
  const auto family = Workers(2);
  for (int i = 0; i < 100; ++i) family->Send(1, To::Slot(2), "n", "data");
  family->EndTurn(1);
  EXPECT_TRUE(family->Events(1).empty());
}

// Who was refused for the endpoint's cap, with nothing queued of its own, must hear when there is
// room: a sender that waits for OnDrained would wait for ever.
void ExpectRoomIsToldWhen(const std::function<void(SimulatedFamily*)>& make_room) {
  FamilySettings settings = SmallCaps();
  settings.queued_bytes_max = 20000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  Fill(family.get(), 1, 2, 1000);
  const std::string data = MakeData(3000);
  ASSERT_TRUE(absl::IsResourceExhausted(family->Send(1, To::Slot(3), "n", data).status()));
  ASSERT_EQ(family->at(1).queued_bytes(3), 0u);
  EXPECT_EQ(CountDrained(family->Events(1), 3), 0);
  make_room(family.get());
  EXPECT_EQ(CountDrained(family->Events(1), 3), 1);
  EXPECT_TRUE(family->Send(1, To::Slot(3), "n", data).ok());
}

TEST(Drained, IsToldToWhomTheEndpointsCapHadRefused) {
  ExpectRoomIsToldWhen([](SimulatedFamily* family) { family->Settle(); });
}

TEST(Drained, IsToldWhenADeathMakesRoom) {
  ExpectRoomIsToldWhen([](SimulatedFamily* family) {
    family->Kill(2);
    family->Bury(2);
    family->Settle();
  });
}

// Large data is given back, and makes room, only when the application has been told.
TEST(Drained, IsToldWhenLargeDataOfTheDeadIsFreed) {
  FamilySettings settings = SmallCaps();
  settings.queued_bytes_max = 20000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n", Buffer::Copy(MakeData(18000)).value()).ok());
  ASSERT_TRUE(
      absl::IsResourceExhausted(family->Send(1, To::Slot(3), "n", MakeData(3000)).status()));
  family->Kill(2);
  family->Bury(2);
  family->Settle();
  EXPECT_EQ(CountDrained(family->Events(1), 3), 1);
}

// ---- Blocked pipes

TEST(Blocked, NothingIsTriedUntilThePipeIsWritable) {
  const auto family = Workers(2);
  family->pipe(2).refusals = 1;
  EXPECT_EQ(family->Send(1, To::Slot(2), "a").outcome(), Outcome::kQueued);
  EXPECT_TRUE(family->at(1).blocked(2));
  const std::uint64_t writes = family->stats(1).writes;
  family->Send(1, To::Slot(2), "b");
  family->EndTurn(1);
  EXPECT_EQ(family->stats(1).writes, writes);
  EXPECT_EQ(family->stats(1).writes_blocked, 1u);
  family->Pump(1);
  EXPECT_EQ(Names(family->Deliver(2)), "a b ");
}

// Whatever it was that found the pipe full: who waits behind it is told.
TEST(Blocked, WhoIsQueuedBehindARefusedNoticeIsToldOfItsEnd) {
  const auto family = RoomyWorkers(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  family->EndTurn(1);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->EndTurn(1);
  ASSERT_TRUE(family->at(1).blocked(2));
  ASSERT_TRUE(family->at(1).AllWritten());
  EXPECT_EQ(family->Send(1, To::Slot(2), "a").outcome(), Outcome::kQueued);
  family->EndTurn(1);
  family->Pump(1);
  std::size_t drained = 0;
  for (const Told& told : family->Events(1)) drained += told.kind == Event::Kind::kDrained ? 1 : 0;
  EXPECT_EQ(drained, 1u);
}

// A turn's share of writing is used up.
TEST(Later, WhatIsLeftIsWrittenInAnotherTurnAndTheEndOfAlertsIsTold) {
  const auto family = RoomyWorkers(2);
  Endpoint& sender = family->at(1);
  sender.WriteLater(2);
  EXPECT_FALSE(sender.dirty()) << "there is nothing left";

  std::vector<int> slots;
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  sender.TakeDirty(&slots);
  sender.WriteLater(2);
  EXPECT_TRUE(sender.dirty());
  family->EndTurn(1);
  EXPECT_EQ(CountDrained(family->Events(1), 2), 0) << "no alert was held up";

  ASSERT_TRUE(family->Send(1, To::Slot(2), "a").ok());
  ASSERT_EQ(family->Send(1, To::Slot(2), "b").outcome(), Outcome::kQueued);
  sender.TakeDirty(&slots);
  sender.WriteLater(2);
  EXPECT_TRUE(sender.dirty());
  family->EndTurn(1);
  EXPECT_EQ(CountDrained(family->Events(1), 2), 1);
}

TEST(Blocked, WhatWaitedForTheEndOfTheTurnIsNotTriedEither) {
  const auto family = RoomyWorkers(2);
  family->Send(1, To::Slot(2), "a");
  family->Send(1, To::Slot(2), "b");  // waits for the end of the turn
  family->pipe(2).refusals = 1;
  family->Send(1, To::Slot(2), "large", MakeData(15000));
  ASSERT_TRUE(family->at(1).blocked(2));
  const std::uint64_t writes = family->stats(1).writes;
  family->EndTurn(1);
  EXPECT_EQ(family->stats(1).writes, writes);
  family->Pump(1);
  EXPECT_EQ(Names(family->Deliver(2)), "a b large ");
}

TEST(Stats, CountWhatHappened) {
  const auto family = RoomyWorkers(2);
  const Stats before = family->stats(1);
  family->Send(1, To::Slot(2), "name", "data");
  family->Send(1, To::Slot(2), "name", MakeData(10000));
  family->EndTurn(1);
  const Stats after = family->stats(1);
  EXPECT_EQ(after.alerts_accepted - before.alerts_accepted, 2u);
  EXPECT_EQ(after.alerts_written - before.alerts_written, 2u);
  EXPECT_EQ(after.bytes_accepted - before.bytes_accepted, 8u + 10004u);
  EXPECT_EQ(after.alerts_undelivered, 0u);
}

}  // namespace
}  // namespace alertpipe::core
