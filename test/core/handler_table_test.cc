// SPDX-License-Identifier: Apache-2.0
//
// No Alert is needed here: handlers are told apart by address and by what they own.
#include "core/handler_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace alertpipe::core {
namespace {

// A handler that owns a token, so that its end shows.
class Owned {
 public:
  Handler Make() {
    auto token = std::make_shared<int>(0);
    token_ = token;
    return [token](Alert&) {};
  }
  bool lives() const { return !token_.expired(); }

 private:
  std::weak_ptr<int> token_;
};

TEST(HandlerTable, FindsByNameThenTheDefault) {
  HandlerTable table;
  EXPECT_EQ(table.Begin("a"), nullptr);
  table.End();
  Owned a;
  Owned other;
  table.Set("a", a.Make());
  table.SetDefault(other.Make());
  Handler* named = table.Begin("a");
  table.End();
  Handler* fallback = table.Begin("b");
  table.End();
  EXPECT_NE(named, nullptr);
  EXPECT_NE(fallback, nullptr);
  EXPECT_NE(named, fallback);
  EXPECT_EQ(table.Begin("c"), fallback);
  table.End();
}

TEST(HandlerTable, WhatIsWithheldIsNotTheDefaults) {
  HandlerTable table;
  Owned fallback;
  Owned own;
  table.SetDefault(fallback.Make());
  EXPECT_NE(table.Begin("a"), nullptr);
  table.End();
  table.Withhold("a");
  EXPECT_EQ(table.Begin("a"), nullptr);
  table.End();
  EXPECT_EQ(table.Begin("a"), nullptr);
  table.End();
  EXPECT_NE(table.Begin("b"), nullptr);
  table.End();
  table.Set("a", own.Make());
  table.Withhold("a");
  EXPECT_NE(table.Begin("a"), nullptr);
  table.End();
}

TEST(HandlerTable, NamesAreAnyBytes) {
  HandlerTable table;
  Owned empty;
  Owned zeros;
  table.Set("", empty.Make());
  table.Set(std::string_view("a\0b", 3), zeros.Make());
  EXPECT_NE(table.Begin(""), nullptr);
  table.End();
  EXPECT_NE(table.Begin(std::string_view("a\0b", 3)), nullptr);
  table.End();
  EXPECT_EQ(table.Begin("a"), nullptr);
  table.End();
}

// The last one that was found is remembered: nothing that happens to the table may be missed.
TEST(HandlerTable, FindsWhatHasChangedSinceTheLastTime) {
  HandlerTable table;
  const auto find = [&](std::string_view name) {
    Handler* found = table.Begin(name);
    table.End();
    return found;
  };
  Owned first;
  Owned second;
  table.Set("a", first.Make());
  Handler* before = find("a");
  EXPECT_EQ(find("a"), before);
  EXPECT_EQ(find("b"), nullptr);
  EXPECT_EQ(find(""), nullptr);
  for (int i = 0; i < 1000; ++i) table.Set(std::to_string(i), [](Alert&) {});
  EXPECT_EQ(find("a"), before);
  table.Set("a", second.Make());
  EXPECT_FALSE(first.lives());
  EXPECT_NE(find("a"), nullptr);
  EXPECT_TRUE(second.lives());
  EXPECT_TRUE(table.Remove("a"));
  EXPECT_EQ(find("a"), nullptr);
  table.Set("a", first.Make());
  EXPECT_NE(find("a"), nullptr);
  table.Clear();
  EXPECT_EQ(find("a"), nullptr);
}

TEST(HandlerTable, ReplacingAndRemovingFreeAtOnceWhatDoesNotRun) {
  HandlerTable table;
  Owned first;
  Owned second;
  table.Set("a", first.Make());
  table.Set("a", second.Make());
  EXPECT_FALSE(first.lives());
  EXPECT_TRUE(second.lives());
  EXPECT_TRUE(table.Remove("a"));
  EXPECT_FALSE(second.lives());
  EXPECT_FALSE(table.Remove("a"));
  EXPECT_EQ(table.Begin("a"), nullptr);
  table.End();
}

TEST(HandlerTable, ANullHandlerRemoves) {
  HandlerTable table;
  Owned named;
  Owned fallback;
  table.Set("a", named.Make());
  table.SetDefault(fallback.Make());
  table.Set("a", nullptr);
  EXPECT_FALSE(named.lives());
  table.Set("never there", nullptr);
  EXPECT_TRUE(fallback.lives());
  table.SetDefault(nullptr);
  EXPECT_FALSE(fallback.lives());
}

// Everything a running handler can do to its own entry: it lives until End, then no longer.
TEST(HandlerTable, WhatRunsIsKeptUntilItHasReturned) {
  for (int way = 0; way < 6; ++way) {
    HandlerTable table;
    Owned running;
    Owned successor;
    const bool is_default = way >= 4;
    if (is_default) {
      table.SetDefault(running.Make());
    } else {
      table.Set("a", running.Make());
    }
    Handler* handler = table.Begin("a");
    ASSERT_NE(handler, nullptr);
    switch (way) {
      case 0:
        EXPECT_TRUE(table.Remove("a"));
        break;
      case 1:
        table.Set("a", successor.Make());
        break;
      case 2:
        table.Set("a", successor.Make());
        table.Set("a", nullptr);
        EXPECT_FALSE(successor.lives());
        break;
      case 3:
        table.Clear();
        break;
      case 4:
        table.SetDefault(nullptr);
        break;
      default:
        table.Clear();
        table.SetDefault(successor.Make());
    }
    EXPECT_TRUE(running.lives()) << way;
    EXPECT_TRUE(static_cast<bool>(*handler));
    table.End();
    EXPECT_FALSE(running.lives()) << way;
    const bool has_successor = way == 1 || way == 5;
    EXPECT_EQ(table.Begin("a") != nullptr, has_successor) << way;
    table.End();
  }
}

TEST(HandlerTable, GrowthDoesNotMoveWhatRuns) {
  HandlerTable table;
  Owned running;
  table.Set("a", running.Make());
  Handler* handler = table.Begin("a");
  for (int i = 0; i < 1000; ++i) table.Set("x" + std::to_string(i), [](Alert&) {});
  EXPECT_TRUE(static_cast<bool>(*handler));
  table.End();
  EXPECT_EQ(table.Begin("a"), handler);
  table.End();
}

// What a handler owns may use the table in its destructor.
TEST(HandlerTable, DestructionMayComeBack) {
  struct CallsBack {
    HandlerTable* table;
    ~CallsBack() {
      table->Remove("b");
      table->Set("c", [](Alert&) {});
    }
  };
  HandlerTable table;
  table.Set("b", [](Alert&) {});
  table.Set("a", [token = std::make_shared<CallsBack>(CallsBack{&table})](Alert&) {});
  EXPECT_TRUE(table.Remove("a"));
  EXPECT_EQ(table.Begin("b"), nullptr);
  table.End();
  EXPECT_NE(table.Begin("c"), nullptr);
  table.End();
}

TEST(HandlerTableDeathTest, HandlersDoNotNest) {
  HandlerTable table;
  table.Set("a", [](Alert&) {});
  table.Begin("a");
  EXPECT_DEATH(table.Begin("a"), "inside a handler");
  table.End();
}

}  // namespace
}  // namespace alertpipe::core
