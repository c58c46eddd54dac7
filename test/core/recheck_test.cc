// SPDX-License-Identifier: Apache-2.0
//
// Garbage takes notices of the master with it. Nobody waits for ever because of that.
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

const std::string kGarbage(100, '\xff');

std::unique_ptr<SimulatedFamily> Workers(std::uint32_t count) {
  return SimulatedFamily::WithWorkers(GenerousSettings(count + 1));
}

std::vector<Event::Kind> Kinds(SimulatedFamily* family, int slot) {
  std::vector<Event::Kind> kinds;
  for (const Told& told : family->Events(slot)) kinds.push_back(told.kind);
  return kinds;
}

using KindsOf = std::vector<Event::Kind>;

TEST(Recheck, ALostDeathNoticeIsMadeUpFor) {
  const auto family = Workers(3);
  ASSERT_TRUE(family->Request(1, To::Slot(2), "question").ok());
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  family->Pump(1);
  family->Settle();
  family->Inject(1, PacketBuilder(2, 1, 1, 1).First("half", 9000, MakeData(3000)).Bytes());
  family->ReadAll(1);
  EXPECT_EQ(family->at(1).meter().reassembly_bytes(), 3000u);
  family->Kill(2);
  family->Inject(1, kGarbage);
  family->Bury(2);
  family->Pump(kMasterSlot);
  family->ReadAll(1);
  EXPECT_EQ(family->stats(1).damaged_framing, 1u);
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{Event::Kind::kLeft});
  const std::vector<Ended> ended = family->Outcomes(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].outcome, ResponseOutcome::kPeerDied);
  EXPECT_EQ(family->at(1).meter().reassembly_bytes(), 0u);
  EXPECT_FALSE(family->at(1).wants_read());
}

// What the dead have written before is handed out first, even if the look at the roster showed the
// death before its notice came.
TEST(Recheck, NothingIsDecidedBeforeThePipeIsEmpty) {
  const auto family = Workers(2);
  family->Inject(1, kGarbage);
  ASSERT_TRUE(family->Read(1));
  ASSERT_TRUE(family->at(1).wants_read());
  ASSERT_TRUE(family->Send(2, To::Slot(1), "last words").ok());
  family->Kill(2);
  family->Bury(2);
  EXPECT_EQ(family->Deliver(1).size(), 1u);
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{}) << "the notice has not been written yet";
  family->Settle();
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{Event::Kind::kLeft});
  EXPECT_EQ(family->stats(1).damaged_packets, 0u);
}

TEST(Recheck, ADeathThatTheLookShowsWaitsForWhatIsStillInThePipe) {
  const auto family = Workers(2);
  family->Inject(1, kGarbage);
  ASSERT_TRUE(family->Send(2, To::Slot(1), "goes with it").ok());
  family->Kill(2);
  family->Bury(2);  // in the roster; not noticed
  ASSERT_TRUE(family->Read(1));
  ASSERT_TRUE(family->at(1).wants_read());
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{});
  EXPECT_FALSE(family->Read(1));
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{Event::Kind::kLeft});
  // The notice that comes all the same tells nothing new.
  family->Settle();
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{});
}

TEST(Recheck, ALostReplacementIsMadeUpFor) {
  const auto family = Workers(2);
  family->Inject(1, kGarbage);
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Pump(kMasterSlot);
  family->ReadAll(1);
  EXPECT_EQ(Kinds(family.get(), 1), (KindsOf{Event::Kind::kLeft, Event::Kind::kJoined}));
}

// A look that is out of date when it is acted upon does not undo what came since.
TEST(Recheck, ALateLookDoesNotBringBackTheDead) {
  const auto family = Workers(2);
  family->Inject(1, kGarbage);
  ASSERT_TRUE(family->Read(1));
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Pump(kMasterSlot);
  family->ReadAll(1);
  EXPECT_EQ(Kinds(family.get(), 1), (KindsOf{Event::Kind::kLeft, Event::Kind::kJoined}));
  std::vector<Peer> live;
  family->at(1).Live(&live);
  EXPECT_EQ(live.size(), 2u);
}

TEST(Recheck, AWorkerHearsThatItIsReplacedAllTheSame) {
  const auto family = Workers(3);
  family->Inject(1, kGarbage);
  family->Retire(1, 3);
  family->Pump(kMasterSlot);
  family->ReadAll(1);
  EXPECT_TRUE(family->at(1).told_to_drain());
  EXPECT_EQ(family->at(1).successor(), 3);
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{Event::Kind::kDraining});
}

// Without a master the roster stays as it was, also about those that have been found dead since.
TEST(Recheck, NobodyJoinsAgainWhoWasFoundDead) {
  const auto family = Workers(2);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "n").ok());
  family->at(1).PeerGone(2);
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{Event::Kind::kLeft});
  family->Inject(1, kGarbage);
  family->ReadAll(1);
  family->ReadAll(1);
  EXPECT_FALSE(family->at(1).wants_read());
  EXPECT_EQ(Kinds(family.get(), 1), KindsOf{});
}

}  // namespace
}  // namespace alertpipe::core
