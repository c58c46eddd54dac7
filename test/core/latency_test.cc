// SPDX-License-Identifier: Apache-2.0
//
// Latency histograms: the buckets, what is read from them, and how a time gets into one.
#include <alertpipe/latency.h>
#include <gtest/gtest.h>

#include <string>

#include "contents.h"
#include "core/endpoint.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

using Histogram = LatencyHistogram;

TEST(LatencyBuckets, FollowEachOtherWithoutGaps) {
  for (std::size_t bucket = 1; bucket < Histogram::kBuckets; ++bucket) {
    const std::uint64_t begin = Histogram::BeginOf(bucket);
    EXPECT_EQ(Histogram::BucketOf(begin), bucket);
    EXPECT_EQ(Histogram::BucketOf(begin - 1), bucket - 1);
    if (bucket + 1 == Histogram::kBuckets) continue;
    EXPECT_LE(Histogram::BeginOf(bucket + 1) - begin, begin / 4) << "a quarter at most";
  }
  EXPECT_EQ(Histogram::BucketOf(0), 0u);
  EXPECT_EQ(Histogram::BeginOf(0), 0u);
  EXPECT_EQ(Histogram::BeginOf(1), 1024u);
  EXPECT_EQ(Histogram::BeginOf(Histogram::kBuckets - 1), std::uint64_t{1} << 34);
  EXPECT_EQ(Histogram::BucketOf(~std::uint64_t{0}), Histogram::kBuckets - 1);
}

TEST(LatencyPercentile, IsTheEndOfItsBucket) {
  Histogram histogram;
  EXPECT_EQ(histogram.Percentile(50), absl::ZeroDuration());
  histogram.counts[Histogram::BucketOf(3000)] = 98;   // 2560 to 3072
  histogram.counts[Histogram::BucketOf(50000)] = 1;   // 49152 to 57344
  histogram.counts[Histogram::BucketOf(900000)] = 1;  // 786432 to 917504
  EXPECT_EQ(histogram.count(), 100u);
  for (const double percent : {0.0, 1.0, 50.0, 98.0})
    EXPECT_EQ(histogram.Percentile(percent), absl::Nanoseconds(3072)) << percent;
  EXPECT_EQ(histogram.Percentile(98.5), absl::Nanoseconds(57344));
  EXPECT_EQ(histogram.Percentile(99), absl::Nanoseconds(57344));
  EXPECT_EQ(histogram.Percentile(100), absl::Nanoseconds(917504));
  Histogram slow;
  slow.counts[Histogram::kBuckets - 1] = 1;
  slow.Merge(histogram);
  EXPECT_EQ(slow.count(), 101u);
  EXPECT_EQ(slow.Percentile(100), absl::InfiniteDuration());
}

TEST(LatencyCount, AForgedTimeInTheFutureIsNoTime) {
  const auto family = SimulatedFamily::WithWorkers(GenerousSettings(3));
  Arrival arrival;
  arrival.sent_ns = 1000000;
  family->at(1).NoteLatency(arrival, 1003000);
  family->at(1).NoteLatency(arrival, 5);
  const Stats stats = family->stats(1);
  EXPECT_EQ(stats.latency.counts[Histogram::BucketOf(3000)], 1u);
  EXPECT_EQ(stats.latency.counts[0], 1u);
}

// Of small and large ones, whatever packets they are in.
TEST(LatencyTime, ArrivesWithEachAlert) {
  FamilySettings settings = GenerousSettings(3);
  settings.latency_histograms = 1;
  const auto family = SimulatedFamily::WithWorkers(settings);
  std::vector<std::uint64_t> times;
  family->on_alert = [&](int, const Arrival& arrival) { times.push_back(arrival.sent_ns); };
  std::uint64_t now = 1;
  for (const std::size_t bytes : {0u, 10u, 4040u, 4060u, 5000u, 20000u}) {
    const std::string data = MakeData(bytes);
    Content content{"n", data};
    content.flags = kHasTime;
    content.sent_ns = now++;
    Target target;
    ASSERT_TRUE(family->at(1).Resolve(To::Slot(2), &target).ok());
    Buffer copy = Buffer::Copy(data).value();
    SharedData* shared = SharedData::Create(&copy, &family->at(1).meter());
    content.data = shared->view();
    ASSERT_TRUE(family->at(1).Accept(target, content, shared, true, true).status.ok());
    shared->Release();
  }
  for (int i = 0; i < 10; ++i) {
    family->Pump(1);
    family->ReadAll(2);
  }
  EXPECT_EQ(times, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6}));
  PlainWay way;
  EXPECT_EQ(family->at(1).SendPlain(To::Slot(2), "n", {}, &way), PlainStep::kLook)
      << "no alert goes without its time";
}

}  // namespace
}  // namespace alertpipe::core
