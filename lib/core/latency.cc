// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/latency.h>

#include <algorithm>
#include <numeric>

namespace alertpipe {

std::size_t LatencyHistogram::BucketOf(std::uint64_t nanoseconds) {
  if (nanoseconds < std::uint64_t{1} << kFloorBits) return 0;
  const int bits = 63 - __builtin_clzll(nanoseconds);
  if (bits >= kCeilingBits) return kBuckets - 1;
  // The two bits below the first one.
  const auto quarter = static_cast<std::size_t>(nanoseconds >> (bits - 2) & 3);
  return 1 + 4 * static_cast<std::size_t>(bits - kFloorBits) + quarter;
}

std::uint64_t LatencyHistogram::BeginOf(std::size_t bucket) {
  if (bucket == 0) return 0;
  const std::uint64_t octave = std::uint64_t{1} << (kFloorBits + (bucket - 1) / 4);
  return octave + octave / 4 * ((bucket - 1) % 4);
}

std::uint64_t LatencyHistogram::count() const {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

absl::Duration LatencyHistogram::Percentile(double percent) const {
  const std::uint64_t all = count();
  if (all == 0) return absl::ZeroDuration();
  const double share = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(all);
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket + 1 < kBuckets; ++bucket) {
    below += counts[bucket];
    if (below > 0 && static_cast<double>(below) >= share)
      return absl::Nanoseconds(BeginOf(bucket + 1));
  }
  return absl::InfiniteDuration();
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) counts[bucket] += other.counts[bucket];
}

}  // namespace alertpipe
