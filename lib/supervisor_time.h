// SPDX-License-Identifier: Apache-2.0
//
// Milliseconds, as the supervisor counts them.
#ifndef ALERTPIPE_SUPERVISOR_TIME_H_
#define ALERTPIPE_SUPERVISOR_TIME_H_

#include <cstdint>
#include <limits>

#include <absl/time/time.h>

#include "os/clock.h"

namespace alertpipe::internal {

inline constexpr std::uint64_t kNeverMs = std::numeric_limits<std::uint64_t>::max();

inline std::uint64_t NowMs() { return os::MonotonicNanos() / 1000000; }

// Rounded up; kNeverMs for more than a hundred years.
inline std::uint64_t ToMs(absl::Duration duration) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 100);
  if (duration >= kLongest) return kNeverMs;
  return static_cast<std::uint64_t>(
      absl::ToInt64Milliseconds(absl::Ceil(duration, absl::Milliseconds(1))));
}

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_SUPERVISOR_TIME_H_
