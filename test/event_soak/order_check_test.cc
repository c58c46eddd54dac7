// SPDX-License-Identifier: Apache-2.0
//
// The proof of one order, on logs that are made by hand and at random.
#include "event_soak/order_check.h"

#include <algorithm>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace alertpipe::event_soak {
namespace {

// Event 12 is the second of publisher 1.
Entry EventOf(int name) { return {name / 10, 1, static_cast<std::uint32_t>(name % 10)}; }

std::string VerdictOn(std::initializer_list<std::vector<int>> logs) {
  OrderCheck check;
  for (const std::vector<int>& log : logs) {
    check.Begin(std::string(1, static_cast<char>('A' + check.logs())));
    for (const int event : log) check.Add(EventOf(event));
  }
  return check.Verdict();
}

TEST(OrderCheck, LogsThatAgree) {
  EXPECT_EQ(VerdictOn({}), "");
  EXPECT_EQ(VerdictOn({{}, {11}, {}}), "");
  EXPECT_EQ(VerdictOn({{11, 21, 12}, {11, 21, 12}}), "");
}

// They need not have anything in common.
TEST(OrderCheck, GapsAreNoContradiction) {
  EXPECT_EQ(VerdictOn({{11, 12}, {21, 22}}), "");
  EXPECT_EQ(VerdictOn({{11, 21, 31}, {11, 31}, {21, 31}, {11, 21}}), "");
  EXPECT_EQ(VerdictOn({{11, 31}, {21, 31, 41}, {11, 21, 41}}), "");
}

TEST(OrderCheck, TwoThatAreExchanged) {
  EXPECT_EQ(VerdictOn({{11, 21}, {21, 11}}), "A has 1.1#1 before 2.1#1, B has 2.1#1 before 1.1#1");
  EXPECT_NE(VerdictOn({{31, 11, 32, 21, 33}, {31, 32, 33}, {21, 32, 11}}), "");
}

// No two of these logs contradict each other.
TEST(OrderCheck, ACircleOfThree) {
  EXPECT_EQ(VerdictOn({{11, 21}, {21, 31}, {31, 11}}),
            "A has 1.1#1 before 2.1#1, C has 3.1#1 before 1.1#1, B has 2.1#1 before 3.1#1");
}

TEST(OrderCheck, AnEventThatIsTwiceInALog) { EXPECT_NE(VerdictOn({{11, 21, 11}, {11}}), ""); }

// Parts of one long order agree; with any two neighbours that two logs have exchanged they do not.
TEST(OrderCheck, OneExchangeAmongMany) {
  std::mt19937 random(1);
  std::vector<Entry> order;
  std::uint32_t numbers[9] = {};
  for (int i = 0; i < 2000; ++i) {
    const int slot = 1 + static_cast<int>(random() % 8);
    order.push_back({slot, 1, ++numbers[slot]});
  }
  for (int run = 0; run < 50; ++run) {
    std::vector<std::vector<Entry>> logs(6);
    for (const Entry& event : order) {
      for (auto& log : logs) {
        if (random() % 10 != 0) log.push_back(event);
      }
    }
    const bool exchanged = run % 2 == 1;
    if (exchanged) {
      // The first log has all, the last one all but in another order.
      logs.front() = order;
      const std::size_t at = random() % (logs.back().size() - 1);
      std::swap(logs.back()[at], logs.back()[at + 1]);
    }
    OrderCheck check;
    for (const auto& log : logs) {
      check.Begin("log");
      for (const Entry& event : log) check.Add(event);
    }
    EXPECT_EQ(check.Verdict().empty(), !exchanged) << "run " << run;
    EXPECT_EQ(check.events(), order.size());
  }
}

}  // namespace
}  // namespace alertpipe::event_soak
