// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_ring.h"

#include <gtest/gtest.h>

#include "ring_memory.h"

namespace alertpipe::core {
namespace {

using Step = OrderRing::Claim::Step;

OrderRing::Claim ClaimOf(std::uint32_t slot, std::uint32_t last) {
  OrderRing::Claim claim;
  claim.word.slot = slot;
  claim.word.generation = 1;
  claim.word.last = last;
  claim.word.count = 1;
  return claim;
}

// Takes steps until the one after them would be `step`.
void StepUntil(OrderRing ring, OrderRing::Claim* claim, Step step) {
  while (claim->step != step) ASSERT_TRUE(ring.Step(claim));
}

TEST(OrderWord, KeepsTheLowBitsOfEachField) {
  OrderWord word;
  word.lap = 5;
  word.slot = 4096;
  word.generation = 0x1a5;
  word.count = OrderWord::kCountMax;
  word.last = 0xf2345678;
  const OrderWord read = OrderWord::Unpack(word.Pack());
  EXPECT_EQ(read.lap, 5u);
  EXPECT_EQ(read.slot, 4096u);
  EXPECT_EQ(read.generation, 0xa5u);
  EXPECT_EQ(read.count, 4095u);
  EXPECT_EQ(read.last, 0x2345678u);
  EXPECT_TRUE(read.IsOf(0x1a5));
  EXPECT_TRUE(read.IsOf(0xa5));
  EXPECT_FALSE(read.IsOf(0xa6));
}

TEST(OrderWord, KnowsHowFarAnEventLiesBehind) {
  OrderWord word;
  word.last = 5;
  EXPECT_EQ(word.Behind(5), 0);
  EXPECT_EQ(word.Behind(2), 3);
  EXPECT_EQ(word.Behind(7), -2);
  // Numbers go on where the bits of the word end.
  EXPECT_EQ(word.Behind((std::uint64_t{1} << 28) + 5), 0);
  EXPECT_EQ(word.Behind((std::uint64_t{1} << 28) - 1), 6);
  EXPECT_EQ(word.Behind((std::uint64_t{7} << 28) + 7), -2);
}

TEST(OrderRing, PlacesAreTakenOneAfterTheOther) {
  RingMemory memory(16);
  OrderWord word;
  EXPECT_EQ(memory.ring().Look(0, &word), OrderRing::Place::kFree);
  for (std::uint64_t place = 0; place < 100; ++place) {
    ASSERT_EQ(memory.ring().tail(), place);
    ASSERT_EQ(memory.Claim(3, 2, static_cast<std::uint32_t>(place + 1)), place);
    ASSERT_EQ(memory.ring().Look(place, &word), OrderRing::Place::kTaken);
    EXPECT_EQ(word.slot, 3u);
    EXPECT_EQ(word.last, place + 1);
    if (place >= 16) {
      EXPECT_EQ(memory.ring().Look(place - 16, &word), OrderRing::Place::kOverrun);
    }
    if (place >= 15) {
      EXPECT_EQ(memory.ring().Look(place - 14, &word), OrderRing::Place::kTaken);
    }
  }
}

TEST(OrderRing, WhoeverIsSlowerTakesTheNextPlace) {
  RingMemory memory(16);
  OrderRing ring = memory.ring();
  OrderRing::Claim slow = ClaimOf(1, 7);
  StepUntil(ring, &slow, Step::kSwap);
  EXPECT_EQ(memory.Claim(2, 1, 1), 0u);
  while (ring.Step(&slow)) {
  }
  EXPECT_EQ(slow.place, 1u);
  OrderWord word;
  ASSERT_EQ(ring.Look(1, &word), OrderRing::Place::kTaken);
  EXPECT_EQ(word.last, 7u);
}

// One that died, or is stopped, between taking a place and moving the tail.
TEST(OrderRing, NobodyWaitsForTheOneWhoHasTakenAPlace) {
  RingMemory memory(16);
  OrderRing ring = memory.ring();
  OrderRing::Claim stopped = ClaimOf(1, 7);
  StepUntil(ring, &stopped, Step::kMove);
  EXPECT_EQ(ring.tail(), 0u);
  EXPECT_EQ(memory.Claim(2, 1, 1), 1u);
  EXPECT_EQ(ring.tail(), 2u);
  EXPECT_FALSE(ring.Step(&stopped));
  EXPECT_EQ(stopped.step, Step::kDone);
  EXPECT_FALSE(ring.Step(&stopped)) << "done is done";
  EXPECT_EQ(stopped.place, 0u);
  EXPECT_EQ(ring.tail(), 2u);
}

TEST(OrderRing, SettleMovesTheTailBehindWhatIsTaken) {
  RingMemory memory(16);
  OrderRing ring = memory.ring();
  EXPECT_EQ(ring.Settle(), 0u);
  OrderRing::Claim stopped = ClaimOf(1, 7);
  StepUntil(ring, &stopped, Step::kMove);
  EXPECT_EQ(ring.Settle(), 1u);
  EXPECT_EQ(ring.Settle(), 1u);
}

// Stopped after it has read the tail, for any number of laps: the place that it looks at then is
// another one.
TEST(OrderRing, AnOldTailIsNotBelieved) {
  for (std::uint32_t places = 1; places <= 16 * 9; ++places) {
    RingMemory memory(16);
    OrderRing ring = memory.ring();
    OrderRing::Claim stopped = ClaimOf(1, 7);
    StepUntil(ring, &stopped, Step::kLook);
    for (std::uint32_t i = 1; i <= places; ++i) memory.Claim(2, 1, i);
    while (ring.Step(&stopped)) {
    }
    ASSERT_EQ(stopped.place, places);
    ASSERT_EQ(ring.tail(), places + 1);
    OrderWord word;
    ASSERT_EQ(ring.Look(places, &word), OrderRing::Place::kTaken);
    EXPECT_EQ(word.slot, 1u);
  }
}

TEST(OrderRing, KnowsWhatHasBeenOverwritten) {
  RingMemory memory(16);
  EXPECT_FALSE(memory.ring().HasPassed(0));
  for (std::uint32_t i = 1; i <= 16; ++i) memory.Claim(1, 1, i);
  EXPECT_TRUE(memory.ring().HasPassed(0));
  EXPECT_FALSE(memory.ring().HasPassed(1));
  EXPECT_TRUE(memory.ring().HasPassed(17)) << "not there yet: the tail went back";
}

// A relative gone wild.
TEST(OrderRing, ATailThatMakesNoSenseIsAnOverrun) {
  RingMemory memory(16);
  OrderWord word;
  memory.memory().tail = ~std::uint64_t{0};
  EXPECT_EQ(memory.ring().Look(3, &word), OrderRing::Place::kOverrun);
  memory.memory().tail = 2;
  EXPECT_EQ(memory.ring().Look(3, &word), OrderRing::Place::kOverrun);
  EXPECT_EQ(memory.ring().Look(1, &word), OrderRing::Place::kOverrun) << "passed and never taken";
}

}  // namespace
}  // namespace alertpipe::core
