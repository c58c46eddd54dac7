// SPDX-License-Identifier: Apache-2.0
//
// One seed, from its plan to its verdict.
#ifndef ALERTPIPE_TEST_SIM_SIMULATE_H_
#define ALERTPIPE_TEST_SIM_SIMULATE_H_

#include <cstdint>
#include <string>

#include "sim/canary.h"
#include "sim/census.h"

namespace alertpipe::sim {

struct Verdict {
  std::uint64_t digest = 0;  // the same for the same seed, everywhere
  std::string violation;     // empty: none
  bool passed() const { return violation.empty(); }
};

struct SeedRun {
  std::uint64_t seed = 1;
  Canary canary = Canary::kNone;
  std::uint32_t steps = 0;  // 0: as many as the seed says
  bool trace = false;
  bool real_pipes = false;  // the kernel's instead of simulated ones
};

Verdict Simulate(const SeedRun& run, Census* census);

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_SIMULATE_H_
