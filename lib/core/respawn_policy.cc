// SPDX-License-Identifier: Apache-2.0
#include "core/respawn_policy.h"

#include <algorithm>

namespace alertpipe::core {
namespace {

// Far beyond any maximum, and far from what an int and a shift can hold.
constexpr int kFailuresMax = 1000;

int OneMore(int failures) { return std::min(failures, kFailuresMax - 1) + 1; }

}  // namespace

RespawnPolicy::Decision RespawnPolicy::Died(int failures, std::uint64_t lived_ms,
                                            std::uint64_t now_ms) {
  Decision decision;
  if (lived_ms >= limits_.young_ms) return decision;
  // One that is exactly as old as the window is wide has left it.
  while (!young_deaths_.empty() && now_ms - young_deaths_.front() >= limits_.deaths_window_ms)
    young_deaths_.pop_front();
  if (young_deaths_.size() <= limits_.young_deaths_max) young_deaths_.push_back(now_ms);
  decision.crash_loop = young_deaths_.size() > limits_.young_deaths_max;
  decision.failures = OneMore(failures);
  decision.delay_ms = DelayOf(decision.failures);
  return decision;
}

RespawnPolicy::Decision RespawnPolicy::ForkFailed(int failures) const {
  Decision decision;
  decision.failures = OneMore(failures);
  decision.delay_ms = DelayOf(decision.failures);
  return decision;
}

std::uint64_t RespawnPolicy::DelayOf(int failures) const {
  std::uint64_t delay = limits_.delay_min_ms;
  for (int i = 1; i < failures && delay < limits_.delay_max_ms; ++i) {
    if (delay > limits_.delay_max_ms / 2) return limits_.delay_max_ms;
    delay *= 2;
  }
  return std::min(delay, limits_.delay_max_ms);
}

}  // namespace alertpipe::core
