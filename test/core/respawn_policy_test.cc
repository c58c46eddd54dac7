// SPDX-License-Identifier: Apache-2.0
#include "core/respawn_policy.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace alertpipe::core {
namespace {

using Decision = RespawnPolicy::Decision;

RespawnLimits Limits() {
  RespawnLimits limits;
  limits.delay_min_ms = 100;
  limits.delay_max_ms = 1500;
  limits.young_ms = 10000;
  limits.young_deaths_max = 5;
  limits.deaths_window_ms = 60000;
  return limits;
}

RespawnLimits PatientLimits() {
  RespawnLimits limits = Limits();
  limits.young_deaths_max = std::numeric_limits<std::size_t>::max() / 2;
  return limits;
}

TEST(RespawnPolicy, DelaysDoubleUpToTheMaximum) {
  RespawnPolicy policy(PatientLimits());
  std::vector<std::uint64_t> delays;
  Decision decision;
  for (int i = 0; i < 7; ++i) {
    decision = policy.Died(decision.failures, 0, 0);
    EXPECT_EQ(decision.failures, i + 1);
    delays.push_back(decision.delay_ms);
  }
  EXPECT_EQ(delays, (std::vector<std::uint64_t>{100, 200, 400, 800, 1500, 1500, 1500}));
}

TEST(RespawnPolicy, FailedForksDelayLikeDeaths) {
  const RespawnPolicy policy(PatientLimits());
  std::vector<std::uint64_t> delays;
  Decision decision;
  for (int i = 0; i < 6; ++i) {
    decision = policy.ForkFailed(decision.failures);
    delays.push_back(decision.delay_ms);
  }
  EXPECT_EQ(delays, (std::vector<std::uint64_t>{100, 200, 400, 800, 1500, 1500}));
}

TEST(RespawnPolicy, AnyNumberOfFailuresStaysAtTheMaximum) {
  RespawnLimits limits = PatientLimits();
  for (const std::uint64_t most :
       {std::uint64_t{1500}, std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max()}) {
    limits.delay_max_ms = most;
    const RespawnPolicy policy(limits);
    Decision decision;
    for (int i = 0; i < 5000; ++i) {
      const std::uint64_t before = decision.delay_ms;
      decision = policy.ForkFailed(decision.failures);
      ASSERT_GE(decision.delay_ms, before) << "failure " << i;
    }
    EXPECT_EQ(decision.delay_ms, most);
    EXPECT_EQ(policy.ForkFailed(std::numeric_limits<int>::max()).delay_ms, most);
  }
}

TEST(RespawnPolicy, NoDelayIsLegal) {
  RespawnLimits limits = PatientLimits();
  limits.delay_min_ms = 0;
  const RespawnPolicy policy(limits);
  EXPECT_EQ(policy.ForkFailed(0).delay_ms, 0u);
  EXPECT_EQ(policy.ForkFailed(900).delay_ms, 0u);
}

TEST(RespawnPolicy, AMinimumAboveTheMaximumIsTheMaximum) {
  RespawnLimits limits = PatientLimits();
  limits.delay_min_ms = 5000;
  EXPECT_EQ(RespawnPolicy(limits).ForkFailed(0).delay_ms, 1500u);
}

TEST(RespawnPolicy, ALongLifeIsReplacedAtOnceAndForgetsFailures) {
  RespawnPolicy policy(Limits());
  EXPECT_EQ(policy.Died(7, 9999, 20000).failures, 8);
  const Decision decision = policy.Died(7, 10000, 20000);
  EXPECT_EQ(decision.failures, 0);
  EXPECT_EQ(decision.delay_ms, 0u);
  EXPECT_FALSE(decision.crash_loop);
}

TEST(RespawnPolicy, OneMoreYoungDeathThanTheLimitIsACrashLoop) {
  RespawnPolicy policy(Limits());
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(policy.Died(0, 0, 1000).crash_loop) << i;
  EXPECT_TRUE(policy.Died(0, 0, 1000).crash_loop);
  EXPECT_EQ(policy.young_deaths(), 6u);
  EXPECT_TRUE(policy.Died(0, 0, 1000).crash_loop) << "it does not end by itself";
  EXPECT_EQ(policy.young_deaths(), 6u) << "memory is bounded";
}

TEST(RespawnPolicy, DeathsOfAllPlacesCountTogether) {
  RespawnPolicy policy(Limits());
  for (int place = 0; place < 5; ++place) EXPECT_FALSE(policy.Died(place, 0, 0).crash_loop);
  EXPECT_TRUE(policy.Died(0, 0, 0).crash_loop);
}

TEST(RespawnPolicy, DeathsLeaveTheWindow) {
  RespawnPolicy policy(Limits());
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_FALSE(policy.Died(0, 0, i).crash_loop);
  RespawnPolicy earlier = policy;
  EXPECT_TRUE(earlier.Died(0, 0, 59999).crash_loop) << "the first is still in the window";
  EXPECT_FALSE(policy.Died(0, 0, 60000).crash_loop) << "the first has left it";
  EXPECT_EQ(policy.young_deaths(), 5u);
  EXPECT_TRUE(policy.Died(0, 0, 60000).crash_loop);
}

TEST(RespawnPolicy, ASlowCrashLoopIsEndured) {
  RespawnPolicy policy(Limits());
  for (std::uint64_t i = 0; i < 1000; ++i)
    ASSERT_FALSE(policy.Died(1, 0, i * 12001).crash_loop) << i;
  EXPECT_EQ(policy.young_deaths(), 5u);
}

TEST(RespawnPolicy, LongLivesAndFailedForksAreNoCrashLoop) {
  RespawnPolicy policy(Limits());
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(policy.Died(0, 10000, 0).crash_loop);
    EXPECT_FALSE(policy.ForkFailed(i).crash_loop);
  }
  EXPECT_EQ(policy.young_deaths(), 0u);
}

TEST(RespawnPolicy, ALimitOfZeroEnduresNone) {
  RespawnLimits limits = Limits();
  limits.young_deaths_max = 0;
  RespawnPolicy policy(limits);
  EXPECT_FALSE(policy.Died(0, 10000, 0).crash_loop);
  EXPECT_TRUE(policy.Died(0, 9999, 0).crash_loop);
}

}  // namespace
}  // namespace alertpipe::core
