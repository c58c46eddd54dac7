// SPDX-License-Identifier: Apache-2.0
//
// An outbox with everything around it. What leaves is checked against the rules of the wire and put
// together again by a reader of the test's own, so that outbox and inbox are not proved by each
// other.
#ifndef ALERTPIPE_TEST_CORE_OUTBOX_BENCH_H_
#define ALERTPIPE_TEST_CORE_OUTBOX_BENCH_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/outbox.h"
#include "core/segment.h"

namespace alertpipe::core {

struct ReadAlert {
  std::uint64_t id = 0;
  std::string name;
  std::string data;
};

class OutboxBench {
 public:
  OutboxBench() : page_(std::make_unique<CounterPage>()), meter_(page_.get()) { Address(1); }
  ~OutboxBench() {
    if (!outbox.empty()) Free(outbox.Fail());
  }

  void Address(std::uint32_t generation) {
    PacketHeader header;
    header.source_slot = 1;
    header.source_generation = 1;
    header.source_pid = 1001;
    header.destination_generation = generation;
    outbox.Address(header);
  }

  // Appends what is kept by the caller until it has left: nothing is copied but what packets hold.
  bool Lend(std::string_view name, std::string_view data) {
    const Content content{name, data};
    return content.fits_packet() ? outbox.AppendSmall(content, &pool)
                                 : outbox.AppendLarge(content, nullptr, &pool);
  }
  // Appends with data of its own. The view of the content is the shared one, as in a send by
  // ownership.
  bool Own(std::string_view name, std::string_view data) {
    if (Content{name, data}.fits_packet()) return Lend(name, data);
    SharedData* shared = Share(data);
    const bool queued = outbox.AppendLarge(Content{name, shared->view()}, shared, &pool);
    shared->Release();
    return queued;
  }
  SharedData* Share(std::string_view data) {
    Buffer copy = Buffer::Copy(data).value();
    return SharedData::Create(&copy, &meter_);
  }

  // One write: gathers, checks the rules, takes `packets` of what was gathered (all if fewer).
  // Returns packets taken.
  int Write(int run_max = Outbox::kRunMax, bool full_only = false, int packets = 1000) {
    iovec parts[Outbox::kPartsMax];
    const int count = outbox.Gather(parts, run_max, full_only);
    std::string bytes;
    for (int i = 0; i < count; ++i) {
      bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    }
    int taken = 0;
    std::size_t at = 0;
    int gathered = 0;
    std::size_t taken_bytes = 0;
    while (at < bytes.size()) {
      PacketHeader header;
      const Framing framing = DecodePacket(std::string_view(bytes).substr(at), &header);
      EXPECT_EQ(framing, Framing::kPacket);
      if (framing != Framing::kPacket) break;
      if (at + header.bytes < bytes.size() || gathered > 0) {
        EXPECT_EQ(header.bytes, kPacketBytesMax) << "only full packets may leave in runs";
      }
      at += header.bytes;
      ++gathered;
      if (taken < packets) {
        ++taken;
        taken_bytes = at;
      }
    }
    EXPECT_EQ(at, bytes.size());
    stream.append(bytes, 0, taken_bytes);
    if (taken > 0) outbox.Advance(taken_bytes, &pool, &meter_);
    const bool all = run_max > 1 && (outbox.empty() || taken < gathered);
    EXPECT_LE(gathered, all ? Outbox::kRunMax : run_max);
    return taken;
  }
  void WriteAll(int run_max = Outbox::kRunMax) {
    while (Write(run_max) > 0) {
    }
    EXPECT_TRUE(outbox.empty());
  }

  // What a receiver would make of everything that was written so far.
  std::vector<ReadAlert> ReadStream() const {
    std::vector<ReadAlert> alerts;
    std::string_view rest = stream;
    std::uint64_t expected = 1;
    bool open = false;
    std::size_t total = 0;
    while (!rest.empty()) {
      PacketHeader header;
      if (DecodePacket(rest, &header) != Framing::kPacket) {
        ADD_FAILURE() << "no packet";
        break;
      }
      EXPECT_EQ(header.sequence, expected);
      EXPECT_EQ(header.destination_generation, outbox.generation());
      RecordReader records(rest.substr(kHeaderBytes, header.bytes - kHeaderBytes));
      rest.remove_prefix(header.bytes);
      Record record;
      RecordReader::Step step;
      while ((step = records.Next(&record)) == RecordReader::Step::kRecord) {
        EXPECT_EQ(open, !record.starts_alert());
        if (record.starts_alert()) {
          alerts.push_back({expected++, std::string(record.name), std::string(record.data)});
          total = record.total_bytes;
          open = record.kind == RecordKind::kFirst;
          if (open) {
            EXPECT_LT(record.data.size(), total);
            EXPECT_TRUE(records.done()) << "nothing follows a first part in its packet";
          }
          continue;
        }
        alerts.back().data.append(record.data);
        if (record.kind == RecordKind::kMiddle) {
          EXPECT_EQ(header.bytes, kPacketBytesMax);
          EXPECT_LT(alerts.back().data.size(), total);
        } else {
          EXPECT_EQ(alerts.back().data.size(), total);
          EXPECT_FALSE(record.data.empty());
          open = false;
        }
      }
      EXPECT_EQ(step, RecordReader::Step::kEnd);
    }
    return alerts;
  }

  void Free(const FailedRun& run) {
    Segment* segment = run.head;
    while (segment != nullptr) {
      Segment* next = segment->next;
      pool.Put(segment);
      segment = next;
    }
  }

  void ExpectAtRest() const {
    EXPECT_TRUE(outbox.empty());
    EXPECT_EQ(outbox.queued_bytes(), 0u);
    EXPECT_EQ(meter_.queued_bytes(), 0u);
    EXPECT_EQ(page_->queued_bytes.Get(), 0u);
  }

  const CounterPage& page() const { return *page_; }
  Meter& meter() { return meter_; }

  SegmentPool pool{&meter_};
  std::string stream;  // what has been written

 private:
  std::unique_ptr<CounterPage> page_;
  Meter meter_;

 public:
  Outbox outbox;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_OUTBOX_BENCH_H_
