// SPDX-License-Identifier: Apache-2.0
//
// The promise, over many seeds. `./dev simulate` goes on where this ends.
#include <gtest/gtest.h>

#include <cstdint>

#include "sim/simulate.h"

namespace alertpipe::sim {
namespace {

TEST(Family, KeepsThePromise) {
  Census census;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    SeedRun run;
    run.seed = seed;
    const Verdict verdict = Simulate(run, &census);
    ASSERT_TRUE(verdict.passed()) << "seed " << seed << ": " << verdict.violation;
  }
}

TEST(Family, ASeedIsARun) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeedRun run;
    run.seed = seed;
    Census first;
    Census second;
    const std::uint64_t digest = Simulate(run, &first).digest;
    ASSERT_EQ(digest, Simulate(run, &second).digest) << "seed " << seed;
    ASSERT_EQ(first.steps, second.steps);
    ASSERT_EQ(first.delivered, second.delivered);
  }
}

}  // namespace
}  // namespace alertpipe::sim
