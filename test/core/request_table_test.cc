// SPDX-License-Identifier: Apache-2.0
#include "core/request_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace alertpipe::core {
namespace {

Peer PeerAt(int slot, std::uint32_t generation = 1) { return {1000 + slot, slot, generation}; }

std::uint64_t AddOpen(RequestTable* table, const Peer& peer, std::uint64_t deadline = kNever,
                      std::uint64_t alert_id = 1) {
  const std::uint64_t id = table->Add(peer, deadline, [](Response&) {});
  table->Open(id, alert_id);
  return id;
}

TEST(RequestTable, FindsWhatIsOpenAndNothingElse) {
  RequestTable table;
  const std::uint64_t id = AddOpen(&table, PeerAt(3, 2), kNever, 77);
  EXPECT_NE(id, 0u);
  EXPECT_TRUE(table.IsOpen(id, PeerAt(3, 2)));
  EXPECT_TRUE(table.IsOpen(id, PeerAt(3, 2), 77));
  EXPECT_FALSE(table.IsOpen(id, PeerAt(3, 2), 78));
  EXPECT_FALSE(table.IsOpen(id, PeerAt(3, 1))) << "another incarnation";
  EXPECT_FALSE(table.IsOpen(id, PeerAt(2, 2))) << "another slot";
  EXPECT_FALSE(table.IsOpen(0, PeerAt(3, 2)));
  EXPECT_FALSE(table.IsOpen(id + 1, PeerAt(3, 2)));
  EXPECT_FALSE(table.IsOpen(~std::uint64_t{0}, PeerAt(3, 2)));
  EXPECT_EQ(table.count(3), 1u);
  EXPECT_EQ(table.count(2), 0u);
  EXPECT_NE(table.Take(id), nullptr);
  EXPECT_FALSE(table.IsOpen(id, PeerAt(3, 2)));
  EXPECT_EQ(table.count(3), 0u);
}

TEST(RequestTable, AnIdIsNotUsedAgain) {
  RequestTable table;
  std::uint64_t before = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t id = AddOpen(&table, PeerAt(1));
    EXPECT_NE(id, before);
    EXPECT_FALSE(table.IsOpen(before, PeerAt(1)));
    table.Take(id);
    before = id;
  }
}

TEST(RequestTable, NothingEndsARequestThatIsNotOpenYet) {
  RequestTable table;
  const std::uint64_t id = table.Add(PeerAt(1), 5, [](Response&) {});
  table.DecideExpired(10);
  table.DecidePeer(1, 9, ResponseOutcome::kPeerDied);
  table.DecideAll(ResponseOutcome::kClosed);
  EXPECT_FALSE(table.Decide(id, ResponseOutcome::kUnhandled));
  EXPECT_FALSE(table.IsOpen(id, PeerAt(1)));
  EXPECT_FALSE(table.has_ended());
  EXPECT_EQ(table.next_deadline(), kNever);
  EXPECT_NE(table.Take(id), nullptr);
  EXPECT_EQ(table.count(1), 0u);
}

TEST(RequestTable, WhatIsDecidedStaysDecided) {
  RequestTable table;
  const std::uint64_t id = AddOpen(&table, PeerAt(1), 100);
  EXPECT_TRUE(table.Decide(id, ResponseOutcome::kUnhandled));
  EXPECT_FALSE(table.IsOpen(id, PeerAt(1))) << "no response is taken any more";
  EXPECT_FALSE(table.Decide(id, ResponseOutcome::kClosed));
  table.DecideExpired(200);
  table.DecideAll(ResponseOutcome::kClosed);
  EndedRequest ended;
  ASSERT_TRUE(table.NextEnded(&ended));
  EXPECT_EQ(ended.outcome, ResponseOutcome::kUnhandled);
  EXPECT_EQ(ended.peer, PeerAt(1));
  EXPECT_NE(ended.callback, nullptr);
  EXPECT_FALSE(table.NextEnded(&ended));
}

TEST(RequestTable, ADeathEndsThoseOfItsIncarnationAndEarlierOnes) {
  RequestTable table;
  AddOpen(&table, PeerAt(1, 1));
  AddOpen(&table, PeerAt(1, 2));
  const std::uint64_t later = AddOpen(&table, PeerAt(1, 3));
  const std::uint64_t other = AddOpen(&table, PeerAt(2, 1));
  table.DecidePeer(1, 2, ResponseOutcome::kPeerDied);
  EXPECT_TRUE(table.IsOpen(later, PeerAt(1, 3)));
  EXPECT_TRUE(table.IsOpen(other, PeerAt(2, 1)));
  EndedRequest ended;
  int count = 0;
  while (table.NextEnded(&ended)) {
    EXPECT_EQ(ended.outcome, ResponseOutcome::kPeerDied);
    ++count;
  }
  EXPECT_EQ(count, 2);
}

// Against a map, with every way to end.
TEST(RequestTable, WithoutADeadlineNotEvenTheEndOfTimeEndsIt) {
  RequestTable table;
  table.DecideExpired(kNever);
  const std::uint64_t id = AddOpen(&table, PeerAt(1));
  table.DecideExpired(kNever);
  EXPECT_FALSE(table.has_ended());
  EXPECT_TRUE(table.IsOpen(id, PeerAt(1)));
}

TEST(RequestTable, KeepsDeadlinesInOrderWhateverHappens) {
  std::mt19937 random(17);
  const auto pick = [&](std::uint64_t below) { return random() % below; };
  RequestTable table;
  std::map<std::uint64_t, std::uint64_t> open;  // id -> deadline
  std::uint64_t now = 0;
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t what = pick(10);
    if (what < 5) {
      const std::uint64_t deadline = pick(8) == 0 ? kNever : now + 1 + pick(500);
      const std::uint64_t id = AddOpen(&table, PeerAt(1), deadline);
      ASSERT_TRUE(open.emplace(id, deadline).second);
    } else if (what < 8 && !open.empty()) {
      auto at = open.begin();
      std::advance(at, static_cast<long>(pick(open.size())));
      if (what == 7) {
        EXPECT_TRUE(table.Decide(at->first, ResponseOutcome::kUnhandled));
      } else {
        EXPECT_NE(table.Take(at->first), nullptr);
      }
      open.erase(at);
    } else {
      now += pick(60);
      table.DecideExpired(now);
      for (auto at = open.begin(); at != open.end();)
        at = at->second <= now ? open.erase(at) : std::next(at);
    }
    std::uint64_t earliest = kNever;
    for (const auto& [id, deadline] : open) earliest = std::min(earliest, deadline);
    ASSERT_EQ(table.next_deadline(), earliest) << "step " << step;
    if (pick(4) == 0) {
      EndedRequest ended;
      while (table.NextEnded(&ended)) ASSERT_NE(ended.callback, nullptr);
      ASSERT_EQ(table.count(1), open.size());
    }
    for (const auto& [id, deadline] : open) {
      if (pick(50) == 0) {
        ASSERT_TRUE(table.IsOpen(id, PeerAt(1)));
      }
    }
  }
}

}  // namespace
}  // namespace alertpipe::core
