// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_book.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ring_memory.h"

namespace alertpipe::core {
namespace {

constexpr std::uint64_t kPlaces = 16;
constexpr int kSlots = 5;

class Book : public testing::Test {
 protected:
  Book() : memory(kPlaces) { Attach(); }

  void Attach() {
    book = std::make_unique<OrderBook>(memory.ring(), PeerIn(4), kSlots, memory.ring().tail());
  }
  static Peer PeerIn(int slot, std::uint32_t generation = 1) {
    return {100 + slot, slot, generation};
  }
  void Hold(const Peer& publisher, std::uint64_t sequence) {
    book->Hold({sequence, 0, publisher, Buffer::Copy("data").value()});
  }
  // A read that begins now and finds the pipe empty.
  void Read() {
    book->HasRead(++reads);
    book->Look(reads);
  }
  // All that comes out: "slot:number@place ", with "late" or "withdrawn" in the place's stead.
  std::string Out() {
    std::string out;
    OrderBook::Item item;
    for (;;) {
      const OrderBook::Release release = book->Next(&item);
      if (release == OrderBook::Release::kNothing) return out;
      out += std::to_string(item.publisher.slot) + ":" + std::to_string(item.sequence);
      if (release == OrderBook::Release::kLate) out += " late ";
      if (release == OrderBook::Release::kWithdrawn) out += " withdrawn ";
      if (release == OrderBook::Release::kEvent) out += "@" + std::to_string(item.place) + " ";
    }
  }
  std::string LookAndOut() {
    book->Look(reads);
    return Out();
  }

  RingMemory memory;
  std::unique_ptr<OrderBook> book;
  ReadCount reads = 0;
};

TEST_F(Book, EventsComeOutPlaceByPlace) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(2), 1);
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 3);
  EXPECT_EQ(book->held(), 4u);
  EXPECT_GT(book->held_bytes(), 4 * (4 + sizeof(OrderBook::Item))) << "and what holds it";
  EXPECT_EQ(LookAndOut(), "") << "they have no places yet";
  EXPECT_FALSE(book->wants_read());
  memory.Claim(2, 1, 1);
  memory.Claim(1, 1, 2, 2);
  EXPECT_EQ(LookAndOut(), "2:1@1 1:1@2 1:2@2 ");
  memory.Claim(1, 1, 3);
  EXPECT_EQ(Out(), "") << "nobody has looked";
  EXPECT_EQ(LookAndOut(), "1:3@3 ");
  EXPECT_EQ(book->held(), 0u);
  EXPECT_EQ(book->held_bytes(), 0u);
}

TEST_F(Book, WhatHasNotArrivedIsPassedOverAfterAReadThatBeganLater) {
  Hold(PeerIn(2), 1);
  memory.Claim(1, 1, 1);
  memory.Claim(2, 1, 1);
  EXPECT_EQ(LookAndOut(), "");
  EXPECT_TRUE(book->wants_read());
  book->HasRead(reads);  // it had begun before the look
  EXPECT_EQ(Out(), "");
  EXPECT_TRUE(book->wants_read());
  Read();
  EXPECT_EQ(Out(), "2:1@2 ");
  EXPECT_FALSE(book->wants_read());
}

TEST_F(Book, AReadProvesWhatWasSeenBeforeItBegan) {
  memory.Claim(1, 1, 1);
  book->Look(reads);
  memory.Claim(1, 1, 2);
  book->Look(reads);  // the first look still waits for its read
  Hold(PeerIn(2), 1);
  memory.Claim(2, 1, 1);
  book->HasRead(++reads);
  EXPECT_EQ(Out(), "");
  EXPECT_TRUE(book->wants_read()) << "place 2 was seen later";
  book->Look(reads);
  book->HasRead(++reads);
  EXPECT_EQ(Out(), "2:1@3 ");
}

TEST_F(Book, WhatArrivesWhileItIsWaitedForIsInTime) {
  memory.Claim(1, 1, 2, 2);
  Hold(PeerIn(1), 1);
  EXPECT_EQ(LookAndOut(), "");
  Hold(PeerIn(1), 2);
  Read();
  EXPECT_EQ(Out(), "1:1@1 1:2@1 ");
}

TEST_F(Book, OnesOwnEventsAreNotWaitedFor) {
  memory.Claim(4, 1, 1);
  Hold(PeerIn(4), 2);
  memory.Claim(4, 1, 2);
  EXPECT_EQ(LookAndOut(), "4:2@2 ");
  EXPECT_FALSE(book->wants_read());
}

TEST_F(Book, WhatComesAfterItsPlaceIsLate) {
  memory.Claim(1, 1, 2, 2);
  book->Look(reads);
  Read();
  EXPECT_EQ(Out(), "");
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 3);
  Read();
  EXPECT_EQ(Out(), "") << "they may as well stand further on";
  memory.Claim(1, 1, 3);
  EXPECT_EQ(LookAndOut(), "1:1 late 1:2 late 1:3@2 ");
}

TEST_F(Book, WhatItsPublisherSaysToHavePlacesIsLateIfNoneIsLeft) {
  book->Claimed(PeerIn(1), 3);  // nothing of it is held
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 3);
  memory.Claim(2, 1, 1);
  book->Claimed(PeerIn(1), 2);
  EXPECT_EQ(LookAndOut(), "") << "a place is still to be looked at";
  EXPECT_TRUE(book->wants_read());
  Read();
  EXPECT_EQ(Out(), "1:1 late 1:2 late ");
  memory.Claim(1, 1, 3);
  EXPECT_EQ(LookAndOut(), "1:3@2 ");
}

TEST_F(Book, AllThatIsClaimedMayHaveComeOutMeanwhile) {
  Hold(PeerIn(1), 1);
  memory.Claim(1, 1, 1);
  book->Claimed(PeerIn(1), 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 ");
  book->Claimed(PeerIn(1), 1);
  EXPECT_EQ(LookAndOut(), "");
}

TEST_F(Book, ClaimsOfSeveralAreLookedAfter) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(2), 1);
  Hold(PeerIn(3), 1);
  memory.Claim(3, 1, 1);
  memory.Claim(4, 1, 1);
  book->Claimed(PeerIn(1), 1);
  book->Claimed(PeerIn(2), 1);
  book->Claimed(PeerIn(1), 1);
  book->Look(reads);
  EXPECT_EQ(Out(), "3:1@1 1:1 late 2:1 late ");
}

TEST_F(Book, WhatIsNotOrderedWaitsBehindWhatIs) {
  EXPECT_FALSE(book->Holds(PeerIn(1)));
  Hold(PeerIn(1), 1);
  EXPECT_TRUE(book->Holds(PeerIn(1)));
  EXPECT_FALSE(book->Holds(PeerIn(2)));
  EXPECT_FALSE(book->Holds(PeerIn(1, 2)));
  Hold(PeerIn(1), 0);
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 0);
  EXPECT_EQ(LookAndOut(), "");
  memory.Claim(1, 1, 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 1:0@0 ");
  memory.Claim(1, 1, 2);
  EXPECT_EQ(LookAndOut(), "1:2@2 1:0@0 ");
  EXPECT_FALSE(book->Holds(PeerIn(1)));
}

TEST_F(Book, WhatADeadPublisherHadNoPlaceForIsWithdrawn) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 0);
  memory.Claim(1, 1, 1);
  book->PublisherDied(1, 1);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 1:2 withdrawn 1:0@0 ");
  EXPECT_EQ(book->held(), 0u);
  book->PublisherDied(2, 1);  // nothing is known of it
}

// What others have got is a gap here and not withdrawn, also when the place of a successor was
// passed since.
TEST_F(Book, WhatADeadPublisherHadAPlaceForIsAGapThoughItsSuccessorsHavePlaces) {
  for (std::uint32_t generation = 1; generation <= 4; ++generation) memory.Claim(1, generation, 1);
  LookAndOut();
  Read();
  EXPECT_EQ(Out(), "");
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:1 late 1:2 withdrawn ");
}

// Of who had its last place long ago it is not known any more: a gap is told, in case. One that
// came later than all that had places had none.
TEST_F(Book, OfTheLongDeadItIsNotKnownWhetherTheyHadAPlace) {
  for (std::uint32_t generation = 1; generation <= 5; ++generation) memory.Claim(1, generation, 1);
  LookAndOut();
  Read();
  EXPECT_EQ(Out(), "");
  Hold(PeerIn(1, 1), 2);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:2 late ");
  Hold(PeerIn(1, 6), 1);
  book->PublisherDied(1, 6);
  EXPECT_EQ(LookAndOut(), "1:1 withdrawn ");
}

TEST_F(Book, KnowsWhoseWordOrDeathItWaitsFor) {
  Hold(PeerIn(1), 1);
  EXPECT_TRUE(book->HoldsFrom(1));
  EXPECT_FALSE(book->HoldsFrom(2));
  book->PublisherDied(1, 1);
  EXPECT_FALSE(book->HoldsFrom(1)) << "what is held of it comes out by itself";
  EXPECT_EQ(LookAndOut(), "1:1 withdrawn ");
  Hold(PeerIn(2), 1);
  memory.Claim(2, 1, 1);
  EXPECT_TRUE(book->HoldsFrom(2));
  EXPECT_EQ(LookAndOut(), "2:1@1 ");
  EXPECT_FALSE(book->HoldsFrom(2));
}

// It took a place, and was killed before it could move the tail.
TEST_F(Book, APlaceThatADeadPublisherHasTakenCounts) {
  Hold(PeerIn(1), 1);
  OrderRing ring = memory.ring();
  OrderRing::Claim claim;
  claim.word = {0, 1, 1, 1, 1};
  while (claim.step != OrderRing::Claim::Step::kMove) ring.Step(&claim);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 ");
}

TEST_F(Book, DeathsEndWhatTheyAreAboutOnly) {
  Hold(PeerIn(1, 2), 1);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "");
  memory.Claim(1, 2, 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 ");
  book->PublisherDied(1, 2);
  EXPECT_EQ(LookAndOut(), "");
}

TEST_F(Book, ASuccessorShowsThatItsPredecessorIsDead) {
  Hold(PeerIn(1, 1), 1);
  Hold(PeerIn(1, 2), 1);
  memory.Claim(1, 2, 1);
  EXPECT_EQ(LookAndOut(), "1:1 withdrawn 1:1@1 ");
}

TEST_F(Book, TheDeadHaveTheirPlacesBeforeTheirSuccessors) {
  Hold(PeerIn(1, 1), 1);
  memory.Claim(1, 1, 1);
  Hold(PeerIn(1, 2), 1);
  memory.Claim(1, 2, 1);
  EXPECT_EQ(LookAndOut(), "1:1@1 1:1@2 ");
}

TEST_F(Book, ADeathIsNotedWhileAPlaceIsHandedOut) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  memory.Claim(1, 1, 2, 2);
  book->Look(reads);
  OrderBook::Item item;
  ASSERT_EQ(book->Next(&item), OrderBook::Release::kEvent);
  ASSERT_EQ(book->Next(&item), OrderBook::Release::kEvent);
  book->PublisherDied(1, 1);  // the place is still open
  EXPECT_EQ(Out(), "");
}

TEST_F(Book, StartsWhereTheRingWas) {
  memory.Claim(1, 1, 1);
  Attach();
  Hold(PeerIn(1), 2);
  memory.Claim(1, 1, 2);
  EXPECT_EQ(LookAndOut(), "1:2@2 ");
}

TEST_F(Book, WhoFallsBehindTheRingLosesWhatItHolds) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 0);
  Hold(PeerIn(2), 1);
  book->Hold({1, 0, PeerIn(3), Buffer()});
  memory.Claim(3, 1, 1);
  EXPECT_EQ(LookAndOut(), "3:1@1 ") << "3 is known, and nothing of it held";
  for (std::uint32_t i = 1; i <= kPlaces + 5; ++i) memory.Claim(4, 1, i);
  EXPECT_EQ(LookAndOut(), "1:1 late 1:0@0 2:1 late ");
  EXPECT_EQ(book->overruns(), 1u);
  Hold(PeerIn(1), 2);
  EXPECT_EQ(Out(), "1:2 late ") << "it may have been in the pipe for long";
  book->HasRead(reads);
  Hold(PeerIn(1), 0);
  EXPECT_EQ(Out(), "1:0@0 ") << "no read has begun since";
  Read();
  Hold(PeerIn(1), 3);
  memory.Claim(1, 1, 3);
  EXPECT_EQ(LookAndOut(), "1:3@" + std::to_string(kPlaces + 7) + " ");
}

// After 2^28 events the numbers in the ring are the same again.
TEST_F(Book, WhatIsFromBeforeAnOverrunIsNeverTakenForSomethingNew) {
  Hold(PeerIn(1), 1);
  for (std::uint32_t i = 1; i <= kPlaces; ++i) memory.Claim(1, 1, i + 1);
  book->Look(reads);
  memory.Claim(1, 1, 1 + (1U << 28));
  EXPECT_EQ(Out(), "1:1 late ");
}

// Nothing of others may have come for long, and nobody has looked.
TEST_F(Book, OnesOwnEventsAreNotLostByAnOverrun) {
  for (std::uint32_t i = 1; i <= kPlaces + 5; ++i) memory.Claim(1, 1, i);
  Hold(PeerIn(4), 1);
  EXPECT_EQ(book->overruns(), 1u);
  EXPECT_TRUE(book->wants_read()) << "what is in the pipe cannot be put into any order";
  Hold(PeerIn(4), 2);
  memory.Claim(4, 1, 2, 2);
  const std::string place = std::to_string(kPlaces + 6);
  EXPECT_EQ(LookAndOut(), "4:1@" + place + " 4:2@" + place + " ");
  Read();
  EXPECT_FALSE(book->wants_read());
}

// Others have it: here it is missing.
TEST_F(Book, WhatADeadPublisherHadAPlaceForIsNotWithdrawn) {
  memory.Claim(1, 1, 2, 2);
  book->Look(reads);
  Read();
  EXPECT_EQ(Out(), "");
  Hold(PeerIn(1), 2);
  Hold(PeerIn(1), 3);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:2 late 1:3 withdrawn ");
  Hold(PeerIn(1, 2), 1);
  book->PublisherDied(1, 2);
  EXPECT_EQ(LookAndOut(), "1:1 withdrawn ") << "its predecessor's places are not its own";
}

TEST_F(Book, AfterAnOverrunNobodyKnowsWhatTheDeadHadPlacesFor) {
  for (std::uint32_t i = 1; i <= kPlaces + 5; ++i) memory.Claim(2, 1, i);
  book->Look(reads);
  EXPECT_EQ(Out(), "");
  Read();
  Hold(PeerIn(1), 7);
  book->PublisherDied(1, 1);
  EXPECT_EQ(LookAndOut(), "1:7 late ");
}

// A relative gone wild.
TEST_F(Book, ANumberFromTheFutureHoldsNobodyUp) {
  Hold(PeerIn(1), 1U << 26);
  Hold(PeerIn(1), 1);
  Hold(PeerIn(1), 2);
  memory.Claim(1, 1, 1);
  EXPECT_EQ(LookAndOut(), "1:67108864 late 1:1@1 ");
  Hold(PeerIn(1), 3);
  memory.Claim(1, 1, 3, 2);
  book->Look(reads);
  OrderBook::Item item;
  ASSERT_EQ(book->Next(&item), OrderBook::Release::kEvent);
  Hold(PeerIn(1), 3);  // while its place is handed out
  EXPECT_EQ(Out(), "1:3 late ");
}

TEST_F(Book, ATailFromTheFutureHoldsNobodyUp) {
  Hold(PeerIn(1), 1);
  Hold(PeerIn(2), 1);
  memory.memory().tail = std::uint64_t{1} << 40;
  book->Claimed(PeerIn(1), 1);
  book->PublisherDied(2, 1);
  memory.memory().tail = 0;
  EXPECT_EQ(LookAndOut(), "1:1 late 2:1 withdrawn ");
}

TEST_F(Book, ARingThatMakesNoSenseCostsOrderOnly) {
  Hold(PeerIn(1), 1);
  memory.Claim(4000, 1, 1);  // there is no such slot
  EXPECT_EQ(LookAndOut(), "");
  EXPECT_TRUE(book->wants_read());
  Read();
  EXPECT_EQ(Out(), "");
  memory.Claim(1, 9, 1);  // nor this incarnation
  book->Look(reads);
  Read();
  EXPECT_EQ(Out(), "");
  memory.memory().tail = 0;
  EXPECT_EQ(LookAndOut(), "1:1 late ") << "the tail went back";
}

TEST_F(Book, ATailThatGoesBackUnseenIsTheEndForNow) {
  memory.memory().tail = 3;
  book->Look(reads);
  memory.memory().tail = 0;
  EXPECT_EQ(Out(), "");
  EXPECT_FALSE(book->wants_read());
}

}  // namespace
}  // namespace alertpipe::core
