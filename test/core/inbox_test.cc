// SPDX-License-Identifier: Apache-2.0
//
// What honest senders write arrives, however it is read. Hostile bytes are in
// hostile_inbox_test.cc.
#include "core/inbox.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "contents.h"
#include "inbox_bench.h"
#include "memory_faults.h"
#include "outbox_bench.h"

namespace alertpipe::core {
namespace {

// An alert that was cut by hand: parts of these sizes.
std::string Cut(int slot, std::uint64_t sequence, const std::string& name, const std::string& data,
                const std::vector<std::size_t>& parts) {
  std::string stream =
      From(slot, sequence).First(name, data.size(), data.substr(0, parts[0])).Bytes();
  std::size_t at = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::string part = data.substr(at, parts[i]);
    at += parts[i];
    const RecordKind kind = i + 1 == parts.size() ? RecordKind::kLast : RecordKind::kMiddle;
    stream += From(slot, sequence + 1).Part(kind, part).Bytes();
  }
  EXPECT_EQ(at, data.size());
  return stream;
}

TEST(Reading, WholeAlertsInOrder) {
  InboxBench bench;
  bench.Feed(From(2).Whole("a", "1").Whole("", "").Bytes() + From(3).Whole("b", "2").Bytes() +
             From(2, 3).Whole("c", "3").Bytes());
  const std::vector<Seen> seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].name + seen[1].name + seen[2].name + seen[3].name, "abc");
  EXPECT_EQ(seen[0].sender.slot, 2);
  EXPECT_EQ(seen[0].sender.generation, kSenderGeneration);
  EXPECT_EQ(seen[0].sender.pid, 1002);
  EXPECT_EQ(seen[2].sender.slot, 3);
  EXPECT_EQ(bench.stats().packets_read, 3u);
  bench.ExpectNoDamage();
}

TEST(Reading, AnEmptyPacketIsHarmless) {
  InboxBench bench;
  bench.Feed(From(2).Bytes() + From(2).Whole("a", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 1u);
  bench.ExpectNoDamage();
}

// A handler works on one alert while the next waits in the buffer.
TEST(Reading, PendingSaysWhetherThereIsMore) {
  InboxBench bench;
  const std::string bytes = From(2).Whole("a", "").Whole("b", "").Bytes();
  std::memcpy(bench.inbox->space(), bytes.data(), bytes.size());
  EXPECT_FALSE(bench.inbox->pending());
  bench.inbox->Received(bytes.size());
  Arrival arrival;
  EXPECT_TRUE(bench.inbox->pending());
  bench.inbox->Next(&arrival);
  EXPECT_EQ(arrival.name, "a");
  EXPECT_TRUE(bench.inbox->pending());
  bench.inbox->Next(&arrival);
  EXPECT_EQ(arrival.name, "b");
  bench.inbox->Next(&arrival);
  EXPECT_EQ(arrival.kind, Arrival::Kind::kNone);
  EXPECT_FALSE(bench.inbox->pending());
}

TEST(Reassembly, EveryWayToCutTwelveBytesIntoThree) {
  const std::string data = MakeData(12);
  for (std::size_t first = 0; first < data.size(); ++first) {
    for (std::size_t middle = 0; first + middle < data.size(); ++middle) {
      InboxBench bench;
      bench.Feed(Cut(2, 1, "n", data, {first, middle, data.size() - first - middle}));
      bench.Feed(From(2, 2).Whole("after", "").Bytes());
      const std::vector<Seen> seen = bench.TakeAlerts();
      ASSERT_EQ(seen.size(), 2u) << first << " " << middle;
      EXPECT_EQ(seen[0].name, "n");
      EXPECT_EQ(seen[0].data, data);
      EXPECT_EQ(bench.reassembly_bytes(), 0u);
      bench.ExpectNoDamage();
    }
  }
}

TEST(Reassembly, WhateverAnOutboxWrites) {
  OutboxBench sender;
  InboxBench bench;
  // The outbox of the bench sends as slot 1, generation 1.
  bench.roster.Publish(1, kSelfGeneration, SlotState::kUp, 1001);
  sender.Address(kSelfGeneration);
  std::vector<std::string> sent;
  for (std::size_t bytes = 0; bytes < 30000; bytes += 211) {
    sent.push_back(MakeData(bytes, bytes));
  }
  std::uint64_t sum = 0;
  for (const std::string& data : sent) {
    ASSERT_TRUE(sender.Own(ProvenName("x", data), data));
    sum += data.size();
  }
  sender.WriteAll();
  ASSERT_GT(sender.stream.size(), sum);
  bench.Feed(sender.stream);
  const std::vector<Seen> seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) {
    EXPECT_TRUE(seen[i].data == sent[i]) << i;
    EXPECT_TRUE(IsProven(seen[i].name, seen[i].data));
  }
  bench.ExpectNoDamage();
}

TEST(Reassembly, SendersInterleave) {
  InboxBench bench;
  std::vector<std::vector<std::string>> packets;
  std::vector<std::string> data;
  for (int slot = 2; slot <= 5; ++slot) {
    data.push_back(MakeData(10000, static_cast<std::uint64_t>(slot)));
    std::vector<std::string> own;
    own.push_back(From(slot).First("n", 10000, data.back().substr(0, 2000)).Bytes());
    for (std::size_t at = 2000; at < 8000; at += 2000) {
      own.push_back(From(slot, 2).Middle(data.back().substr(at, 2000)).Bytes());
    }
    own.push_back(From(slot, 2).Last(data.back().substr(8000)).Bytes());
    packets.push_back(own);
  }
  std::string stream;
  for (std::size_t i = 0; i < packets[0].size(); ++i) {
    for (const auto& own : packets) stream += own[i];
  }
  bench.Feed(stream);
  const std::vector<Seen> seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(seen[i].sender.slot, static_cast<int>(i) + 2);
    EXPECT_TRUE(seen[i].data == data[i]);
  }
  EXPECT_GE(bench.stats().reassembly_bytes_peak, 32000u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
  bench.ExpectNoDamage();
}

// ---- Chunks. A read that fills the buffer may end anywhere, a shorter one ends at a packet.

std::vector<std::string> MixedPackets(std::vector<std::string>* names) {
  std::vector<std::string> packets;
  std::uint64_t next[6] = {1, 1, 1, 1, 1, 1};
  for (int i = 0; i < 5; ++i) {
    const int slot = 2 + i % 4;
    const std::string small = MakeData(static_cast<std::size_t>(i) * 37, 5);
    const std::string large = MakeData(1500 + static_cast<std::size_t>(i) * 100, 6);
    names->push_back(ProvenName("small" + std::to_string(i), small));
    names->push_back(ProvenName("large" + std::to_string(i), large));
    packets.push_back(From(slot, next[slot])
                          .Whole((*names)[names->size() - 2], small)
                          .First(names->back(), large.size(), large.substr(0, 400))
                          .Bytes());
    next[slot] += 2;
    packets.push_back(From(slot, next[slot]).Middle(large.substr(400, 500)).Bytes());
    packets.push_back(From(slot, next[slot]).Last(large.substr(900)).Bytes());
  }
  return packets;
}

void ExpectNames(const std::vector<Seen>& seen, const std::vector<std::string>& names) {
  ASSERT_EQ(seen.size(), names.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].name, names[i]);
    EXPECT_TRUE(IsProven(seen[i].name, seen[i].data));
  }
}

// The buffer ends at every byte of the stream in turn.
TEST(Chunks, EverySplitOfAStreamByFullReads) {
  std::vector<std::string> names;
  std::string stream;
  for (const std::string& packet : MixedPackets(&names)) stream += packet;
  ASSERT_GT(stream.size(), 9000u);
  for (std::size_t capacity = 0; kPacketBytesMax + capacity <= stream.size() + 1; ++capacity) {
    FamilySettings settings = InboxBench::Settings();
    settings.pipe_capacity = capacity;
    InboxBench bench(settings);
    bench.Feed(stream);
    ExpectNames(bench.TakeAlerts(), names);
    bench.ExpectNoDamage();
    if (testing::Test::HasFailure()) FAIL() << "buffer of " << kPacketBytesMax + capacity;
  }
}

TEST(Chunks, RandomReadsThatEndAtPackets) {
  std::vector<std::string> names;
  const std::vector<std::string> packets = MixedPackets(&names);
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    FamilySettings settings = InboxBench::Settings();
    settings.pipe_capacity = random() % 8192;
    InboxBench bench(settings);
    for (std::size_t i = 0; i < packets.size();) {
      std::string chunk;
      for (std::size_t count = random() % 4; count > 0 && i < packets.size(); --count) {
        chunk += packets[i++];
      }
      bench.Feed(chunk);
    }
    ExpectNames(bench.TakeAlerts(), names);
    bench.ExpectNoDamage();
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

// ---- Limits

TEST(Limits, TheBudgetHoldsForAllSendersTogether) {
  FamilySettings settings = InboxBench::Settings();
  settings.reassembly_bytes_max = 10000;
  InboxBench bench(settings);
  const std::string part = MakeData(3000);
  for (int slot = 2; slot <= 4; ++slot) bench.Feed(From(slot).First("n", 9000, part).Bytes());
  EXPECT_EQ(bench.reassembly_bytes(), 9000u);
  bench.Feed(From(5).First("too much", 9000, part).Bytes());
  std::vector<Seen> seen = bench.Take();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].kind, Arrival::Kind::kReject);
  EXPECT_EQ(seen[0].name, "too much");
  EXPECT_EQ(seen[0].sender.slot, 5);
  EXPECT_EQ(seen[0].alert_id, 1u);
  EXPECT_EQ(seen[0].reason, UndeliveredReason::kReceiverFull);
  // What is left of it is skipped, and what follows is delivered.
  bench.Feed(From(5, 2).Middle(part).Bytes() + From(5, 2).Last(part).Whole("next", "").Bytes());
  seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].name, "next");
  // The others go on: one of them at a time has room now.
  bench.inbox->SenderDied(2, kSenderGeneration);
  bench.inbox->SenderDied(3, kSenderGeneration);
  EXPECT_EQ(bench.reassembly_bytes(), 3000u);
  bench.Feed(From(4, 2).Middle(part).Bytes() + From(4, 2).Last(part).Bytes());
  ASSERT_EQ(bench.TakeAlerts().size(), 1u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
  EXPECT_EQ(bench.stats().alerts_rejected, 1u);
  EXPECT_EQ(bench.stats().partials_dropped, 2u);
  bench.ExpectNoDamage();
}

TEST(Limits, TheBudgetIsExact) {
  for (const std::size_t excess : {0, 1}) {
    FamilySettings settings = InboxBench::Settings();
    settings.reassembly_bytes_max = 5000;
    InboxBench bench(settings);
    const std::string data = MakeData(5000 + excess);
    bench.Feed(Cut(2, 1, "n", data, {2000, 2000, 1000 + excess}));
    const std::vector<Seen> seen = bench.Take();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].kind, excess == 0 ? Arrival::Kind::kAlert : Arrival::Kind::kReject);
    EXPECT_EQ(bench.reassembly_bytes(), 0u);
    // A reject at the last part leaves nothing to skip.
    bench.Feed(From(2, 2).Whole("next", "").Bytes());
    EXPECT_EQ(bench.TakeAlerts().size(), 1u);
  }
}

TEST(Limits, ATotalAboveTheFamilysLimitIsDamage) {
  FamilySettings settings = InboxBench::Settings();
  settings.alert_bytes_max = 5000;
  InboxBench bench(settings);
  bench.Feed(From(2).First("n", 5001, "x").Bytes());
  EXPECT_EQ(bench.stats().damaged_records, 1u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
}

// Any one allocation fails: the alert is rejected, and everything else lives.
TEST(Limits, AnyAllocationThatFailsRejectsOneAlert) {
  const std::string data = MakeData(300000);
  OutboxBench sender;
  sender.Address(kSelfGeneration);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(sender.Own(std::to_string(i), data));
  ASSERT_TRUE(sender.Own("end", ""));
  sender.WriteAll();
  bool fired = true;
  int nth = 1;
  for (; fired; ++nth) {
    MemoryFaults memory;
    {
      InboxBench bench;
      memory.Fail(nth);
      bench.Feed(sender.stream);
      fired = memory.fired();
      const std::vector<Seen> seen = bench.Take();
      ASSERT_EQ(seen.size(), 4u) << nth;
      int rejected = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(seen[i].name, i < 3 ? std::to_string(i) : "end");
        if (seen[i].kind == Arrival::Kind::kReject) {
          ++rejected;
          EXPECT_EQ(seen[i].alert_id, i + 1);
          EXPECT_EQ(seen[i].reason, UndeliveredReason::kReceiverMemory);
        } else {
          ASSERT_EQ(seen[i].kind, Arrival::Kind::kAlert);
          EXPECT_TRUE(i == 3 || seen[i].data == data);
        }
      }
      EXPECT_EQ(rejected, fired ? 1 : 0) << nth;
      EXPECT_EQ(bench.reassembly_bytes(), 0u);
      bench.ExpectNoDamage();
    }
    EXPECT_EQ(memory.live_blocks(), 0) << nth;
  }
  EXPECT_GT(nth, 4);
}

TEST(Limits, TheReadBufferIsAllocatedOnce) {
  InboxBench bench;
  char* space = bench.inbox->space();
  EXPECT_TRUE(bench.inbox->Allocate());
  EXPECT_EQ(bench.inbox->space(), space);
}

TEST(Limits, NoMemoryForTheReadBuffer) {
  MemoryFaults memory;
  CounterPage page;
  Meter meter(&page);
  HeapRoster roster(GenerousSettings(2));
  Inbox inbox(roster.roster(), 1, &meter);
  memory.Fail(1);
  EXPECT_FALSE(inbox.Allocate());
  memory.FailNone();
  EXPECT_TRUE(inbox.Allocate());
}

// ---- Incarnations

TEST(Incarnations, AlertsForAnEarlierSelfAreCountedAndDropped) {
  InboxBench bench;
  PacketBuilder stale(2, kSenderGeneration, kSelfGeneration - 1, 1);
  bench.Feed(stale.Whole("a", "").Whole("b", "").First("c", 100, "x").Bytes() +
             From(2).Whole("mine", "").Bytes());
  const std::vector<Seen> seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].name, "mine");
  EXPECT_EQ(bench.stats().alerts_stale, 2u);
  bench.ExpectNoDamage();
}

TEST(Incarnations, ADeathNoticeFreesWhatWasHalfReceived) {
  MemoryFaults memory;
  InboxBench bench;
  const std::size_t before = memory.live_bytes();
  bench.Feed(From(2).First("n", 100000, MakeData(4000)).Bytes());
  EXPECT_GT(memory.live_bytes(), before);
  bench.inbox->SenderDied(2, kSenderGeneration);
  EXPECT_EQ(memory.live_bytes(), before);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
  EXPECT_EQ(bench.stats().partials_dropped, 1u);
  // What comes from it now is damage.
  bench.Feed(From(2, 2).Last("rest").Bytes());
  EXPECT_EQ(bench.stats().damaged_packets, 1u);
  // Its successor starts afresh.
  bench.roster.Publish(2, kSenderGeneration + 1, SlotState::kUp, 2002);
  bench.Take();
  bench.Feed(From(2, 1, kSenderGeneration + 1).Whole("new", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 0u);
}

TEST(Incarnations, ASuccessorBeforeTheNoticeEndsItsPredecessor) {
  InboxBench bench;
  bench.Feed(From(2).Whole("old", "").First("n", 100, "x").Bytes());
  bench.roster.Publish(2, kSenderGeneration + 1, SlotState::kStarting, 0);
  bench.Feed(From(2, 1, kSenderGeneration + 1).Whole("new", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 2u);
  EXPECT_EQ(bench.stats().partials_dropped, 1u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
  // The notice, late, must not harm the successor.
  bench.inbox->SenderDied(2, kSenderGeneration);
  bench.Feed(From(2, 2, kSenderGeneration + 1).Whole("newer", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 1u);
  bench.ExpectNoDamage();
}

TEST(Incarnations, ThePidOfASenderIsLearned) {
  InboxBench bench;
  EXPECT_EQ(bench.inbox->LearnedPid(2, kSenderGeneration), 0u);
  bench.Feed(From(2).Whole("a", "").Bytes());
  EXPECT_EQ(bench.inbox->LearnedPid(2, kSenderGeneration), 1002u);
  EXPECT_EQ(bench.inbox->LearnedPid(2, kSenderGeneration + 1), 0u);
}

// ---- Recycling

TEST(Recycling, ACollectedAlertIsReusedOrTaken) {
  FamilySettings settings = InboxBench::Settings();
  settings.pipe_capacity = 65536;  // one read has room for all
  InboxBench bench(settings);
  const std::string data = MakeData(12000);
  OutboxBench sender;
  sender.Address(kSelfGeneration);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(sender.Own("n", data));
  sender.WriteAll();
  std::memcpy(bench.inbox->space(), sender.stream.data(), sender.stream.size());
  bench.inbox->Received(sender.stream.size());
  Arrival arrival;
  bench.inbox->Next(&arrival);
  ASSERT_NE(arrival.collected, nullptr);
  EXPECT_TRUE(arrival.data == data);
  const Buffer taken = arrival.collected->Take();
  MemoryFaults memory;
  bench.inbox->Next(&arrival);
  EXPECT_TRUE(arrival.data == data);
  const int allocated = memory.requests();
  EXPECT_GT(allocated, 0);
  bench.inbox->Next(&arrival);
  EXPECT_TRUE(arrival.data == data);
  EXPECT_EQ(memory.requests(), allocated);
  EXPECT_TRUE(taken.view() == data);
  bench.inbox.reset();
}

// ---- What the master finds in the pipe of the dead

// One large block goes round, whoever sends; one that is larger still is given back.
TEST(Recycling, TheNextLargeAlertUsesTheBlockOfTheLast) {
  MemoryFaults memory;
  InboxBench bench;
  const auto feed = [&](int slot, std::size_t bytes) {
    const std::string data = MakeData(bytes, static_cast<unsigned>(slot));
    PacketBuilder first =
        From(slot).First("n", static_cast<std::uint32_t>(bytes), data.substr(0, 1));
    bench.Feed(first.Bytes());
    for (std::size_t at = 1; at < bytes;) {
      const std::size_t part = std::min<std::size_t>(4060, bytes - at);
      const bool last = at + part == bytes;
      bench.Feed(From(slot, 2)
                     .Part(last ? RecordKind::kLast : RecordKind::kMiddle, data.substr(at, part))
                     .Bytes());
      at += part;
    }
    const std::vector<Seen> seen = bench.TakeAlerts();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_TRUE(seen[0].data == data) << slot << ' ' << bytes;
  };
  feed(2, 1000000);
  const int requests = memory.requests();
  feed(3, 1000000);
  feed(4, 900000);
  EXPECT_EQ(memory.requests(), requests) << "nothing new was asked for";
  const std::size_t held = memory.live_bytes();
  feed(5, 6000000);
  EXPECT_LE(memory.live_bytes(), held + 65536);
}

TEST(Drain, CountsAlertsByTheirEnd) {
  const std::string bytes = From(2).Whole("a", "").Whole("b", "").First("c", 9000, "x").Bytes() +
                            From(2, 4).Middle("y").Bytes() + From(2, 4).Last("z").Bytes() +
                            PacketBuilder(3, 1, kSelfGeneration - 1, 1).Whole("s", "").Bytes();
  const DrainCount count = CountDrained(bytes, kSelfGeneration);
  EXPECT_EQ(count.alerts, 3u);
  EXPECT_EQ(count.stale, 1u);
  EXPECT_EQ(count.damaged_bytes, 0u);
  EXPECT_EQ(CountDrained("", 1).alerts, 0u);
  const DrainCount damaged = CountDrained(bytes + "rubbish", kSelfGeneration);
  EXPECT_EQ(damaged.alerts, 3u);
  EXPECT_EQ(damaged.damaged_bytes, 7u);
}

}  // namespace
}  // namespace alertpipe::core
