// SPDX-License-Identifier: Apache-2.0
//
// The same families on simulated pipes and on pipes of the kernel. Every result goes into the
// digest of a run: what each write took, which found the pipe full, where runs were cut, what each
// read returned and whether it was short, what arrived. So equal digests mean that they agree on
// all of it.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "sim/simulate.h"

namespace alertpipe::sim {
namespace {

TEST(Replay, SimulatedAndRealPipesAgree) {
  Census all;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SeedRun run;
    run.seed = seed;
    Census census[2];
    const Verdict simulated = Simulate(run, &census[0]);
    run.real_pipes = true;
    const Verdict real = Simulate(run, &census[1]);
    ASSERT_TRUE(real.passed()) << "seed " << seed << ": " << real.violation;
    ASSERT_EQ(simulated.digest, real.digest) << "seed " << seed;
    ASSERT_EQ(std::memcmp(&census[0], &census[1], sizeof(Census)), 0) << "seed " << seed;
    all.Add(census[1]);
  }
  EXPECT_GT(all.eagain_full, 10000u);
  EXPECT_GT(all.torn_runs, 1000u);
  EXPECT_GT(all.drained, 100u);
  EXPECT_GT(all.late_writes, 0u);
}

}  // namespace
}  // namespace alertpipe::sim
