// SPDX-License-Identifier: Apache-2.0
#include "core/events/subscription_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace alertpipe::core {
namespace {

class Table : public testing::Test {
 protected:
  SubscriptionId Add(std::string_view source, std::string_view name, const std::string& letter) {
    return table.Add(
        source, name, [this, letter](const Event&) { called += letter; }, nullptr);
  }
  std::string Call(std::string_view source, std::string_view name) {
    called.clear();
    const Event event{source, name, {}, {}, 0, false};
    count = table.ForEach(source, name,
                          [&](SubscriptionTable::Subscription& one) { one.on_event(event); });
    return called;
  }
  std::string CallAll() {
    called.clear();
    table.ForAll([&](SubscriptionTable::Subscription& one) { one.on_event(Event()); });
    return called;
  }

  SubscriptionTable table;
  std::string called;
  std::size_t count = 0;
};

TEST_F(Table, FromTheGeneralToTheParticular) {
  Add("s", "e", "c");
  Add("s", kAny, "b");
  Add(kAny, kAny, "a");
  Add("s", "f", "x");
  Add("t", kAny, "y");
  Add("s", "e", "d");
  EXPECT_EQ(Call("s", "e"), "abcd");
  EXPECT_EQ(count, 4u);
  EXPECT_EQ(Call("s", "other"), "ab");
  EXPECT_EQ(Call("t", "e"), "ay");
  EXPECT_EQ(Call("nobody", "e"), "a");
  EXPECT_EQ(CallAll().size(), 6u);
  EXPECT_EQ(table.size(), 6u);
}

TEST_F(Table, RemovesOneAndNoOther) {
  const SubscriptionId first = Add("s", "e", "a");
  Add("s", "e", "b");
  const SubscriptionId any = Add(kAny, kAny, "c");
  EXPECT_TRUE(table.Remove(first));
  EXPECT_FALSE(table.Remove(first));
  EXPECT_FALSE(table.Remove(77));
  EXPECT_EQ(Call("s", "e"), "cb");
  EXPECT_TRUE(table.Remove(any));
  EXPECT_EQ(Call("s", "e"), "b");
  EXPECT_EQ(Call("t", "e"), "");
  EXPECT_EQ(count, 0u);
}

TEST_F(Table, WhoComesDuringADispatchIsNotCalledInIt) {
  table.Add(
      "s", "e",
      [this](const Event&) {
        called += "a";
        Add("s", "e", "n");
        Add(kAny, kAny, "m");
        for (int i = 0; i < 100; ++i) Add("s", "e" + std::to_string(i), "x");
      },
      nullptr);
  EXPECT_EQ(Call("s", "e"), "a");
  EXPECT_EQ(Call("s", "e").substr(0, 3), "man");
}

TEST_F(Table, WhoGoesDuringADispatchIsNotCalledAnyMore) {
  SubscriptionId own = 0;
  SubscriptionId later = 0;
  auto kept = std::make_shared<int>(7);
  own = table.Add(
      "s", "e",
      [&, kept](const Event&) {
        EXPECT_TRUE(table.Remove(own));
        EXPECT_FALSE(table.Remove(own));
        EXPECT_TRUE(table.Remove(later));
        EXPECT_EQ(*kept, 7) << "what runs is kept until it has returned";
        EXPECT_EQ(CallAll(), "c");
        called += "a";
      },
      nullptr);
  later = Add("s", "e", "b");
  Add("s", "e", "c");
  EXPECT_EQ(Call("s", "e"), "cac");
  EXPECT_EQ(kept.use_count(), 1);
  EXPECT_EQ(Call("s", "e"), "c");
}

TEST_F(Table, AllMayGoWhileAllAreCalled) {
  Add("s", "e", "a");
  table.Add(
      "s", "e", [this](const Event&) { table.Clear(); }, nullptr);
  Add("s", "e", "b");
  EXPECT_LE(CallAll().size(), 2u);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(Call("s", "e"), "");
  table.Clear();
}

TEST_F(Table, DispatchesMayBeNested) {
  SubscriptionId inner = 0;
  const auto nest = [&](const Event& event) {
    if (event.name != "outer") return;
    EXPECT_EQ(Call("s", "inner"), "i");
    CallAll();
    EXPECT_TRUE(table.Remove(inner));
    EXPECT_EQ(Call("s", "inner"), "") << "it is gone, and not swept yet";
  };
  table.Add("s", "outer", nest, nullptr);
  inner = Add("s", "inner", "i");
  const Event event{"s", "outer", {}, {}, 0, false};
  table.ForEach("s", "outer", [&](SubscriptionTable::Subscription& one) { one.on_event(event); });
  EXPECT_EQ(table.size(), 1u);
}

// Whoever is called first removes all others, and a dispatch to all runs in a dispatch to all.
TEST_F(Table, WhoIsCalledFirstRemovesTheOthers) {
  std::vector<SubscriptionId> ids;
  int calls = 0;
  bool outer = true;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(table.Add(
        "s", "e",
        [&, i](const Event&) {
          if (!std::exchange(outer, false)) return;
          ++calls;
          table.ForAll([](SubscriptionTable::Subscription&) {});
          for (int j = 0; j < 5; ++j) {
            if (j == i) continue;
            EXPECT_TRUE(table.Remove(ids[static_cast<std::size_t>(j)]));
          }
          outer = true;
        },
        nullptr));
  }
  CallAll();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(table.size(), 1u);
}

TEST_F(Table, ASourceStaysForAsLongAsAnyOfItIsWanted) {
  const SubscriptionId any = Add("s", kAny, "a");
  const SubscriptionId one = Add("s", "e", "b");
  EXPECT_TRUE(table.Remove(one));
  EXPECT_EQ(table.names(), 1u);
  EXPECT_EQ(Call("s", "e"), "a");
  const SubscriptionId again = Add("s", "e", "c");
  EXPECT_TRUE(table.Remove(any));
  EXPECT_EQ(table.names(), 1u);
  EXPECT_EQ(Call("s", "e"), "c");
  EXPECT_TRUE(table.Remove(again));
  EXPECT_EQ(table.names(), 0u);
}

// What a callback owns may use the table while it is destroyed.
TEST_F(Table, WhatACallbackOwnsMayUnsubscribe) {
  struct Owner {
    SubscriptionTable* table;
    SubscriptionId id;
    ~Owner() { table->Remove(id); }
  };
  const SubscriptionId other = Add("s", "e", "a");
  auto owner = std::make_shared<Owner>(Owner{&table, other});
  const SubscriptionId id = table.Add(
      "s", "e", [owner](const Event&) {}, nullptr);
  owner.reset();
  EXPECT_TRUE(table.Remove(id));
  EXPECT_EQ(table.size(), 0u);
}

TEST_F(Table, NamesThatNobodyWantsAnyMoreAreForgotten) {
  for (int i = 0; i < 1000; ++i) {
    const std::string name = std::to_string(i);
    EXPECT_TRUE(table.Remove(Add(name, name, "a")));
    EXPECT_TRUE(table.Remove(Add(name, kAny, "a")));
  }
  EXPECT_EQ(table.names(), 0u);
}

}  // namespace
}  // namespace alertpipe::core
