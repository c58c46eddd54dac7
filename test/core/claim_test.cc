// SPDX-License-Identifier: Apache-2.0
#include "core/claim.h"

#include <gtest/gtest.h>

namespace alertpipe::core {
namespace {

TEST(Claim, TheFirstProcessHasIt) {
  Claim claim;
  claim.Open(3);
  EXPECT_EQ(claim.holder(3), Claim::kNobody);
  EXPECT_EQ(claim.Take(3, 100), 100u);
  EXPECT_EQ(claim.Take(3, 101), 100u);
  EXPECT_EQ(claim.holder(3), 100u);
  EXPECT_EQ(claim.Withdraw(3), 100u) << "too late";
  EXPECT_EQ(claim.holder(3), 100u);
}

TEST(Claim, WithdrawnItIsNobodys) {
  Claim claim;
  claim.Open(3);
  EXPECT_EQ(claim.Withdraw(3), Claim::kWithdrawn);
  EXPECT_EQ(claim.Take(3, 100), Claim::kWithdrawn);
  EXPECT_EQ(claim.Withdraw(3), Claim::kWithdrawn);
  EXPECT_EQ(claim.holder(3), Claim::kWithdrawn);
}

TEST(Claim, LateComersOfAnEarlierGenerationGetNothing) {
  Claim claim;
  claim.Open(3);
  claim.Withdraw(3);
  claim.Open(4);
  EXPECT_EQ(claim.Take(3, 100), Claim::kWithdrawn);
  EXPECT_EQ(claim.holder(4), Claim::kNobody) << "and spoil nothing";
  EXPECT_EQ(claim.Take(4, 101), 101u);
  EXPECT_EQ(claim.holder(3), Claim::kWithdrawn);
}

TEST(Claim, FreshMemoryIsNoOpenClaim) {
  Claim claim;
  EXPECT_EQ(claim.Take(1, 100), Claim::kWithdrawn);
}

}  // namespace
}  // namespace alertpipe::core
