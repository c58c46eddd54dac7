// SPDX-License-Identifier: Apache-2.0
//
// Counts alerts in the process that receives them. The clock is read once in a number of alerts;
// the rate is taken between the first and the last of these readings that lie in the window, and
// so over alerts that were counted exactly.
#ifndef ALERTPIPE_BENCH_METER_H_
#define ALERTPIPE_BENCH_METER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "board.h"

namespace alertpipe::bench {

class Meter {
 public:
  Meter(const Window& window, std::uint64_t alerts_per_reading)
      : window_(window), step_(alerts_per_reading), next_(alerts_per_reading) {}

  void Count() {
    if (++count_ == next_) Read(NowNs());
  }

  // With a clock that has been read anyway.
  void CountAt(std::int64_t now_ns) {
    ++count_;
    Read(now_ns);
  }

  // As far as the latest reading knows.
  bool is_over() const { return now_ns_ > window_.end_ns; }

  double PerSecond() const {
    if (last_ns_ <= first_ns_) return 0;
    return static_cast<double>(last_count_ - first_count_) * 1e9 /
           static_cast<double>(last_ns_ - first_ns_);
  }

 private:
  void Read(std::int64_t now_ns) {
    next_ = count_ + step_;
    now_ns_ = now_ns;
    if (now_ns < window_.begin_ns || now_ns > window_.end_ns) return;
    if (first_ns_ == 0) {
      first_ns_ = now_ns;
      first_count_ = count_;
    }
    last_ns_ = now_ns;
    last_count_ = count_;
  }

  Window window_;
  std::uint64_t step_;
  std::uint64_t next_;
  std::uint64_t count_ = 0;
  std::int64_t now_ns_ = 0;
  std::int64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::uint64_t first_count_ = 0;
  std::uint64_t last_count_ = 0;
};

// Every latency of a window, kept as it is: percentiles are exact.
class Latencies {
 public:
  // 32 MiB, some ten seconds of the fastest round trips there are; what comes later is not kept.
  static constexpr std::size_t kSamplesMax = 8388608;

  // The memory is touched here, not while measuring.
  void Allocate() {
    samples_.resize(kSamplesMax);
    samples_.clear();
  }

  void Add(std::int64_t ns) {
    if (samples_.size() < samples_.capacity()) {
      samples_.push_back(
          static_cast<std::uint32_t>(std::min<std::int64_t>(ns, std::int64_t{UINT32_MAX})));
    }
  }

  // In microseconds; 0 without samples. Reorders the samples.
  double Percentile(double percent) {
    if (samples_.empty()) return 0;
    const double rank = percent / 100 * static_cast<double>(samples_.size() - 1);
    const auto at = samples_.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(samples_.begin(), at, samples_.end());
    return static_cast<double>(*at) / 1000;
  }

 private:
  std::vector<std::uint32_t> samples_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_METER_H_
