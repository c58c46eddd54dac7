// SPDX-License-Identifier: Apache-2.0
//
// The only clock of the library. It does not follow changes of the date, and is the same in all
// processes of one system, so that times may be compared across the family.

#ifndef ALERTPIPE_OS_CLOCK_H_
#define ALERTPIPE_OS_CLOCK_H_

#include <time.h>

#include <cstdint>

#include "os/calls.h"

namespace alertpipe::os {

// Nanoseconds of CLOCK_MONOTONIC. Thread-safe, no system call where the kernel offers a vDSO.
inline uint64_t MonotonicNanos() noexcept {
  timespec now = {};
  // Cannot fail with this clock and a valid pointer.
  calls().clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_CLOCK_H_
