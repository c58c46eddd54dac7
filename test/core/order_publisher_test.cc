// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_publisher.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "../events/ring_memory.h"
#include "contents.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

class Publisher : public testing::Test {
 protected:
  Publisher()
      : memory(64),
        family(SimulatedFamily::WithWorkers(GenerousSettings(4))),
        publisher(memory.ring(), family->PeerIn(1), 4) {}

  // One ordered event for worker `to`.
  void Publish(int to) {
    publisher.Number();
    const SendResult sent = family->Send(1, To::Slot(to), "event");
    ASSERT_TRUE(sent.ok());
    publisher.Sent(to, family->PeerIn(to).generation, sent.alert_id());
  }
  void Claim() {
    while (publisher.Step()) {
    }
  }
  OrderWord WordAt(std::uint64_t place) {
    OrderWord word;
    EXPECT_EQ(memory.ring().Look(place, &word), OrderRing::Place::kTaken);
    return word;
  }
  Endpoint& endpoint() { return family->at(1); }

  RingMemory memory;
  std::unique_ptr<SimulatedFamily> family;
  OrderPublisher publisher;
};

TEST_F(Publisher, ClaimsWhatHasLeftInOnePlace) {
  EXPECT_FALSE(publisher.pending());
  publisher.Close();
  EXPECT_FALSE(publisher.closed());
  EXPECT_FALSE(publisher.Step()) << "there is nothing";
  Publish(2);
  Publish(3);
  Publish(2);
  EXPECT_TRUE(publisher.pending());
  publisher.Close();
  EXPECT_TRUE(publisher.closed());
  EXPECT_FALSE(publisher.HasLeft(endpoint())) << "the third waits for the end of the turn";
  family->EndTurn(1);
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  EXPECT_FALSE(publisher.pending());
  EXPECT_EQ(publisher.claimed(), 3u);
  const OrderWord word = WordAt(0);
  EXPECT_EQ(word.slot, 1u);
  EXPECT_EQ(word.count, 3u);
  EXPECT_EQ(word.last, 3u);
  EXPECT_EQ(memory.ring().tail(), 1u);
}

TEST_F(Publisher, WhatComesAfterABatchWasClosedIsForTheNext) {
  Publish(2);
  publisher.Close();
  family->pipe(2).refusals = 1;
  Publish(2);
  publisher.Close();
  EXPECT_TRUE(publisher.HasLeft(endpoint())) << "of the first batch all has left";
  Claim();
  EXPECT_EQ(publisher.claimed(), 1u);
  EXPECT_TRUE(publisher.pending());
  EXPECT_FALSE(publisher.closed());
  publisher.Close();
  family->Settle();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  EXPECT_EQ(WordAt(1).last, 2u);
  EXPECT_EQ(WordAt(1).count, 1u);
}

TEST_F(Publisher, WhoIsNotWaitedForAnyMoreLagsUntilNothingIsQueued) {
  const std::string large = MakeData(3000);
  while (family->Send(1, To::Slot(2), "fill", large).outcome() != Outcome::kQueued ||
         !endpoint().blocked(2)) {
    family->EndTurn(1);
  }
  Publish(2);
  Publish(3);
  family->EndTurn(1);
  publisher.Close();
  EXPECT_FALSE(publisher.HasLeft(endpoint()));
  publisher.StopWaiting(endpoint());
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  Publish(2);
  publisher.Close();
  EXPECT_TRUE(publisher.HasLeft(endpoint())) << "it lags";
  Claim();
  family->Settle();
  Publish(2);
  family->EndTurn(1);
  publisher.Close();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  family->pipe(2).refusals = 2;
  Publish(2);
  publisher.Close();
  EXPECT_FALSE(publisher.HasLeft(endpoint())) << "it is waited for again";
  family->Settle();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
}

TEST_F(Publisher, NobodyWaitsForTheDead) {
  family->pipe(2).refusals = 1;
  Publish(2);
  publisher.Close();
  EXPECT_FALSE(publisher.HasLeft(endpoint()));
  family->Kill(2);
  family->Bury(2);
  family->Respawn(2);
  family->Settle();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  Publish(2);
  publisher.Close();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
}

TEST_F(Publisher, ManyEventsTakeSeveralPlaces) {
  for (std::uint32_t i = 0; i < OrderWord::kCountMax + 5; ++i) publisher.Number();
  publisher.Close();
  EXPECT_TRUE(publisher.HasLeft(endpoint()));
  Claim();
  EXPECT_EQ(WordAt(0).count, OrderWord::kCountMax);
  EXPECT_EQ(WordAt(1).count, 5u);
  EXPECT_EQ(publisher.claimed(), OrderWord::kCountMax + 5);
}

}  // namespace
}  // namespace alertpipe::core
