// SPDX-License-Identifier: Apache-2.0
//
// libuv's lasting descriptors are no leak where the executable has the warm-up.
#include <gtest/gtest.h>
#include <uv.h>

namespace {

TEST(UvWarmUp, LoopLeavesNothing) {
  uv_loop_t loop;
  ASSERT_EQ(uv_loop_init(&loop), 0);
  EXPECT_EQ(uv_loop_close(&loop), 0);
}

}  // namespace
