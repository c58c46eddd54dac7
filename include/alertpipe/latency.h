// SPDX-License-Identifier: Apache-2.0
//
// How long alerts took from the call that sent them to their handler.
#ifndef ALERTPIPE_LATENCY_H_
#define ALERTPIPE_LATENCY_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include <absl/time/time.h>

#include <alertpipe/export.h>

namespace alertpipe {

// Counts of alerts by their latency, four buckets for each doubling, so that what is read from it
// is at most a quarter too high. Kept where MasterOptions::latency_histograms is set; all zero
// elsewhere. Copyable.
//
// The first bucket holds what took less than 1.024 us, the last what took 17 s (2^34 ns) or more.
class ALERTPIPE_EXPORT LatencyHistogram {
 public:
  static constexpr int kFloorBits = 10;
  static constexpr int kCeilingBits = 34;
  static constexpr std::size_t kBuckets = 4 * (kCeilingBits - kFloorBits) + 2;

  // The bucket of a latency, and the latency at which a bucket begins.
  static std::size_t BucketOf(std::uint64_t nanoseconds);
  static std::uint64_t BeginOf(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> counts{};

  // Alerts in all.
  std::uint64_t count() const;
  // The latency that `percent` (0 to 100) of the alerts stayed below, as the end of the bucket in
  // which that one is; of the last bucket absl::InfiniteDuration(). Zero when there are no alerts.
  absl::Duration Percentile(double percent) const;
  // Adds another process's.
  void Merge(const LatencyHistogram& other);

  friend bool operator==(const LatencyHistogram& a, const LatencyHistogram& b) {
    return a.counts == b.counts;
  }
};

}  // namespace alertpipe

#endif  // ALERTPIPE_LATENCY_H_
