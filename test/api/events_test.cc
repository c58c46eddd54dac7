// SPDX-License-Identifier: Apache-2.0
//
// Events within one process: what needs no second one.
#include <alertpipe/events.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace alertpipe {
namespace {

struct CacheEvents {
  static constexpr EventName kPurge{"cache", "purge"};
};

bool Holds(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  return status.code() == code && status.ToString().find(part) != std::string::npos;
}

class LocalEvents : public testing::Test {
 protected:
  LocalEvents() { Make({}); }

  void Make(EventsOptions options) {
    events = Events::ForTesting(std::move(options)).value();
    EXPECT_TRUE(events->Ready().ok());
  }
  SubscriptionId Log(std::string_view source, std::string_view name, const std::string& letter) {
    return events
        ->Subscribe(source, name,
                    [this, letter](const Event& event) { log += letter + std::string(event.data); })
        .value();
  }
  PublishResult Publish(std::string_view source, std::string_view name,
                        std::string_view data = {}) {
    return events->Publish(Audience::All(), source, name, data);
  }

  std::unique_ptr<Events> events;
  std::string log;
};

TEST_F(LocalEvents, AreHandedOutBeforePublishReturns) {
  Log("s", "e", "a");
  const PublishResult result = Publish("s", "e", "1");
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.accepted, 1u);
  EXPECT_EQ(log, "a1");
  EXPECT_EQ(events->stats().published, 1u);
  EXPECT_EQ(events->stats().handled, 2u) << "and `started`";
}

TEST_F(LocalEvents, CallbacksAreCalledFromTheGeneralToTheParticular) {
  Log("s", "e", "c");
  Log("s", kAny, "b");
  Log(kAny, kAny, "a");
  Publish("s", "e");
  EXPECT_EQ(log, "abc");
  log.clear();
  Publish("s", "f");
  Publish("t", "e");
  EXPECT_EQ(log, "aba");
}

TEST_F(LocalEvents, TheSameCallableTwiceIsCalledTwice) {
  int calls = 0;
  const auto count = [&](const Event&) { ++calls; };
  const SubscriptionId first = events->Subscribe("s", "e", count).value();
  const SubscriptionId second = events->Subscribe("s", "e", count).value();
  EXPECT_NE(first, second);
  Publish("s", "e");
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(events->Unsubscribe(first).ok());
  Publish("s", "e");
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(Holds(events->Unsubscribe(first).status(), absl::StatusCode::kNotFound, "1"));
}

TEST_F(LocalEvents, UnsubscribeRemovesItsOwnLevelOnly) {
  const SubscriptionId all = Log(kAny, kAny, "a");
  const SubscriptionId source = Log("s", kAny, "b");
  Log("s", "e", "c");
  EXPECT_TRUE(events->Unsubscribe(source).ok());
  Publish("s", "e");
  EXPECT_EQ(log, "ac");
  EXPECT_TRUE(events->Unsubscribe(all).ok());
  log.clear();
  Publish("s", "e");
  EXPECT_EQ(log, "c");
}

TEST_F(LocalEvents, ACallbackThatThrowsIsReportedAndTheRestRuns) {
  std::string errors;
  events->OnError([&](const EventError& error) {
    errors += std::string(error.source) + "/" + std::string(error.name);
    try {
      std::rethrow_exception(error.error);
    } catch (const std::runtime_error& thrown) {
      errors += thrown.what();
    }
  });
  Log(kAny, kAny, "a");
  ASSERT_TRUE(
      events->Subscribe("s", "e", [](const Event&) { throw std::runtime_error(" broken"); }).ok());
  Log("s", "e", "b");
  Publish("s", "e");
  EXPECT_EQ(log, "ab");
  EXPECT_EQ(errors, "s/e broken");
  events->OnError(nullptr);
  Publish("s", "e");
  EXPECT_EQ(log, "abab");
  EXPECT_EQ(events->stats().callback_errors, 2u);
}

TEST_F(LocalEvents, WhatACallbackPublishesComesAfterIt) {
  ASSERT_TRUE(events
                  ->Subscribe("s", "e",
                              [this](const Event& event) {
                                log += "<" + std::string(event.data);
                                if (event.data == "1") {
                                  Publish("s", "e", "2");
                                  Publish("s", "e", "3");
                                }
                                log += ">";
                              })
                  .ok());
  Publish("s", "e", "1");
  EXPECT_EQ(log, "<1><2><3>");
}

TEST_F(LocalEvents, LocalOnesComeBeforePostedOnes) {
  ASSERT_TRUE(events
                  ->Subscribe("s", "first",
                              [this](const Event&) {
                                Publish("s", "e", "posted ");
                                events->Publish(Audience::Local(), "s", "e", "local ");
                              })
                  .ok());
  std::vector<bool> local;
  ASSERT_TRUE(events
                  ->Subscribe("s", "e",
                              [&](const Event& event) {
                                log += event.data;
                                local.push_back(event.is_local());
                              })
                  .ok());
  Publish("s", "first");
  EXPECT_EQ(log, "local posted ");
  EXPECT_EQ(local, (std::vector<bool>{true, false}));
}

TEST_F(LocalEvents, CallbacksMaySubscribeAndUnsubscribe) {
  SubscriptionId own = 0;
  SubscriptionId other = 0;
  own = events
            ->Subscribe("s", "e",
                        [&](const Event&) {
                          log += "a";
                          EXPECT_TRUE(events->Unsubscribe(own).ok());
                          EXPECT_TRUE(events->Unsubscribe(other).ok());
                          Log("s", "e", "n");
                        })
            .value();
  other = Log("s", "e", "b");
  Publish("s", "e");
  EXPECT_EQ(log, "a");
  Publish("s", "e");
  EXPECT_EQ(log, "an");
}

TEST_F(LocalEvents, ASubscriptionEndsWithItsOwner) {
  {
    ScopedSubscription scoped =
        events->SubscribeScoped("s", "e", [this](const Event&) { log += "a"; }).value();
    ScopedSubscription moved = std::move(scoped);
    Publish("s", "e");
    ScopedSubscription other =
        events->SubscribeScoped("s", "e", [this](const Event&) { log += "b"; }).value();
    other = std::move(moved);
    other = std::move(other);
    Publish("s", "e");
  }
  Publish("s", "e");
  EXPECT_EQ(log, "aa");
  ScopedSubscription late =
      events->SubscribeScoped("s", "e", [this](const Event&) { log += "c"; }).value();
  EXPECT_FALSE(events->SubscribeScoped("s", "e", nullptr).ok());
  events.reset();  // it may end before
}

TEST_F(LocalEvents, NamesMustMakeSense) {
  const std::string longest(kEventNameBytesMax, 'x');
  const std::string too_long(kEventNameBytesMax + 1, 'x');
  Log(longest, longest, "a");
  EXPECT_TRUE(Publish(longest, longest).ok());
  EXPECT_EQ(log, "a");
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_TRUE(Holds(Publish("*", "e").status(), invalid, "any"));
  EXPECT_TRUE(Holds(Publish("s", "*").status(), invalid, "any"));
  EXPECT_TRUE(Holds(Publish("", "e").status(), invalid, "source"));
  EXPECT_TRUE(Holds(Publish("s", "").status(), invalid, "event"));
  EXPECT_TRUE(Holds(Publish(too_long, "e").status(), invalid, "256"));
  EXPECT_TRUE(Holds(Publish("alertpipe", "e").status(), invalid, "library's own"));
  EXPECT_TRUE(Holds(events->Publish(Audience::All(), "s", "e", "", {too_long, false}).status(),
                    invalid, "256"));
  EXPECT_EQ(events->stats().refused, 7u);
  const auto nothing = [](const Event&) {};
  EXPECT_TRUE(Holds(events->Subscribe("s", too_long, nothing).status(), invalid, "256"));
  EXPECT_TRUE(Holds(events->Subscribe("", "e", nothing).status(), invalid, "0"));
  EXPECT_TRUE(Holds(events->Subscribe(kAny, "e", nothing).status(), invalid, "any source"));
  EXPECT_TRUE(Holds(events->Subscribe("s", "e", nullptr).status(), invalid, "callback"));
}

TEST_F(LocalEvents, DataUpToTheLimitAndNotOneByteMore) {
  EventsOptions options;
  options.data_bytes_max = 1000;
  Make(options);
  Log("s", "e", "");
  EXPECT_TRUE(Publish("s", "e", std::string(1000, 'd')).ok());
  EXPECT_EQ(log, std::string(1000, 'd'));
  EXPECT_TRUE(Holds(Publish("s", "e", std::string(1001, 'd')).status(),
                    absl::StatusCode::kInvalidArgument, "1000"));
}

TEST_F(LocalEvents, RulesMustMakeSense) {
  const auto make = [](EventRule rule) {
    EventsOptions options;
    options.rules.push_back(std::move(rule));
    return Events::ForTesting(options).status();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_TRUE(Holds(make({"s", "e", true, Overflow::kCoalesce}), invalid, "ordered"));
  EXPECT_TRUE(Holds(make({"*", "e", true, Overflow::kRefuse}), invalid, "any"));
  EXPECT_TRUE(Holds(make({"", "e", true, Overflow::kRefuse}), invalid, "1 to"));
  EXPECT_TRUE(Holds(make({"s", std::string(256, 'x'), true, Overflow::kRefuse}), invalid, "256"));
  EXPECT_TRUE(make({"s", "e", true, Overflow::kGap}).ok());
}

TEST_F(LocalEvents, OrderedOnesHavePlaces) {
  EventsOptions options;
  options.rules.push_back({"s", "*", true, Overflow::kRefuse});
  options.rules.push_back({"s", "plain", false, Overflow::kRefuse});
  options.rules.push_back({"*", "*", false, Overflow::kGap});
  Make(options);
  std::vector<std::uint64_t> places;
  ASSERT_TRUE(
      events->Subscribe("s", kAny, [&](const Event& event) { places.push_back(event.place); })
          .ok());
  Publish("s", "e");
  Publish("s", "plain");
  Publish("s", "e");
  Publish("t", "e");
  EXPECT_EQ(places, (std::vector<std::uint64_t>{1, 0, 2}));
}

TEST_F(LocalEvents, WhatIsPublishedBeforeReadyIsHeld) {
  events = Events::ForTesting().value();
  EXPECT_FALSE(events->ready());
  Log("s", "e", "a");
  Log("alertpipe", "started", "s");
  Publish("s", "e", "1");
  Publish("s", "e", "2");
  EXPECT_EQ(log, "");
  EXPECT_GT(events->stats().held_bytes, 0u);
  EXPECT_TRUE(events->Ready().ok());
  EXPECT_EQ(log, "a1a2s");
  EXPECT_TRUE(events->ready());
  EXPECT_EQ(events->Ready().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(events->stats().held_bytes, 0u);
}

TEST_F(LocalEvents, WhatIsHeldHasALimit) {
  EventsOptions options;
  options.held_bytes_max = 100;
  events = Events::ForTesting(options).value();
  EXPECT_TRUE(Publish("s", "e", std::string(60, 'd')).ok());
  EXPECT_TRUE(Holds(Publish("s", "e", std::string(60, 'd')).status(),
                    absl::StatusCode::kResourceExhausted, "held_bytes_max"));
}

TEST_F(LocalEvents, UniqueKeysAreTakenForAWhile) {
  Log("s", "e", "a");
  Log("s", "f", "b");
  EXPECT_FALSE(events->Publish(Audience::Unique("key"), "s", "e").duplicate);
  const PublishResult again = events->Publish(Audience::Unique("key"), "s", "f");
  EXPECT_TRUE(again.ok());
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.accepted, 0u);
  EXPECT_EQ(log, "a");
  EXPECT_EQ(events->stats().duplicates, 1u);
  const std::string longest(kUniqueKeyBytesMax, 'k');
  EXPECT_TRUE(events->Publish(Audience::Unique(longest), "s", "e").ok());
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_TRUE(
      Holds(events->Publish(Audience::Unique(longest + "k"), "s", "e").status(), invalid, "256"));
  EXPECT_TRUE(Holds(events->Publish(Audience::Unique(""), "s", "e").status(), invalid, "1 to"));
  EXPECT_EQ(log, "aa");
}

// What is refused has not used up its key, and the table says when it is full.
TEST_F(LocalEvents, ARefusedPublicationDoesNotConsumeItsKey) {
  Log("s", "e", "a");
  EXPECT_FALSE(events->Publish(Audience::Unique("key"), "*", "e").ok());
  EXPECT_FALSE(events->Publish(Audience::Unique("key"), "s", "e").duplicate);
  EXPECT_EQ(log, "a");
  absl::Status full;
  for (int i = 0; i < 2000 && full.ok(); ++i)
    full = events->Publish(Audience::Unique("key " + std::to_string(i)), "s", "e").status();
  EXPECT_TRUE(Holds(full, absl::StatusCode::kResourceExhausted, "unique"));
}

TEST_F(LocalEvents, ThereIsNobodyElse) {
  Log("s", "e", "a");
  const PublishResult others = events->Publish(Audience::Others(), "s", "e");
  EXPECT_TRUE(others.ok());
  EXPECT_EQ(others.accepted, 0u);
  EXPECT_EQ(events->Publish(Audience::One(To::Slot(7)), "s", "e").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(events->Publish(Audience::One(To::AnyWorker()), "s", "e").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(log, "");
  Peer self;
  ASSERT_TRUE(
      events->Subscribe("t", "e", [&](const Event& event) { self = event.publisher; }).ok());
  Publish("t", "e");
  EXPECT_TRUE(events->Publish(Audience::One(To::Slot(self.slot)), "s", "e").ok());
  EXPECT_TRUE(events->Publish(Audience::One(self), "s", "e").ok());
  EXPECT_TRUE(events->Publish(Audience::One(self.pid), "s", "e").ok());
  EXPECT_EQ(log, "aaa");
  EXPECT_EQ(events->FetchRetained(absl::Seconds(1), nullptr).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(LocalEvents, RetainedValuesHaveALimit) {
  EventsOptions options;
  options.retained_bytes_max = 200;
  Make(options);
  Log("s", kAny, "");
  PublishOptions retain;
  retain.retain = true;
  const std::string half(60, 'x');
  const auto publish = [&](std::string_view name, std::string_view data) {
    return events->Publish(Audience::All(), "s", name, data, retain);
  };
  EXPECT_TRUE(publish("a", half).ok());
  EXPECT_TRUE(publish("a", half).ok()) << "it takes its predecessor's room";
  EXPECT_TRUE(publish("b", half).ok());
  log.clear();
  const PublishResult refused = publish("c", half);
  EXPECT_TRUE(Holds(refused.status(), absl::StatusCode::kResourceExhausted,
                    "retained values are full: they may take 200 bytes "
                    "(EventsOptions::retained_bytes_max"))
      << refused.status();
  EXPECT_EQ(log, "") << "it is refused for everybody";
  EXPECT_EQ(events->stats().refused, 1u);
  EXPECT_TRUE(publish("b", "").ok());
  EXPECT_TRUE(publish("c", "").ok());
  EXPECT_TRUE(Publish("s", "d", half).ok()) << "what is not retained needs no room";
  EXPECT_EQ(events->stats().unretained, 0u);
}

TEST_F(LocalEvents, BarriersComeBehindWhatWasPublished) {
  Log("s", "e", "e");
  ASSERT_TRUE(events
                  ->Subscribe("s", "begin",
                              [this](const Event&) {
                                Publish("s", "e");
                                EXPECT_TRUE(events
                                                ->Barrier(absl::Seconds(1),
                                                          [this](const BarrierReport& report) {
                                                            EXPECT_TRUE(report.status.ok());
                                                            log += "|";
                                                          })
                                                .ok());
                                Publish("s", "e");
                                log += "b";
                              })
                  .ok());
  Publish("s", "begin");
  EXPECT_EQ(log, "be|e");
  EXPECT_EQ(events->Barrier(absl::Seconds(1), nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto none = [](const BarrierReport&) { ADD_FAILURE(); };
  EXPECT_TRUE(Holds(events->Barrier(absl::ZeroDuration(), none).status(),
                    absl::StatusCode::kInvalidArgument, "must be above 0, was 0"));
}

TEST_F(LocalEvents, PollInsideACallbackDoesNothing) {
  std::vector<PollResult> results;
  ASSERT_TRUE(
      events->Subscribe("s", "e", [&](const Event&) { results.push_back(events->Poll()); }).ok());
  Publish("s", "e");
  results.push_back(events->Poll());
  EXPECT_EQ(results, (std::vector<PollResult>{PollResult::kRecursive, PollResult::kDone}));
}

TEST_F(LocalEvents, ByNameFromAList) {
  std::string data;
  ASSERT_TRUE(
      events->Subscribe(CacheEvents::kPurge, [&](const Event& event) { data = event.data; }).ok());
  EXPECT_TRUE(events->Publish(Audience::All(), CacheEvents::kPurge, "user:42").ok());
  EXPECT_EQ(data, "user:42");
}

TEST_F(LocalEvents, MayBeDestroyedByACallback) {
  ASSERT_TRUE(events
                  ->Subscribe("s", "e",
                              [this](const Event& event) {
                                events.reset();
                                log += event.data;
                              })
                  .ok());
  Log("s", "e", "never");
  Publish("s", "e", "1");
  EXPECT_EQ(log, "1");
}

}  // namespace
}  // namespace alertpipe
