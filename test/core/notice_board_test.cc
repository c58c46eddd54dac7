// SPDX-License-Identifier: Apache-2.0
#include "core/notice_board.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/packet.h"

namespace alertpipe::core {
namespace {

constexpr int kReader = 1;

// What a reader would be told now, as "-slot.generation", "+slot.generation/pid" and, of itself,
// "~slot.generation>successor".
std::string Encode(const NoticeBoard& board, int reader, std::size_t room, std::uint64_t* cursor,
                   std::size_t* used = nullptr) {
  std::vector<char> bytes(room);
  const std::size_t length = board.Encode(reader, bytes.data(), room, cursor);
  EXPECT_LE(length, room);
  if (used != nullptr) *used = length;
  RecordReader records(std::string_view(bytes.data(), length));
  std::string text;
  Record record;
  while (records.Next(&record) == RecordReader::Step::kRecord) {
    if (record.kind == RecordKind::kDied) {
      DiedBody body;
      EXPECT_TRUE(body.Decode(record.data));
      text += "-" + std::to_string(body.slot) + "." + std::to_string(body.generation) + " ";
    } else if (record.kind == RecordKind::kDraining) {
      DrainingBody body;
      EXPECT_TRUE(body.Decode(record.data));
      text += "~" + std::to_string(body.slot) + "." + std::to_string(body.generation) + ">" +
              std::to_string(body.successor_slot) + " ";
    } else {
      JoinedBody body;
      EXPECT_EQ(record.kind, RecordKind::kJoined);
      EXPECT_TRUE(body.Decode(record.data));
      text += "+" + std::to_string(body.slot) + "." + std::to_string(body.generation) + "/" +
              std::to_string(body.pid) + " ";
    }
  }
  EXPECT_TRUE(records.done());
  return text;
}

std::string Tell(NoticeBoard* board, int reader, std::size_t room = 4096) {
  std::uint64_t cursor = 0;
  std::string text = Encode(*board, reader, room, &cursor);
  board->Told(reader, cursor);
  return text;
}

TEST(NoticeBoard, NothingIsPendingAtFirst) {
  NoticeBoard board(4);
  EXPECT_FALSE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "");
}

TEST(NoticeBoard, TellsInTheOrderOfEvents) {
  NoticeBoard board(5);
  board.Joined(3, 1, 103);
  board.Died(2, 4);
  board.Joined(2, 5, 105);
  board.Died(3, 1);
  EXPECT_TRUE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "+3.1/103 -2.4 +2.5/105 -3.1 ");
  EXPECT_FALSE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "");
}

TEST(NoticeBoard, EachReaderHasItsOwnPlace) {
  NoticeBoard board(5);
  board.Died(2, 1);
  EXPECT_EQ(Tell(&board, 1), "-2.1 ");
  board.Died(3, 1);
  EXPECT_EQ(Tell(&board, 1), "-3.1 ");
  EXPECT_EQ(Tell(&board, 4), "-2.1 -3.1 ");
}

TEST(NoticeBoard, MergesWhatHappenedToOneSlot) {
  NoticeBoard board(4);
  for (std::uint32_t generation = 1; generation <= 1000; ++generation) {
    board.Joined(2, generation, generation + 10);
    board.Died(2, generation);
  }
  board.Joined(2, 1001, 1011);
  EXPECT_EQ(Tell(&board, kReader), "-2.1000 +2.1001/1011 ");
}

TEST(NoticeBoard, NobodyIsToldOfItself) {
  NoticeBoard board(4);
  board.Died(kReader, 1);
  board.Joined(kReader, 2, 99);
  EXPECT_EQ(Tell(&board, kReader), "");
  EXPECT_FALSE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, 2), "-1.1 +1.2/99 ");
  // Nor with something else to be told.
  board.Died(3, 1);
  board.Died(kReader, 2);
  EXPECT_EQ(Tell(&board, kReader), "-3.1 ");
}

TEST(NoticeBoard, ANewReaderHearsNothingOld) {
  NoticeBoard board(4);
  board.Died(2, 1);
  board.StartReader(kReader);
  EXPECT_FALSE(board.Pending(kReader));
  board.Died(3, 1);
  EXPECT_EQ(Tell(&board, kReader), "-3.1 ");
}

TEST(NoticeBoard, WhatWasEncodedButNotWrittenIsToldAgain) {
  NoticeBoard board(4);
  board.Died(2, 1);
  std::uint64_t cursor = 0;
  EXPECT_EQ(Encode(board, kReader, 4096, &cursor), "-2.1 ");
  EXPECT_TRUE(board.Pending(kReader));
  EXPECT_EQ(Encode(board, kReader, 4096, &cursor), "-2.1 ");
}

// A change between encoding and writing must not be taken for told.
TEST(NoticeBoard, AChangeInBetweenIsNotLost) {
  NoticeBoard board(4);
  board.Died(2, 1);
  std::uint64_t cursor = 0;
  Encode(board, kReader, 4096, &cursor);
  board.Joined(2, 2, 102);
  board.Died(2, 2);
  board.Told(kReader, cursor);
  EXPECT_EQ(Tell(&board, kReader), "+2.2/102 -2.2 ");
}

// ---- Retirements ----

TEST(NoticeBoard, OnlyWhoIsReplacedIsToldOfIt) {
  NoticeBoard board(4);
  board.Draining(kReader, 7, 3);
  EXPECT_TRUE(board.Pending(kReader));
  for (const int other : {0, 2, 3}) {
    EXPECT_FALSE(board.Pending(other)) << "nobody is woken up for nothing";
    EXPECT_EQ(Tell(&board, other), "");
  }
  EXPECT_EQ(Tell(&board, kReader), "~1.7>3 ");
  EXPECT_FALSE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "");
}

TEST(NoticeBoard, TheOwnRetirementComesInItsPlaceAmongTheNewsOfOthers) {
  NoticeBoard board(5);
  board.Joined(3, 1, 103);
  board.Draining(kReader, 2, 3);
  board.Died(4, 9);
  board.Draining(2, 5, 0);
  EXPECT_EQ(Tell(&board, kReader), "+3.1/103 ~1.2>3 -4.9 ");
  EXPECT_EQ(Tell(&board, 2), "+3.1/103 -4.9 ~2.5>0 ");
  EXPECT_EQ(Tell(&board, 3), "-4.9 ");
  EXPECT_FALSE(board.Pending(3));
}

TEST(NoticeBoard, WhoWaitsForOtherNewsMissesNothingThroughARetirement) {
  NoticeBoard board(4);
  board.Died(3, 1);
  board.Draining(2, 1, 3);
  EXPECT_EQ(Tell(&board, kReader), "-3.1 ");
  EXPECT_FALSE(board.Pending(kReader));
  // Nor if it comes while the other is on its way out.
  board.Died(3, 2);
  std::uint64_t cursor = 0;
  EXPECT_EQ(Encode(board, kReader, 4096, &cursor), "-3.2 ");
  board.Draining(kReader, 4, 3);
  board.Died(3, 3);
  board.Told(kReader, cursor);
  EXPECT_EQ(Tell(&board, kReader), "~1.4>3 -3.3 ");
}

TEST(NoticeBoard, ARetirementIsToldUntilItIsWritten) {
  NoticeBoard board(4);
  board.Draining(kReader, 1, 2);
  EXPECT_EQ(Tell(&board, kReader, 1), "") << "no room";
  EXPECT_TRUE(board.Pending(kReader));
  std::uint64_t cursor = 0;
  EXPECT_EQ(Encode(board, kReader, 4096, &cursor), "~1.1>2 ");
  EXPECT_TRUE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "~1.1>2 ");
  EXPECT_FALSE(board.Pending(kReader));
}

TEST(NoticeBoard, TheNextOneThereIsNotToldOfItsPredecessorsRetirement) {
  NoticeBoard board(4);
  board.Draining(kReader, 1, 2);
  board.StartReader(kReader);
  EXPECT_FALSE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "");
  board.Draining(kReader, 2, 3);
  EXPECT_EQ(Tell(&board, kReader), "~1.2>3 ");
}

// For every room: all notices come, in order, once.
TEST(NoticeBoard, EveryRoomIsFilledAndNothingIsLost) {
  const std::size_t died = RecordSize(RecordKind::kDied, 0, 0, DiedBody::kBytes);
  const std::size_t joined = RecordSize(RecordKind::kJoined, 0, 0, JoinedBody::kBytes);
  for (std::size_t room = joined; room <= 6 * (died + joined) + 1; ++room) {
    NoticeBoard board(8);
    for (int slot = 2; slot < 8; ++slot) board.Died(slot, 1);
    for (int slot = 7; slot >= 2; --slot) board.Joined(slot, 2, 9);
    std::string told;
    int packets = 0;
    while (board.Pending(kReader)) {
      const std::string some = Tell(&board, kReader, room);
      ASSERT_FALSE(some.empty()) << room;
      told += some;
      ++packets;
    }
    EXPECT_EQ(told, "-2.1 -3.1 -4.1 -5.1 -6.1 -7.1 +7.2/9 +6.2/9 +5.2/9 +4.2/9 +3.2/9 +2.2/9 ");
    EXPECT_EQ(packets == 1, room >= 6 * (died + joined)) << room;
  }
}

TEST(NoticeBoard, NoRoomTellsNothing) {
  NoticeBoard board(4);
  board.Died(2, 1);
  EXPECT_EQ(Tell(&board, kReader, 1), "");
  EXPECT_TRUE(board.Pending(kReader));
  EXPECT_EQ(Tell(&board, kReader), "-2.1 ");
}

}  // namespace
}  // namespace alertpipe::core
