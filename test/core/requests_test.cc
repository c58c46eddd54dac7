// SPDX-License-Identifier: Apache-2.0
//
// Requests as the core decides them: each that was accepted ends once, whatever becomes of it, of
// its response, and of the two processes.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "contents.h"
#include "core/endpoint.h"
#include "packet_builder.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

using Outcomes = std::vector<ResponseOutcome>;

FamilySettings Settings(std::uint32_t workers, std::size_t capacity = 65536) {
  FamilySettings settings = GenerousSettings(workers + 1);
  settings.pipe_capacity = capacity;
  return settings;
}

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count, std::size_t capacity = 65536) {
  return SimulatedFamily::WithWorkers(Settings(count, capacity));
}

Outcomes OutcomesOf(const std::vector<Ended>& ended) {
  Outcomes outcomes;
  for (const Ended& one : ended) outcomes.push_back(one.outcome);
  return outcomes;
}

std::vector<Told> Undelivereds(SimulatedFamily* family, int slot) {
  std::vector<Told> found;
  for (const Told& told : family->Events(slot)) {
    if (told.kind == Event::Kind::kUndelivered) found.push_back(told);
  }
  return found;
}

// The identities that hold whenever nothing is under way.
void ExpectSettled(SimulatedFamily* family, int slot) {
  const Stats stats = family->stats(slot);
  EXPECT_EQ(stats.requests_sent, stats.responses_received + stats.requests_failed) << slot;
  EXPECT_EQ(family->at(slot).meter().queued_bytes(), 0u) << slot;
  EXPECT_TRUE(family->at(slot).AllWritten()) << slot;
}

std::string Forged(const SimulatedFamily& family, int slot, int to, const Record& record,
                   std::uint64_t sequence = 1) {
  return PacketBuilder(slot, family.roster().Get(slot).generation,
                       family.roster().Get(to).generation, sequence)
      .Add(record)
      .Bytes();
}

Record AlertRecord(std::uint8_t flags, std::uint64_t request_id) {
  Record record;
  record.flags = flags;
  record.request_id = request_id;
  record.data = "forged";
  return record;
}

std::string UnhandledIds(const std::vector<std::uint64_t>& ids) {
  std::string bytes(ids.size() * UnhandledBody::kBytes, '\0');
  for (std::size_t i = 0; i < ids.size(); ++i)
    UnhandledBody{ids[i]}.Encode(bytes.data() + i * UnhandledBody::kBytes);
  return bytes;
}

Record UnhandledRecord(std::string_view ids) {
  Record record;
  record.kind = RecordKind::kUnhandled;
  record.data = ids;
  return record;
}

// ---- With a response

TEST(Requests, EndWithTheirResponse) {
  const auto family = Workers(2);
  std::uint64_t ids[3];
  const std::string large = MakeData(50000);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a", "1", kNever, &ids[0]).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "b", large, kNever, &ids[1]).ok());
  ASSERT_TRUE(
      family->Request(1, To::Slot(2), "c", Buffer::Copy(large).value(), kNever, &ids[2]).ok());
  family->Settle();
  EXPECT_TRUE(family->Outcomes(1).empty());
  const std::vector<Delivery> asked = family->Deliver(2);
  ASSERT_EQ(asked.size(), 3u);
  for (std::size_t i : {2u, 0u, 1u}) {
    EXPECT_EQ(asked[i].request_id, ids[i]);
    ASSERT_TRUE(family->Respond(2, asked[i].sender, asked[i].request_id, asked[i].data).ok());
  }
  family->Settle();
  const std::vector<Ended> ended = family->Outcomes(1);
  ASSERT_EQ(ended.size(), 3u);
  EXPECT_EQ(ended[0].request_id, ids[2]);
  EXPECT_TRUE(ended[0].data == large);
  EXPECT_EQ(ended[1].data, "1");
  EXPECT_TRUE(ended[2].data == large);
  for (const Ended& one : ended) EXPECT_EQ(one.outcome, ResponseOutcome::kResponse);
  EXPECT_EQ(family->stats(2).responses_sent, 3u);
  ExpectSettled(family.get(), 1);
  ExpectSettled(family.get(), 2);
}

TEST(Requests, TakeOneResponseOnly) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a").ok());
  const Delivery asked = family->Deliver(2).at(0);
  for (const char* data : {"first", "second"})
    ASSERT_TRUE(family->Respond(2, asked.sender, asked.request_id, data).ok());
  family->at(2).Unhandled(asked.sender, asked.request_id);
  family->Settle();
  const std::vector<Ended> ended = family->Outcomes(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].data, "first");
  EXPECT_EQ(family->stats(1).responses_late, 1u);
  EXPECT_EQ(family->stats(1).alerts_unhandled, 1u);
  ExpectSettled(family.get(), 1);
}

TEST(Requests, AreNotAnsweredAfterTheirDeadline) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a", "", 100).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "b", "", 101).ok());
  family->Settle();
  for (const Delivery& asked : family->Deliver(2))
    ASSERT_TRUE(family->Respond(2, asked.sender, asked.request_id).ok());
  family->EndTurn(2);
  family->at(1).Expire(100);
  family->Settle();
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)),
            (Outcomes{ResponseOutcome::kResponse, ResponseOutcome::kDeadline}));
  EXPECT_EQ(family->stats(1).responses_late, 1u);
  ExpectSettled(family.get(), 1);
}

// ---- Unhandled

TEST(Requests, EndUnhandledAlsoByItself) {
  const auto family = Workers(2);
  for (const int slot : {2, 1}) {
    ASSERT_TRUE(family->Request(1, To::Slot(slot), "nobody").ok());
    family->Settle();
    const Delivery asked = family->Deliver(slot).at(0);
    family->at(slot).Unhandled(asked.sender, asked.request_id);
    family->Settle();
    EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kUnhandled});
    ExpectSettled(family.get(), 1);
  }
}

// What is refused room in the pipe waits, shares packets, and needs no room in a queue.
TEST(Requests, EndUnhandledThoughThePipeWasFull) {
  FamilySettings settings = Settings(2, 4096);
  settings.queued_bytes_per_peer_max = 8192;
  const auto family = SimulatedFamily::WithWorkers(settings);
  constexpr int kRequests = 3000;
  int asked = 0;
  std::vector<Delivery> kept;
  while (kept.size() < kRequests) {
    while (asked < kRequests && family->Request(1, To::Slot(2), "nobody").ok()) ++asked;
    family->Pump(1);
    for (Delivery& one : family->Deliver(2)) kept.push_back(std::move(one));
  }
  while (family->Send(2, To::Slot(1), "fill", std::string(2000, 'x')).ok()) {
    family->EndTurn(2);
  }
  for (const Delivery& one : kept) family->at(2).Unhandled(one.sender, one.request_id);
  family->Pump(2);
  EXPECT_TRUE(family->Outcomes(1).empty());
  const std::uint64_t packets = family->stats(2).packets_written;
  family->Settle();
  EXPECT_LE(family->stats(2).packets_written - packets, 3000 / 500 + 6);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes(kRequests, ResponseOutcome::kUnhandled));
  EXPECT_EQ(family->stats(2).rejects_dropped, 0u);
  ExpectSettled(family.get(), 1);
}

TEST(Requests, OfADeadIncarnationAreNotToldToItsSuccessor) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a").ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "b").ok());
  family->Settle();
  const std::vector<Delivery> asked = family->Deliver(2);
  family->pipe(1).refusals = 1;
  family->at(2).Unhandled(asked[0].sender, asked[0].request_id);
  family->EndTurn(2);
  family->Kill(1);
  family->Bury(1);
  family->Respawn(1);
  // Its successor has asked as well, with the same id.
  std::uint64_t id = 0;
  ASSERT_TRUE(family->Request(1, To::Slot(2), "c", "", kNever, &id).ok());
  EXPECT_EQ(id, asked[0].request_id);
  family->at(2).Unhandled(asked[1].sender, asked[1].request_id);
  EXPECT_EQ(family->Respond(2, asked[1].sender, asked[1].request_id).status().code(),
            absl::StatusCode::kUnavailable);
  family->Settle();
  EXPECT_TRUE(family->Outcomes(1).empty());
  const Delivery last = family->Deliver(2).at(0);
  ASSERT_TRUE(family->Respond(2, last.sender, last.request_id, "to you").ok());
  family->Settle();
  EXPECT_EQ(family->Outcomes(1).at(0).data, "to you");
  EXPECT_EQ(family->stats(1).damaged_records, 0u);
}

// ---- Rejected: the budget for incomplete alerts

TEST(Requests, RejectedByTheReceiverAreToldToTheirCallbackOnly) {
  FamilySettings settings = Settings(2);
  settings.reassembly_bytes_max = 20000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "big", MakeData(40000)).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "small").ok());
  family->Settle();
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kUndelivered});
  EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
  EXPECT_EQ(family->stats(1).alerts_undelivered, 1u);
  EXPECT_EQ(family->Deliver(2).size(), 1u);
  EXPECT_EQ(family->stats(1).damaged_records, 0u);
}

TEST(Requests, RejectedAfterTheirDeadlineAreNotToldAgain) {
  FamilySettings settings = Settings(2);
  settings.reassembly_bytes_max = 20000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "big", MakeData(40000), 10).ok());
  family->EndTurn(1);
  family->at(1).Expire(10);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kDeadline});
  family->Settle();
  EXPECT_TRUE(family->Outcomes(1).empty());
  EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
  EXPECT_EQ(family->stats(1).alerts_undelivered, 1u);
  EXPECT_EQ(family->stats(2).alerts_rejected, 1u);
  ExpectSettled(family.get(), 1);
}

TEST(Requests, WhoseResponseCannotBeHeldEndAndTheResponderIsTold) {
  FamilySettings settings = Settings(2);
  settings.reassembly_bytes_max = 20000;
  const auto family = SimulatedFamily::WithWorkers(settings);
  // The responder has open requests of its own, with the same ids.
  ASSERT_TRUE(family->Request(2, To::Slot(1), "mine").ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "open").ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "expires", "", 10).ok());
  family->Settle();
  const std::vector<Delivery> asked = family->Deliver(2);
  ASSERT_EQ(asked.size(), 2u);
  family->at(1).Expire(10);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kDeadline});
  for (const Delivery& one : asked)
    ASSERT_TRUE(family->Respond(2, one.sender, one.request_id, MakeData(40000)).ok());
  family->Settle();
  const std::vector<Ended> ended = family->Outcomes(1);
  EXPECT_EQ(OutcomesOf(ended), Outcomes{ResponseOutcome::kUndelivered});
  const std::vector<Told> told = Undelivereds(family.get(), 2);
  ASSERT_EQ(told.size(), 2u);
  for (const Told& one : told) {
    EXPECT_TRUE(one.is_response);
    EXPECT_EQ(one.name, "");
    EXPECT_EQ(one.peer, family->PeerIn(1));
    EXPECT_EQ(one.reason, UndeliveredReason::kReceiverFull);
  }
  EXPECT_TRUE(family->Outcomes(2).empty()) << "its own request goes on";
  EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
  EXPECT_EQ(family->stats(2).alerts_undelivered, 2u);
  EXPECT_EQ(family->stats(2).damaged_records, 0u);
  ExpectSettled(family.get(), 1);
}

// ---- Death

// Small ones, one with a bulk, one of which only the beginning has left.
TEST(Requests, InAFailedQueueEndOnce) {
  for (const bool handed_over : {false, true}) {
    const auto family = Workers(2, 8192);
    const std::string large = MakeData(50000);
    const auto ask = [&](std::string_view name, std::uint64_t deadline) {
      return handed_over
                 ? family->Request(1, To::Slot(2), name, Buffer::Copy(large).value(), deadline)
                 : family->Request(1, To::Slot(2), name, large, deadline);
    };
    ASSERT_TRUE(family->Request(1, To::Slot(2), "written").ok());
    ASSERT_TRUE(ask("half", kNever).ok());
    ASSERT_TRUE(family->Request(1, To::Slot(2), "small").ok());
    ASSERT_TRUE(ask("bulk", kNever).ok());
    ASSERT_TRUE(family->Send(1, To::Slot(2), "plain", "x").ok());
    ASSERT_TRUE(family->Request(1, To::Slot(2), "expires", "", 5).ok());
    ASSERT_TRUE(ask("expires", 5).ok());
    family->EndTurn(1);
    family->at(1).Expire(5);
    EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes(2, ResponseOutcome::kDeadline));
    family->Kill(2);
    family->Bury(2);
    family->Settle();
    EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes(4, ResponseOutcome::kPeerDied));
    const std::vector<Told> told = Undelivereds(family.get(), 1);
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].name, "plain");
    EXPECT_EQ(family->stats(1).alerts_undelivered, 6u) << "all but the one that was written";
    ExpectSettled(family.get(), 1);
  }
}

// The queue fails at the next write, before the notice is there.
TEST(Requests, EndOnceWhetherTheQueueOrTheNoticeTellsFirst) {
  for (const bool notice_first : {false, true}) {
    const auto family = Workers(2);
    ASSERT_TRUE(family->Request(1, To::Slot(2), "written").ok());
    ASSERT_TRUE(family->Request(1, To::Slot(2), "queued").ok());
    family->Kill(2);
    family->Bury(2);
    if (notice_first) {
      family->EndTurn(kMasterSlot);
      family->ReadAll(1);
      family->EndTurn(1);
    } else {
      family->EndTurn(1);
      EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kPeerDied});
      ASSERT_TRUE(family->Request(1, To::Slot(1), "another one takes the place").ok());
    }
    family->Settle();
    EXPECT_EQ(OutcomesOf(family->Outcomes(1)),
              Outcomes(notice_first ? 2 : 1, ResponseOutcome::kPeerDied));
    EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
    if (notice_first) ExpectSettled(family.get(), 1);
  }
}

TEST(Requests, AreEndedByAResponseThatWasWrittenBeforeTheDeath) {
  const auto family = Workers(2);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(family->Request(1, To::Slot(2), "a").ok());
  family->EndTurn(1);
  const std::vector<Delivery> asked = family->Deliver(2);
  ASSERT_EQ(asked.size(), 3u);
  ASSERT_TRUE(family->Respond(2, asked[0].sender, asked[0].request_id, "in time").ok());
  family->at(2).Unhandled(asked[1].sender, asked[1].request_id);
  family->EndTurn(2);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)),
            (Outcomes{ResponseOutcome::kResponse, ResponseOutcome::kUnhandled,
                      ResponseOutcome::kPeerDied}));
  EXPECT_EQ(family->stats(1).damaged_packets, 0u);
  ExpectSettled(family.get(), 1);
}

TEST(Requests, ToASlotWhoseForkFailsEnd) {
  const auto family = std::make_unique<SimulatedFamily>(Settings(2));
  family->Respawn(1);
  family->BeginRespawn(2);
  ASSERT_TRUE(family->Step(2));  // published as starting
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a").ok());
  family->FailNextFork();
  while (family->Step(2)) {
  }
  family->Settle();
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kPeerDied});
  ExpectSettled(family.get(), 1);
}

// With no master left, a write finds out.
TEST(Requests, ToAPeerThatNobodyReadsForEnd) {
  const auto family = Workers(3);
  const std::string large = MakeData(50000);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "written").ok());
  ASSERT_TRUE(family->Request(1, To::Slot(3), "another's").ok());
  family->EndTurn(1);
  family->Kill(2);
  family->pipe(2).no_reader = true;
  ASSERT_TRUE(family->Request(1, To::Slot(2), "found dead", large).ok());
  EXPECT_FALSE(family->Request(1, To::Slot(2), "refused").ok());
  family->EndTurn(1);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes(2, ResponseOutcome::kPeerDied));
  EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
  EXPECT_EQ(family->at(1).meter().queued_bytes(), 0u);
  EXPECT_TRUE(family->at(1).AllWritten());
}

TEST(PeerGone, GivesBackAnAlertWhoseDataWasOnlyLent) {
  const auto family = Workers(2);
  const std::string large = MakeData(50000);
  family->Kill(2);
  family->pipe(2).no_reader = true;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "large", large).ok());
  family->EndTurn(1);
  const std::vector<Told> told = Undelivereds(family.get(), 1);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, "large");
  EXPECT_TRUE(told[0].data == large);
  EXPECT_TRUE(family->at(1).AllWritten());
}

TEST(Requests, EndWhenTheirEndpointCloses) {
  const auto family = Workers(2, 8192);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "written").ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "half", MakeData(50000)).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "queued", "", 10).ok());
  family->EndTurn(1);
  family->at(1).FailAll(UndeliveredReason::kClosed);
  family->at(1).Expire(10);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes(3, ResponseOutcome::kClosed));
  EXPECT_TRUE(Undelivereds(family.get(), 1).empty());
  ExpectSettled(family.get(), 1);
  // A response that is under way finds nothing.
  const Delivery asked = family->Deliver(2).at(0);
  ASSERT_TRUE(family->Respond(2, asked.sender, asked.request_id).ok());
  family->ReadAll(1);
  EXPECT_TRUE(family->Outcomes(1).empty());
  EXPECT_EQ(family->stats(1).responses_late, 1u);
}

// What a closing endpoint has taken back has never begun to exist for the receiver, whether all of
// it was still queued or half of it had left.
TEST(Closing, AnAnswerBehindWhatWasTakenBackShowsNoLoss) {
  for (const std::size_t bytes : {std::size_t{10}, std::size_t{30000}}) {
    const auto family = Workers(2, 16384);
    ASSERT_TRUE(family->Request(2, To::Slot(1), "q").ok());
    family->EndTurn(2);
    const std::vector<Delivery> asked = family->Deliver(1);
    ASSERT_EQ(asked.size(), 1u);
    if (bytes < 4096) family->pipe(2).refusals = 1;
    ASSERT_TRUE(family->Send(1, To::Slot(2), "n", MakeData(bytes)).ok());
    ASSERT_GT(family->at(1).queued_bytes(2), 0u);
    family->at(1).FailAll(UndeliveredReason::kClosed);
    EXPECT_EQ(Undelivereds(family.get(), 1).size(), 1u);
    family->at(1).Unhandled(asked[0].sender, asked[0].request_id);
    family->ReadAll(2);  // makes room
    family->at(1).Unblocked(2);
    family->EndTurn(1);
    family->ReadAll(2);
    EXPECT_EQ(OutcomesOf(family->Outcomes(2)), Outcomes(1, ResponseOutcome::kUnhandled));
    EXPECT_EQ(family->stats(2).lost_alerts, 0u);
    EXPECT_EQ(family->stats(2).damaged_packets, 0u);
  }
}

TEST(Requests, InTheLastSlotOfTheLargestFamily) {
  FamilySettings settings = Settings(kWorkersMax, 4096);
  SimulatedFamily family(settings);
  family.Respawn(1);
  family.Respawn(kWorkersMax);
  family.Settle();
  ASSERT_TRUE(family.Request(1, To::Slot(kWorkersMax), "a").ok());
  ASSERT_TRUE(family.Request(1, To::Slot(kWorkersMax), "b").ok());
  family.EndTurn(1);
  const std::vector<Delivery> asked = family.Deliver(kWorkersMax);
  ASSERT_EQ(asked.size(), 2u);
  ASSERT_TRUE(family.Respond(kWorkersMax, asked[0].sender, asked[0].request_id, "x").ok());
  family.ReadAll(1);
  family.Kill(kWorkersMax);
  family.Bury(kWorkersMax);
  family.EndTurn(kMasterSlot);
  family.ReadAll(1);
  EXPECT_EQ(OutcomesOf(family.Outcomes(1)),
            (Outcomes{ResponseOutcome::kResponse, ResponseOutcome::kPeerDied}));
}

// ---- Hostile relatives

TEST(HostileRequests, ForgedResponsesEndNothing) {
  const auto family = Workers(3);
  std::uint64_t id = 0;
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a", "", kNever, &id).ok());
  constexpr std::uint8_t kResponseFlags = kHasRequestId | kIsResponse;
  // From another process of the family.
  family->Inject(1, Forged(*family, 3, 1, AlertRecord(kResponseFlags, id), 1));
  // To no request.
  std::uint64_t sequence = 1;
  for (const std::uint64_t wrong :
       {id + 1, id + (std::uint64_t{1} << 32), ~std::uint64_t{0}, std::uint64_t{1} << 63})
    family->Inject(1, Forged(*family, 2, 1, AlertRecord(kResponseFlags, wrong), sequence++));
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).responses_late, 5u);
  EXPECT_TRUE(family->TakeDamage(1).empty());
  // Of no request, and no response to anything.
  family->Inject(1, Forged(*family, 2, 1, AlertRecord(kResponseFlags, 0), sequence));
  family->Inject(1, Forged(*family, 2, 1, AlertRecord(kHasRequestId, 0), sequence));
  family->Inject(1, Forged(*family, 2, 1, AlertRecord(kIsResponse, 0), sequence));
  family->ReadAll(1);
  EXPECT_EQ(family->TakeDamage(1).size(), 3u);
  EXPECT_TRUE(family->Deliver(1).empty());
  EXPECT_TRUE(family->Outcomes(1).empty());
  // One that is forged well, in parts, is one: its maker could have responded.
  PacketBuilder parts(2, 1, 1, sequence);
  Record first = AlertRecord(kResponseFlags, id);
  first.kind = RecordKind::kFirst;
  first.total_bytes = 9;
  family->Inject(1, parts.Add(first).Last("xyz").Bytes());
  family->ReadAll(1);
  EXPECT_EQ(family->Outcomes(1).at(0).data, "forgedxyz");
  ExpectSettled(family.get(), 1);
}

TEST(HostileRequests, ForgedUnhandledRecordsEndNothing) {
  const auto family = Workers(3);
  std::uint64_t id = 0;
  ASSERT_TRUE(family->Request(1, To::Slot(2), "a", "", kNever, &id).ok());
  std::vector<std::uint64_t> random;
  for (std::uint64_t i = 0; i < 500; ++i) random.push_back(Mix(i));
  random.push_back(0);
  const std::string none = UnhandledIds(random);
  family->Inject(1, Forged(*family, 2, 1, UnhandledRecord(none)));
  const std::string right = UnhandledIds({id, id});
  family->Inject(1, Forged(*family, 3, 1, UnhandledRecord(right)));
  family->ReadAll(1);
  EXPECT_TRUE(family->TakeDamage(1).empty());
  for (const std::size_t bytes : {0u, 7u, 9u, 15u})
    family->Inject(1, Forged(*family, 2, 1, UnhandledRecord(right.substr(0, bytes))));
  family->ReadAll(1);
  EXPECT_EQ(family->TakeDamage(1).size(), 4u);
  EXPECT_TRUE(family->Outcomes(1).empty());
  family->Inject(1, Forged(*family, 2, 1, UnhandledRecord(right)));
  family->ReadAll(1);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kUnhandled});
}

// A reject names one alert. With another's request id it does not end that other's request.
TEST(HostileRequests, ARejectEndsOnlyTheRequestThatItNames) {
  const auto family = Workers(2);
  std::uint64_t ids[2];
  ASSERT_TRUE(family->Request(1, To::Slot(2), "first", "", kNever, &ids[0]).ok());
  ASSERT_TRUE(family->Request(1, To::Slot(2), "second", "", kNever, &ids[1]).ok());
  family->EndTurn(1);
  const auto reject = [&](std::uint64_t alert_id, std::uint64_t request_id) {
    char body[RejectBody::kBytes];
    RejectBody{alert_id, request_id, static_cast<std::uint8_t>(UndeliveredReason::kReceiverFull)}
        .Encode(body);
    Record record;
    record.kind = RecordKind::kReject;
    record.name = "forged";
    record.data = std::string_view(body, sizeof body);
    family->Inject(1, Forged(*family, 2, 1, record));
    family->ReadAll(1);
  };
  reject(1, ids[1]);
  EXPECT_TRUE(family->Outcomes(1).empty());
  reject(2, ids[1]);
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kUndelivered});
  reject(2, ids[1]);
  EXPECT_EQ(family->TakeDamage(1).size(), 1u) << "once each";
  // The first is still there.
  const Delivery asked = family->Deliver(2).at(0);
  ASSERT_TRUE(family->Respond(2, asked.sender, asked.request_id, "x").ok());
  family->Settle();
  EXPECT_EQ(OutcomesOf(family->Outcomes(1)), Outcomes{ResponseOutcome::kResponse});
}

// Requests of one sender that does not read cost the receiver bounded memory.
TEST(HostileRequests, AFloodThatIsNotReadIsBounded) {
  const auto family = Workers(2);
  family->pipe(1).refusals = 1 << 30;
  const Peer peer = family->PeerIn(1);
  for (std::uint64_t id = 1; id <= kRequestsPerPeerMax + 10; ++id)
    family->at(2).Unhandled(peer, id);
  EXPECT_EQ(family->stats(2).rejects_dropped, 10u);
}

}  // namespace
}  // namespace alertpipe::core
