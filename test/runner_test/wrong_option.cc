// SPDX-License-Identifier: Apache-2.0
//
// An executable whose time limit names no case: it may not start.
#include <gtest/gtest.h>

#include "runner/test_case.h"

namespace {

TEST(Lonely, Passes) {}
ALERTPIPE_TIME_LIMIT(Lonely, Misspelt, 1);

}  // namespace
