// SPDX-License-Identifier: Apache-2.0
#include "core/undelivered_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "contents.h"
#include "memory_faults.h"
#include "outbox_bench.h"

namespace alertpipe::core {
namespace {

struct Sent {
  std::string name;
  std::string data;
};

// Small and large alerts, with and without a bulk between first and last part, sharing packets in
// all ways.
std::vector<Sent> MixedAlerts() {
  std::vector<Sent> sent;
  for (const std::size_t bytes : {0, 10, 5000, 20, 30000, 0, 4060, 9000, 4061, 8116, 100, 50000}) {
    const std::string data = MakeData(bytes, bytes + 1);
    sent.push_back({ProvenName("alert " + std::to_string(sent.size() + 1), data), data});
  }
  return sent;
}

// Which alerts have begun to leave with the first packets, and which have left.
void CountWritten(const std::string& stream, std::size_t* begun, std::size_t* complete) {
  *begun = *complete = 0;
  std::string_view rest = stream;
  while (!rest.empty()) {
    PacketHeader header;
    ASSERT_EQ(DecodePacket(rest, &header), Framing::kPacket);
    RecordReader records(rest.substr(kHeaderBytes, header.bytes - kHeaderBytes));
    rest.remove_prefix(header.bytes);
    Record record;
    while (records.Next(&record) == RecordReader::Step::kRecord) {
      if (record.starts_alert()) ++*begun;
      if (record.kind == RecordKind::kWhole || record.kind == RecordKind::kLast) ++*complete;
    }
  }
}

// The outbox fails after any number of packets: what had left is not named, the rest is, in order
// and once.
TEST(UndeliveredReader, NamesExactlyWhatHadNotLeft) {
  const std::vector<Sent> sent = MixedAlerts();
  bool all_written = false;
  for (int packets = 0; !all_written; ++packets) {
    OutboxBench bench;
    for (const Sent& alert : sent) ASSERT_TRUE(bench.Own(alert.name, alert.data));
    for (int i = 0; i < packets; ++i) bench.Write(1);
    all_written = bench.outbox.empty();
    std::size_t begun = 0;
    std::size_t complete = 0;
    CountWritten(bench.stream, &begun, &complete);
    const FailedRun run = bench.outbox.Fail();
    EXPECT_EQ(run.open, begun != complete);
    {
      UndeliveredReader reader(run, &bench.pool);
      UndeliveredReader::Item item;
      for (std::size_t i = complete; i < sent.size(); ++i) {
        ASSERT_TRUE(reader.Next(&item)) << packets << " packets, alert " << i + 1;
        EXPECT_EQ(item.alert_id, i + 1);
        EXPECT_EQ(item.name, sent[i].name);
        if (i >= begun) {
          EXPECT_TRUE(item.has_data);
        }
        if (item.has_data) {
          EXPECT_TRUE(item.data == sent[i].data) << packets << " packets, alert " << i + 1;
        } else {
          EXPECT_TRUE(item.data.empty());
        }
      }
      EXPECT_FALSE(reader.Next(&item));
      EXPECT_FALSE(reader.Next(&item));
    }
    bench.ExpectAtRest();
    if (testing::Test::HasFailure()) FAIL() << packets << " packets written";
  }
}

// What was lent is copied from the point where it was: its data cannot be given back then.
TEST(UndeliveredReader, PartlyCopiedDataIsNotGivenBack) {
  for (const bool whole : {true, false}) {
    OutboxBench bench;
    const std::string data = MakeData(30000);
    ASSERT_TRUE(bench.Lend("large", data));
    if (!whole) bench.Write(1);
    SharedData* shared = bench.Share(data);
    bench.outbox.OwnLent(shared, whole);
    shared->Release();
    UndeliveredReader reader(bench.outbox.Fail(), &bench.pool);
    UndeliveredReader::Item item;
    ASSERT_TRUE(reader.Next(&item));
    EXPECT_EQ(item.name, "large");
    EXPECT_EQ(item.has_data, whole);
    EXPECT_TRUE(item.data == (whole ? data : std::string()));
    EXPECT_FALSE(reader.Next(&item));
  }
}

TEST(UndeliveredReader, FreesEverythingWhereverItIsLeft) {
  const std::vector<Sent> sent = MixedAlerts();
  for (std::size_t items = 0; items <= sent.size(); ++items) {
    MemoryFaults memory;
    {
      OutboxBench bench;
      for (const Sent& alert : sent) ASSERT_TRUE(bench.Own(alert.name, alert.data));
      {
        UndeliveredReader reader(bench.outbox.Fail(), &bench.pool);
        UndeliveredReader::Item item;
        for (std::size_t i = 0; i < items; ++i) ASSERT_TRUE(reader.Next(&item));
      }
      bench.ExpectAtRest();
    }
    EXPECT_EQ(memory.live_blocks(), 0) << items;
  }
}

TEST(UndeliveredReader, EmptyRun) {
  OutboxBench bench;
  UndeliveredReader reader(bench.outbox.Fail(), &bench.pool);
  UndeliveredReader::Item item;
  EXPECT_FALSE(reader.Next(&item));
}

}  // namespace
}  // namespace alertpipe::core
