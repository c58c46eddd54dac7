// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/barrier_table.h"
#include "core/request_table.h"

namespace alertpipe::core {
namespace {

Peer Worker(int slot, std::uint32_t generation = 1) { return {100 + slot, slot, generation}; }

// What was told, as "number:code missing/died".
class Fixture : public ::testing::Test {
 protected:
  std::uint64_t Add(int number, const std::vector<Peer>& peers, std::uint64_t deadline = kNever) {
    return table_.Add(peers, deadline, [this, number](const BarrierReport& report) {
      std::string line = std::to_string(number) + ":" + std::to_string(report.status.raw_code());
      for (const Peer& peer : report.missing) line += " missing " + std::to_string(peer.slot);
      for (const Peer& peer : report.died) line += " died " + std::to_string(peer.slot);
      told_.push_back(line);
    });
  }
  std::vector<std::string> Told() {
    EndedBarrier ended;
    while (table_.NextEnded(&ended)) ended.callback(ended.report);
    return std::exchange(told_, {});
  }
  using Lines = std::vector<std::string>;

  BarrierTable table_{5};
  Lines told_;
};

using BarrierTableTest = Fixture;

TEST_F(BarrierTableTest, EndsWhenTheLastHasAcknowledged) {
  const std::uint64_t id = Add(7, {Worker(1), Worker(2)});
  EXPECT_EQ(id, 1u);
  EXPECT_TRUE(table_.IsOpen(id));
  EXPECT_TRUE(table_.WaitsFor(1));
  table_.Acknowledged(Worker(1), id);
  EXPECT_FALSE(table_.WaitsFor(1));
  EXPECT_TRUE(table_.WaitsFor(2));
  EXPECT_EQ(Told(), Lines{});
  table_.Acknowledged(Worker(2), id);
  EXPECT_TRUE(table_.has_ended());
  EXPECT_FALSE(table_.IsOpen(id));
  EXPECT_EQ(Told(), Lines{"7:0"});
  EXPECT_EQ(table_.open(), 0u);
  EXPECT_FALSE(table_.has_ended());
}

TEST_F(BarrierTableTest, ForNobodyEndsAtOnce) {
  Add(1, {});
  EXPECT_EQ(Told(), Lines{"1:0"});
}

TEST_F(BarrierTableTest, AnAcknowledgementCoversAllBefore) {
  Add(1, {Worker(1)});
  Add(2, {Worker(1)});
  const std::uint64_t third = Add(3, {Worker(1)});
  table_.Acknowledged(Worker(1), third - 1);
  EXPECT_EQ(Told(), (Lines{"1:0", "2:0"}));
  table_.Acknowledged(Worker(1), third);
  EXPECT_EQ(Told(), Lines{"3:0"});
}

TEST_F(BarrierTableTest, OnlyTheIncarnationThatWasAskedCounts) {
  const std::uint64_t id = Add(1, {Worker(1, 2)});
  table_.Acknowledged(Worker(1, 1), id);
  table_.Acknowledged(Worker(1, 3), id);
  table_.Acknowledged(Worker(2, 2), id);
  table_.PeerDied(1, 1);
  EXPECT_EQ(Told(), Lines{});
  table_.Acknowledged(Worker(1, 2), id);
  table_.Acknowledged(Worker(1, 2), id);
  EXPECT_EQ(Told(), Lines{"1:0"});
}

TEST_F(BarrierTableTest, TheDeadAreNotWaitedFor) {
  const std::uint64_t id = Add(1, {Worker(1), Worker(2), Worker(3)});
  table_.PeerDied(3, 9);
  table_.PeerDied(3, 9);
  table_.Acknowledged(Worker(1), id);
  table_.PeerDied(1, 1);
  EXPECT_EQ(Told(), Lines{});
  table_.PeerDied(2, 1);
  EXPECT_EQ(Told(), Lines{"1:0 died 3 died 2"});
}

TEST_F(BarrierTableTest, DeadlineTellsWhoIsMissing) {
  Add(1, {Worker(1), Worker(2), Worker(3)}, 100);
  Add(2, {Worker(1)}, 50);
  EXPECT_EQ(table_.next_deadline(), 50u);
  table_.Acknowledged(Worker(2), 1);
  table_.PeerDied(3, 1);
  table_.DecideExpired(49);
  EXPECT_EQ(Told(), Lines{});
  table_.DecideExpired(50);
  EXPECT_EQ(Told(), Lines{"2:4 missing 1"});
  EXPECT_EQ(table_.next_deadline(), 100u);
  table_.DecideExpired(1000);
  EXPECT_EQ(Told(), Lines{"1:4 missing 1 died 3"});
  EXPECT_EQ(table_.next_deadline(), kNever);
  table_.Acknowledged(Worker(1), 2);
  EXPECT_EQ(Told(), Lines{});
}

TEST_F(BarrierTableTest, ClosingCancelsAll) {
  Add(1, {Worker(1)});
  Add(2, {Worker(2)}, 5);
  table_.DecideAll();
  EXPECT_EQ(Told(), (Lines{"1:1 missing 1", "2:1 missing 2"}));
  EXPECT_EQ(table_.open(), 0u);
}

TEST_F(BarrierTableTest, OneWithoutCallbackEndsUntold) {
  const std::uint64_t id = table_.Add({Worker(1)}, kNever, nullptr);
  EXPECT_TRUE(table_.IsOpen(id));
  table_.Acknowledged(Worker(1), id);
  EXPECT_FALSE(table_.IsOpen(id));
  EXPECT_FALSE(table_.has_ended());
}

}  // namespace
}  // namespace alertpipe::core
