// SPDX-License-Identifier: Apache-2.0
#include "core/outbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "contents.h"
#include "memory_faults.h"
#include "outbox_bench.h"

namespace alertpipe::core {
namespace {

const std::size_t kNameSizes[] = {0, 1, 254};

void ExpectAlert(const ReadAlert& alert, std::uint64_t id, const std::string& name,
                 std::string_view data) {
  EXPECT_EQ(alert.id, id);
  EXPECT_EQ(alert.name, name);
  EXPECT_TRUE(alert.data == data) << "of " << data.size() << " bytes";
}

// An alert of 4 bytes of overhead, no name and these bytes of data makes a packet with this room.
std::size_t DataForRoom(std::size_t room) { return kWholeBytesMax - room; }

TEST(Packing, EverySizeAlone) {
  OutboxBench bench;
  const std::string data = MakeData(9000);
  std::uint64_t id = 0;
  for (const std::size_t name_bytes : kNameSizes) {
    const std::string name = MakeData(name_bytes, 7);
    for (std::size_t bytes = 0; bytes <= data.size(); ++bytes) {
      bench.stream.clear();
      const std::string_view content(data.data(), bytes);
      ASSERT_TRUE(bench.Lend(name, content));
      ++id;
      EXPECT_EQ(bench.outbox.next_id(), id + 1);
      const std::size_t whole = kRecordBytes + name_bytes + bytes;
      EXPECT_GE(bench.outbox.queued_bytes(), whole);
      bench.WriteAll();
      // The fewest packets that can hold it.
      const std::size_t packets =
          whole <= kBodyBytesMax ? 1 : 1 + (whole + kTotalBytes - kBodyBytesMax + 4059) / 4060;
      EXPECT_EQ(bench.page().packets_written.Get(), packets) << name_bytes << " " << bytes;
      const_cast<CounterPage&>(bench.page()).packets_written.Set(0);
      bench.ExpectAtRest();
      bench.Address(1);  // sequence from 1 again
      id = 0;
      const std::vector<ReadAlert> alerts = bench.ReadStream();
      ASSERT_EQ(alerts.size(), 1u);
      ExpectAlert(alerts[0], 1, name, content);
      if (testing::Test::HasFailure()) FAIL() << name_bytes << " bytes of name, " << bytes;
    }
  }
}

TEST(Packing, EverySizeBehindEveryRoom) {
  const std::string data = MakeData(9000);
  const std::size_t sizes[] = {0,    1,    2,    59,   63,   64,   65,   1000, 3806, 4050, 4056,
                               4060, 4061, 4064, 4120, 4124, 4125, 8100, 8120, 8180, 8185, 9000};
  for (std::size_t room = 0; room <= kWholeBytesMax; ++room) {
    const std::size_t name_bytes = kNameSizes[room % 3];
    const std::string name = MakeData(name_bytes, 7);
    for (const std::size_t bytes : sizes) {
      OutboxBench bench;
      const std::string_view before(data.data() + 1, DataForRoom(room));
      const std::string_view content(data.data(), bytes);
      ASSERT_TRUE(bench.Lend("", before));
      ASSERT_TRUE(bench.Lend(name, content));
      ASSERT_TRUE(bench.Lend("after", "it"));
      bench.WriteAll();
      bench.ExpectAtRest();
      EXPECT_EQ(bench.page().alerts_written.Get(), 3u);
      const std::vector<ReadAlert> alerts = bench.ReadStream();
      ASSERT_EQ(alerts.size(), 3u);
      ExpectAlert(alerts[0], 1, "", before);
      ExpectAlert(alerts[1], 2, name, content);
      ExpectAlert(alerts[2], 3, "after", "it");
      if (testing::Test::HasFailure()) {
        FAIL() << "room " << room << ", name " << name_bytes << ", data " << bytes;
      }
    }
  }
}

// A large alert begins in the open packet if 64 bytes of it fit there, else in one of its own.
TEST(Packing, ALargeAlertFillsTheOpenPacketFrom64BytesOn) {
  const std::string data = MakeData(5000);
  for (const std::size_t room : {8 + 63, 8 + 64}) {
    OutboxBench bench;
    ASSERT_TRUE(bench.Lend("", std::string_view(data).substr(0, DataForRoom(room))));
    ASSERT_TRUE(bench.Lend("", data));
    bench.Write(1);
    PacketHeader header;
    ASSERT_EQ(DecodePacket(bench.stream, &header), Framing::kPacket);
    EXPECT_EQ(header.bytes, room < 8 + 64 ? kPacketBytesMax - room : kPacketBytesMax);
    bench.WriteAll();
    bench.ExpectAtRest();
  }
}

TEST(Packing, SmallAlertsShareAPacketToItsLastByte) {
  OutboxBench bench;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(bench.Lend("", MakeData(1016 - kRecordBytes)));
  EXPECT_FALSE(bench.outbox.has_full(false));
  ASSERT_TRUE(bench.Lend("", ""));
  EXPECT_TRUE(bench.outbox.has_full(false));
  EXPECT_EQ(bench.Write(1), 1);
  EXPECT_EQ(bench.stream.size(), kPacketBytesMax);
  bench.WriteAll();
  EXPECT_EQ(bench.stream.size(), kPacketBytesMax + kHeaderBytes + kRecordBytes);
  EXPECT_EQ(bench.ReadStream().size(), 5u);
  bench.ExpectAtRest();
}

// What is closed is filled up with zeroes where that makes a run; a packet that leaves alone is
// not, and the open one only if one write can take all there is.
TEST(Packing, PacketsArePaddedForARun) {
  const std::string data = MakeData(1500);
  const auto fill = [&](OutboxBench* bench, int alerts) {
    for (int i = 0; i < alerts; ++i) ASSERT_TRUE(bench->Lend("n", data));
  };
  OutboxBench alone;
  fill(&alone, 3);
  EXPECT_EQ(alone.Write(1), 1);
  EXPECT_LT(alone.stream.size(), kPacketBytesMax) << "no runs";
  OutboxBench one;
  fill(&one, 2);
  EXPECT_EQ(one.Write(2), 1);
  EXPECT_LT(one.stream.size(), kPacketBytesMax) << "nothing to run with";
  OutboxBench closed;
  fill(&closed, 3);
  EXPECT_EQ(closed.Write(2, true), 1);
  EXPECT_LT(closed.stream.size(), kPacketBytesMax) << "the other one is open";
  OutboxBench open;
  fill(&open, 5);
  EXPECT_EQ(open.Write(2, true), 2);
  EXPECT_EQ(open.stream.size(), 2 * kPacketBytesMax);
  EXPECT_EQ(open.Write(2, true), 0) << "it stays for others";
  open.WriteAll();
  EXPECT_LT(open.stream.size(), 3 * kPacketBytesMax);
  EXPECT_EQ(open.ReadStream().size(), 5u);
  OutboxBench all;
  fill(&all, 5);
  EXPECT_EQ(all.Write(2), 3);
  EXPECT_EQ(all.stream.size(), 3 * kPacketBytesMax);
  EXPECT_EQ(all.ReadStream().size(), 5u);
  all.ExpectAtRest();
  OutboxBench many;
  fill(&many, 9);
  EXPECT_EQ(many.Write(2), 2) << "more than one write can take";
  many.WriteAll();
  EXPECT_EQ(many.ReadStream().size(), 9u);
  // Taken only in part, or not at all: the last one is still open, and has the room that it had.
  for (const int taken : {0, 1}) {
    OutboxBench torn;
    fill(&torn, 5);
    EXPECT_EQ(torn.Write(2, false, taken), taken);
    const std::size_t queued = torn.outbox.queued_bytes();
    ASSERT_TRUE(torn.Lend("n", data));
    EXPECT_EQ(torn.outbox.queued_bytes(), queued);
    torn.WriteAll();
    EXPECT_EQ(torn.ReadStream().size(), 6u);
  }
}

TEST(Packing, IsFullWhenARunIs) {
  const std::string data = MakeData(3000);
  OutboxBench bench;
  for (int packets = 1; packets <= 3; ++packets) {
    ASSERT_TRUE(bench.Lend("n", data));
    EXPECT_EQ(bench.outbox.has_full(false), packets > 1) << packets;
    EXPECT_EQ(bench.outbox.has_full(true), packets > 2) << packets;
  }
  bench.WriteAll();
  ASSERT_TRUE(bench.Lend("n", data));
  ASSERT_TRUE(bench.Lend("", MakeData(kWholeBytesMax)));
  EXPECT_TRUE(bench.outbox.has_full(true)) << "the last one is full as well";
  bench.WriteAll();
  const std::string large = MakeData(3 * kPartBytesMax);
  ASSERT_TRUE(bench.Lend("large", large));
  EXPECT_TRUE(bench.outbox.has_full(true));
  bench.Write(1);
  EXPECT_TRUE(bench.outbox.has_full(true)) << "its middle";
  bench.WriteAll();
}

TEST(Packing, RequestIdsAndFlagsTravel) {
  for (const std::size_t bytes : {std::size_t{4052}, std::size_t{4053}, std::size_t{20000}}) {
    OutboxBench bench;
    const std::string data = MakeData(bytes);
    const Content content{"", data, kHasRequestId | kIsResponse, 77};
    EXPECT_EQ(content.fits_packet(), bytes == 4052);
    ASSERT_TRUE(content.fits_packet() ? bench.outbox.AppendSmall(content, &bench.pool)
                                      : bench.outbox.AppendLarge(content, nullptr, &bench.pool));
    bench.WriteAll();
    Record record;
    ASSERT_EQ(RecordReader(std::string_view(bench.stream).substr(kHeaderBytes, kBodyBytesMax))
                  .Next(&record),
              RecordReader::Step::kRecord);
    EXPECT_EQ(record.flags, kHasRequestId | kIsResponse);
    EXPECT_EQ(record.request_id, 77u);
    EXPECT_EQ(bench.ReadStream().at(0).data, data);
  }
}

TEST(Writing, RunsHoldAsManyFullPacketsAsAllowed) {
  const std::string data = MakeData(100000);
  for (int run_max = 1; run_max <= Outbox::kRunMax; ++run_max) {
    OutboxBench bench;
    ASSERT_TRUE(bench.Lend("large", data));
    int widest = 0;
    for (int i = 0; i < 20 / run_max; ++i) widest = std::max(widest, bench.Write(run_max));
    EXPECT_EQ(widest, run_max);
    ASSERT_FALSE(bench.outbox.empty());
    bench.WriteAll(run_max);
    EXPECT_EQ(bench.ReadStream().at(0).data, data);
    bench.ExpectAtRest();
  }
}

TEST(Writing, ARunThatIsTakenInPartGoesOnWhereItStopped) {
  const std::string data = MakeData(100000);
  for (int taken = 1; taken < Outbox::kRunMax; ++taken) {
    OutboxBench bench;
    ASSERT_TRUE(bench.Lend("", MakeData(3000, 3)));
    ASSERT_TRUE(bench.Own("large", data));
    ASSERT_TRUE(bench.Own("too", data));
    while (bench.Write(Outbox::kRunMax, false, taken) > 0) {
    }
    const std::vector<ReadAlert> alerts = bench.ReadStream();
    ASSERT_EQ(alerts.size(), 3u);
    EXPECT_TRUE(alerts[1].data == data);
    EXPECT_TRUE(alerts[2].data == data);
    bench.ExpectAtRest();
  }
}

TEST(Writing, FullOnlyLeavesThePacketThatCanStillBeShared) {
  OutboxBench bench;
  EXPECT_EQ(bench.Write(1, true), 0);
  ASSERT_TRUE(bench.Lend("a", "1"));
  EXPECT_EQ(bench.Write(1, true), 0);
  const std::string data = MakeData(10000);
  ASSERT_TRUE(bench.Lend("large", data));
  int packets = 0;
  while (const int wrote = bench.Write(4, true)) packets += wrote;
  EXPECT_EQ(packets, 2);  // first and one middle; the last part waits for company
  ASSERT_TRUE(bench.Lend("b", "2"));
  EXPECT_EQ(bench.Write(1, true), 0);
  EXPECT_EQ(bench.Write(1, false), 1);
  EXPECT_EQ(bench.ReadStream().size(), 3u);
  bench.ExpectAtRest();
}

TEST(Writing, FullOnlyTakesAPacketWithoutRoom) {
  OutboxBench bench;
  ASSERT_TRUE(bench.Lend("", MakeData(kWholeBytesMax)));
  EXPECT_EQ(bench.Write(1, true), 1);
  bench.ExpectAtRest();
}

TEST(Writing, SequenceWrittenIsWhatTheReceiverExpects) {
  OutboxBench bench;
  EXPECT_EQ(bench.outbox.sequence_written(), 1u);
  ASSERT_TRUE(bench.Lend("", MakeData(4000)));
  const std::string data = MakeData(30000);
  ASSERT_TRUE(bench.Lend("large", data));
  ASSERT_TRUE(bench.Lend("small", ""));
  while (!bench.outbox.empty()) {
    const std::uint64_t before = bench.outbox.sequence_written();
    const std::size_t at = bench.stream.size();
    ASSERT_EQ(bench.Write(1), 1);
    PacketHeader header;
    ASSERT_EQ(DecodePacket(std::string_view(bench.stream).substr(at), &header), Framing::kPacket);
    EXPECT_EQ(header.sequence, before);
  }
  EXPECT_EQ(bench.outbox.sequence_written(), 4u);
  bench.ReadStream();
}

TEST(Writing, BulkDataIsNotCopied) {
  OutboxBench bench;
  const std::string data = MakeData(50000);
  ASSERT_TRUE(bench.Lend("large", data));
  iovec parts[Outbox::kPartsMax];
  ASSERT_EQ(bench.Write(1), 1);
  ASSERT_EQ(bench.outbox.Gather(parts, 1, false), 2);
  const char* at = static_cast<const char*>(parts[1].iov_base);
  EXPECT_GE(at, data.data());
  EXPECT_LE(at + parts[1].iov_len, data.data() + data.size());
  bench.WriteAll();
}

// The sender's view ends with the call: what the pipe did not take is settled then, at any point of
// the alert.
TEST(Lent, SettledAfterAnyNumberOfWrites) {
  for (int written = 0; written < 12; ++written) {
    OutboxBench bench;
    std::string data = MakeData(40000);
    const std::string copy = data;
    ASSERT_TRUE(bench.Lend("before", "x"));
    ASSERT_TRUE(bench.Lend("large", data));
    for (int i = 0; i < written; ++i) bench.Write(1);
    const Bulk* lent = bench.outbox.lent();
    // The first part is one packet, the bulk 8, and the last part has been copied.
    ASSERT_EQ(lent != nullptr, written < 9);
    if (lent != nullptr) {
      const bool whole = bench.outbox.lent_untouched();
      EXPECT_EQ(whole, written == 0);
      std::string partial(data.size(), '?');
      const std::size_t from = whole ? 0 : lent->at;
      const std::size_t to = whole ? data.size() : lent->end;
      partial.replace(from, to - from, data, from, to - from);
      SharedData* shared = bench.Share(partial);
      bench.outbox.OwnLent(shared, whole);
      shared->Release();
      EXPECT_EQ(bench.outbox.lent(), nullptr);
    }
    data.assign(data.size(), '!');  // the caller's memory is its own again
    bench.WriteAll();
    const std::vector<ReadAlert> alerts = bench.ReadStream();
    ASSERT_EQ(alerts.size(), 2u);
    EXPECT_TRUE(alerts[1].data == copy) << written;
    bench.ExpectAtRest();
  }
}

TEST(Lent, NothingIsNotUntouched) {
  OutboxBench bench;
  EXPECT_EQ(bench.outbox.lent(), nullptr);
  EXPECT_FALSE(bench.outbox.lent_untouched());
}

TEST(Lent, AnAlertWithoutABulkIsNeverLent) {
  OutboxBench bench;
  ASSERT_TRUE(bench.Lend("", MakeData(8116)));
  EXPECT_EQ(bench.outbox.lent(), nullptr);
  bench.WriteAll();
}

TEST(Accounting, BytesAreChargedAndReleasedByPacket) {
  OutboxBench bench;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(bench.Lend("name", "data"));
  EXPECT_EQ(bench.outbox.queued_bytes(), kPacketBytesMax) << "they share one packet";
  EXPECT_EQ(bench.meter().queued_bytes(), kPacketBytesMax);
  EXPECT_EQ(bench.outbox.load(), kHeaderBytes + 100 * (kRecordBytes + 8));
  const std::string data = MakeData(100000);
  ASSERT_TRUE(bench.Own("large", data));
  EXPECT_EQ(bench.outbox.queued_bytes(), 2 * kPacketBytesMax + data.size());
  EXPECT_EQ(bench.meter().queued_bytes(), 2 * kPacketBytesMax + data.size());
  std::size_t before = bench.outbox.queued_bytes();
  while (bench.Write(2) > 0) {
    EXPECT_LE(bench.outbox.queued_bytes(), before);
    EXPECT_EQ(bench.outbox.queued_bytes() == 0, bench.outbox.empty());
    before = bench.outbox.queued_bytes();
  }
  EXPECT_GE(bench.page().queued_bytes_peak.Get(), data.size());
  bench.ExpectAtRest();
}

TEST(Accounting, TheCostIsKnownBeforehand) {
  const std::string data = MakeData(20000);
  for (const std::size_t open : {0, 10, 2000, 3900, 4000}) {
    for (const std::size_t bytes : {0, 100, 2000, 4000, 4050, 4100, 8000, 8100, 8200, 20000}) {
      OutboxBench bench;
      if (open > 0) {
        ASSERT_TRUE(bench.Own("", std::string_view(data).substr(0, open)));
      }
      const std::string_view view = std::string_view(data).substr(0, bytes);
      const Cost cost = bench.outbox.CostOf(Content{"name", view});
      if (open == 0) {
        EXPECT_EQ(Outbox::CostWhenEmpty(Content{"name", view}).total(), cost.total());
      }
      const std::size_t before = bench.outbox.queued_bytes();
      ASSERT_TRUE(bench.Own("name", view));
      EXPECT_EQ(bench.outbox.queued_bytes(), before + cost.total()) << open << " " << bytes;
      EXPECT_EQ(bench.meter().queued_bytes(), before + cost.total()) << open << " " << bytes;
      bench.WriteAll();
      bench.ExpectAtRest();
    }
  }
}

TEST(Accounting, WhatFailedCountsUntilItHasBeenFreed) {
  OutboxBench bench;
  ASSERT_TRUE(bench.Own("large", MakeData(100000)));
  const FailedRun run = bench.outbox.Fail();
  EXPECT_EQ(bench.outbox.queued_bytes(), 0u);
  EXPECT_EQ(bench.meter().queued_bytes(), 2 * kPacketBytesMax + 100000);
  bench.Free(run);
  bench.ExpectAtRest();
}

TEST(Pool, KeepsPacketsForReuseAndGivesThemBackInTheEnd) {
  MemoryFaults memory;
  {
    OutboxBench bench;
    const auto cycle = [&](int packets) {
      for (int i = 0; i < packets; ++i) ASSERT_TRUE(bench.Own("", MakeData(4000)));
      bench.WriteAll();
      bench.stream.clear();
    };
    cycle(500);
    const int requests = memory.requests();
    cycle(500);
    EXPECT_EQ(memory.requests(), requests) << "the second time all of them are there";
    bench.pool.Trim();
    cycle(500);
    EXPECT_EQ(memory.requests(), requests) << "those that were needed stay";
    const std::size_t held = memory.live_bytes();
    for (int i = 0; i < 20; ++i) bench.pool.Trim();
    EXPECT_LT(memory.live_bytes(), held / 6) << "64 of 500 stay";
    EXPECT_GT(memory.live_bytes(), std::size_t{64} * kPacketBytesMax);
    cycle(3000);
    EXPECT_LT(memory.live_bytes(), std::size_t{1100} * kPacketBytesMax) << "there is a limit";
  }
  EXPECT_EQ(memory.live_blocks(), 0);
}

TEST(Accounting, DataForManyIsChargedOnce) {
  OutboxBench one;
  Outbox other;
  other.Address(one.outbox.header());
  SharedData* shared = one.Share(MakeData(50000));
  const Content content{"", shared->view()};
  ASSERT_TRUE(one.outbox.AppendLarge(content, shared, &one.pool));
  const std::size_t first = one.meter().queued_bytes();
  ASSERT_TRUE(other.AppendLarge(content, shared, &one.pool));
  EXPECT_EQ(one.meter().queued_bytes() - first, 2 * kPacketBytesMax);
  EXPECT_EQ(other.queued_bytes(), one.outbox.queued_bytes());
  shared->Release();
  one.WriteAll();
  EXPECT_GE(one.meter().queued_bytes(), 50000u);
  one.Free(other.Fail());
  one.ExpectAtRest();
}

TEST(Accounting, FailTakesEverythingOut) {
  OutboxBench bench;
  ASSERT_TRUE(bench.Lend("a", "1"));
  ASSERT_TRUE(bench.Own("large", MakeData(50000)));
  ASSERT_TRUE(bench.Lend("b", "2"));
  for (int i = 0; i < 4; ++i) bench.Write(1);
  const FailedRun run = bench.outbox.Fail();
  EXPECT_TRUE(run.open);
  EXPECT_EQ(run.open_alert.name.view(), "large");
  bench.Free(run);
  bench.ExpectAtRest();
  bench.Address(2);
  EXPECT_EQ(bench.outbox.next_id(), 1u);
  bench.stream.clear();
  ASSERT_TRUE(bench.Lend("new", "life"));
  bench.WriteAll();
  EXPECT_EQ(bench.ReadStream().at(0).name, "new");
}

// Each allocation of a sequence of sends fails once: the refused alert leaves no trace, the others
// are unharmed.
TEST(Shortage, AnyAllocationThatFailsLeavesNoTrace) {
  const std::string data = MakeData(20000);
  bool fired = true;
  for (int nth = 1; fired; ++nth) {
    MemoryFaults memory;
    {
      OutboxBench bench;
      std::vector<std::string> accepted;
      std::size_t refused = 0;
      const auto send = [&](const std::string& name, std::string_view content) {
        const std::size_t queued = bench.outbox.queued_bytes();
        const std::size_t charged = bench.meter().queued_bytes();
        const std::uint64_t id = bench.outbox.next_id();
        SharedData* shared = nullptr;
        Content alert{name, content};
        if (!alert.fits_packet()) {
          absl::StatusOr<Buffer> copy = Buffer::Copy(content);
          if (copy.ok()) shared = SharedData::Create(&*copy, &bench.meter());
          if (shared != nullptr) alert.data = shared->view();
        }
        bool queued_now = false;
        if (alert.fits_packet()) {
          queued_now = bench.outbox.AppendSmall(alert, &bench.pool);
        } else if (shared != nullptr) {
          queued_now = bench.outbox.AppendLarge(alert, shared, &bench.pool);
        }
        if (shared != nullptr) shared->Release();
        if (queued_now) {
          accepted.push_back(name);
          return;
        }
        ++refused;
        EXPECT_EQ(bench.outbox.queued_bytes(), queued);
        EXPECT_EQ(bench.meter().queued_bytes(), charged);
        EXPECT_EQ(bench.outbox.next_id(), id);
      };
      memory.Fail(nth);
      send("1", "small");
      send("2", data);
      send("3", data);
      send("4", MakeData(4000));
      send("5", MakeData(8000));
      send("6", "small");
      fired = memory.fired();
      memory.FailNone();
      EXPECT_EQ(refused, fired ? 1u : 0u) << nth;
      bench.WriteAll();
      const std::vector<ReadAlert> alerts = bench.ReadStream();
      ASSERT_EQ(alerts.size(), accepted.size());
      for (std::size_t i = 0; i < alerts.size(); ++i) EXPECT_EQ(alerts[i].name, accepted[i]);
      bench.ExpectAtRest();
    }
    EXPECT_EQ(memory.live_blocks(), 0) << nth;
  }
}

TEST(Shortage, TheSteadyStateAllocatesNothing) {
  MemoryFaults memory;
  OutboxBench bench;
  ASSERT_TRUE(bench.Lend("warm", "up"));
  bench.WriteAll();
  const int before = memory.requests();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(bench.Lend("name", "data"));
    bench.WriteAll();
  }
  EXPECT_EQ(memory.requests(), before);
}

TEST(MisuseDeathTest, TornPacketsAndLentDataAreCaught) {
  OutboxBench bench;
  ASSERT_TRUE(bench.Lend("name", "data"));
  EXPECT_DEATH(bench.outbox.Advance(10, &bench.pool, &bench.meter()), "tore a packet");
  const std::string data = MakeData(50000);
  ASSERT_TRUE(bench.Lend("large", data));
  EXPECT_DEATH(bench.outbox.Fail(), "lent");
  EXPECT_DEATH(bench.Address(2), "readdressed");
  bench.WriteAll();
}

}  // namespace
}  // namespace alertpipe::core
