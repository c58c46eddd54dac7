// SPDX-License-Identifier: Apache-2.0
//
// When a place in the family that has become empty is filled again. Each place counts the attempts
// that failed in a row: forks that failed, and workers that died young. The count belongs to the
// place and not to the family, so that one place that keeps failing does not slow the others down.
//
//   failures   0   1     2         3         ...
//   delay      0   min   2 * min   4 * min   ... max
//
// A worker that has lived long enough has proved that the program can run: its successor starts
// with a count of 0. Young deaths of all places together are what a crash loop is made of: more of
// them within the window than the limit, and it is of no use to go on. A fork that fails says
// nothing about the program, so it is retried for as long as it takes.
//
// Times are milliseconds of any clock that does not go back.
#ifndef ALERTPIPE_CORE_RESPAWN_POLICY_H_
#define ALERTPIPE_CORE_RESPAWN_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <deque>

namespace alertpipe::core {

struct RespawnLimits {
  std::uint64_t delay_min_ms = 0;
  std::uint64_t delay_max_ms = 0;
  std::uint64_t young_ms = 0;        // a worker that dies before this age dies young
  std::size_t young_deaths_max = 0;  // so many within the window are endured
  std::uint64_t deaths_window_ms = 0;
};

class RespawnPolicy {
 public:
  struct Decision {
    bool crash_loop = false;     // do not try again
    int failures = 0;            // the count that the place now has
    std::uint64_t delay_ms = 0;  // from now
  };

  explicit RespawnPolicy(const RespawnLimits& limits) : limits_(limits) {}

  // The worker of a place whose count is `failures` has died, `lived_ms` after its start.
  Decision Died(int failures, std::uint64_t lived_ms, std::uint64_t now_ms);
  Decision ForkFailed(int failures) const;

  const RespawnLimits& limits() const { return limits_; }
  // Young deaths within the window, as of the last one.
  std::size_t young_deaths() const { return young_deaths_.size(); }

 private:
  std::uint64_t DelayOf(int failures) const;

  const RespawnLimits limits_;
  std::deque<std::uint64_t> young_deaths_;  // when; at most young_deaths_max + 1
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_RESPAWN_POLICY_H_
