// SPDX-License-Identifier: Apache-2.0
//
// The simulator notices: each broken rule is found within a thousand seeds, all of which pass with
// all rules kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "sim/simulate.h"

namespace alertpipe::sim {
namespace {

constexpr std::uint64_t kSeeds = 1000;

std::string Text(std::string_view view) { return std::string(view); }

class CanaryTest : public testing::TestWithParam<Canary> {};

TEST_P(CanaryTest, IsCaught) {
  Census census;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SeedRun run;
    run.seed = seed;
    run.canary = GetParam();
    const Verdict verdict = Simulate(run, &census);
    if (verdict.passed()) continue;
    std::printf("%s: caught at seed %llu: %s\n", Text(ToString(GetParam())).c_str(),
                static_cast<unsigned long long>(seed), verdict.violation.c_str());
    RecordProperty("seed", std::to_string(seed));
    return;
  }
  FAIL() << ToString(GetParam()) << " was not caught in " << kSeeds << " seeds";
}

std::string CaseName(const testing::TestParamInfo<Canary>& canary) {
  std::string name = Text(ToString(canary.param));
  name.erase(std::remove(name.begin(), name.end(), ' '), name.end());
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, CanaryTest, testing::ValuesIn(kCanaries), CaseName);

TEST(Canary, TheUnbrokenPassTheSameSeeds) {
  Census census;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SeedRun run;
    run.seed = seed;
    const Verdict verdict = Simulate(run, &census);
    ASSERT_TRUE(verdict.passed()) << "seed " << seed << ": " << verdict.violation;
  }
}

}  // namespace
}  // namespace alertpipe::sim
