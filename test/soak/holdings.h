// SPDX-License-Identifier: Apache-2.0
//
// What a process holds, and whether that grows. Samples are taken at quiet points, when nothing is
// queued and nothing half received: so they should all be alike, but for what the library keeps
// for reuse, which is bounded. Growth: the least of the last third of the samples is above the most
// of the first third (after a warm-up) by more than the slack.
#ifndef ALERTPIPE_TEST_SOAK_HOLDINGS_H_
#define ALERTPIPE_TEST_SOAK_HOLDINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace alertpipe::soak {

// Sanitizers keep what was freed, and have an allocator of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kMeasuresMemory = false;
#elif defined(__has_feature)
inline constexpr bool kMeasuresMemory =
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
inline constexpr bool kMeasuresMemory = true;
#endif

struct Holdings {
  std::uint64_t heap_bytes = 0;   // in use, as the allocator says
  std::uint64_t rss_bytes = 0;    // anonymous
  std::uint64_t descriptors = 0;  // open ones
};

Holdings MeasureOwn();

class Growth {
 public:
  void Add(const Holdings& sample);
  // Empty, or what has grown.
  std::string Verdict() const;
  // Bytes, least of the last third less most of the first.
  std::int64_t heap_growth() const { return Grown(&Holdings::heap_bytes); }
  std::int64_t rss_growth() const { return Grown(&Holdings::rss_bytes); }
  std::size_t samples() const { return samples_.size(); }
  Holdings most() const;

 private:
  std::int64_t Grown(std::uint64_t Holdings::*what) const;

  std::vector<Holdings> samples_;  // at most kSamplesMax, of every step_-th quiet point
  std::uint64_t step_ = 1;
  std::uint64_t seen_ = 0;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_HOLDINGS_H_
