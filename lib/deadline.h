// SPDX-License-Identifier: Apache-2.0
//
// Deadlines as the application gives them, a time from now, and as they are kept: nanoseconds of
// os::MonotonicNanos, or core::kNever.
#ifndef ALERTPIPE_DEADLINE_H_
#define ALERTPIPE_DEADLINE_H_

#include <cstdint>

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "core/request_table.h"
#include "os/clock.h"

namespace alertpipe::internal {

// What is further away never comes: about 100 years.
inline constexpr std::int64_t kDeadlineNanosMax = std::int64_t{3155760000} * 1000000000;

inline absl::Status CheckDeadline(absl::Duration deadline) {
  if (deadline > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the deadline must be above zero, was ", absl::FormatDuration(deadline)));
}

inline std::uint64_t DeadlineAt(absl::Duration deadline) {
  if (deadline >= absl::Nanoseconds(kDeadlineNanosMax)) return core::kNever;
  return os::MonotonicNanos() + static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(deadline));
}

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_DEADLINE_H_
