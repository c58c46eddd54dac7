// SPDX-License-Identifier: Apache-2.0
//
// Events between real processes.
#include <signal.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

MasterOptions EventFamilyOf(int workers, std::size_t pipe_capacity = 65536) {
  MasterOptions options = FamilyOf(workers, pipe_capacity);
  options.events.emplace();
  return options;
}

// A worker's events, as tests use them.
struct Player {
  explicit Player(Member& member, EventsOptions options = {}) : me(member) {
    auto attached = Events::Attach(me.worker.get(), std::move(options));
    me.Check(attached.ok(), attached.status().ToString());
    events = *std::move(attached);
  }
  // The endpoint ends before what handlers refer to.
  void Run() {
    me.Run();
    events.reset();
  }

  Member& me;
  std::unique_ptr<Events> events;
};

struct Seen {
  Count handled[16];
  Count gaps[16];
  Count hash[16];
  Count ready[16];
  Count go;
  Count step;
  Text text[16];

  std::uint64_t HandledByAll(int first, int last) const {
    std::uint64_t all = 0;
    for (int slot = first; slot <= last; ++slot) all += handled[slot];
    return all;
  }
};

TEST(Events, ReachAllThePublisherToo) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(4));
  for (int i = 0; i < 3; ++i) {
    family.Spawn([&](Member& me) {
      Player player(me);
      (void)player.events->Subscribe("cache", "purge", [&](const Event& event) {
        me.Check(event.data == "key", "the data");
        me.Check(event.publisher.slot == 1, "the publisher");
        me.Check(event.place == 0 && !event.is_local() && !event.replayed, "it is a plain one");
        ++seen->handled[me.slot()];
      });
      (void)player.events->Ready();
      if (me.slot() == 1) {
        me->WhenWorkers(3, absl::InfiniteDuration(), [&](const absl::Status&) {
          const PublishResult result =
              player.events->Publish(Audience::All(), "cache", "purge", "key");
          me.Check(result.ok() && result.accepted == 3, "all accept it");
          me.Check(
              player.events->Publish(Audience::Others(), "cache", "purge", "key").accepted == 2,
              "two others");
        });
      }
      player.Run();
    });
  }
  EXPECT_TRUE(family.Until(
      [&] { return seen->handled[1] == 1 && seen->handled[2] == 2 && seen->handled[3] == 2; }));
}

// What the test wants most: whatever the interleaving, one order.
TEST(Events, OrderedEventsComeInOneOrderToAll) {
  constexpr int kWorkers = 5;
  constexpr std::uint64_t kEvents = 3000;
  Shared<Seen> seen;
  Family family(EventFamilyOf(kWorkers));
  for (int i = 0; i < kWorkers; ++i) {
    family.Spawn([&](Member& me) {
      EventsOptions options;
      options.rules.push_back({"log", std::string(kAny), true, Overflow::kRefuse});
      Player player(me, options);
      std::uint64_t hash = 14695981039346656037U;
      std::uint64_t last = 0;
      (void)player.events->Subscribe(
          "log", kAny,
          [&](const Event& event) {
            me.Check(event.place >= last && event.place != 0, "places go up");
            last = event.place;
            hash = (hash ^ (static_cast<std::uint64_t>(event.publisher.slot) << 32 |
                            NumberOf(event.data))) *
                   1099511628211U;
            seen->hash[me.slot()] = hash;
            ++seen->handled[me.slot()];
          },
          [&](const Gap& gap) { seen->gaps[me.slot()] += gap.count; });
      (void)player.events->Ready();
      std::uint64_t next = 1;
      me.Every(1, [&] {
        if (seen->go == 0) return;
        for (int burst = 0; burst < 50 && next <= kEvents; ++burst) {
          const PublishResult result =
              player.events->Publish(Audience::All(), "log", "line", Numbered(next));
          me.Check(result.ok() && result.refused.empty(), result.status().ToString());
          ++next;
        }
      });
      player.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] {
    return seen->HandledByAll(1, kWorkers) == kWorkers * kWorkers * kEvents;
  })) << seen->handled[1]
      << " " << seen->handled[2] << " " << seen->gaps[1];
  for (int slot = 2; slot <= kWorkers; ++slot) EXPECT_EQ(seen->hash[slot], seen->hash[1]);
  for (int slot = 1; slot <= kWorkers; ++slot) EXPECT_EQ(seen->gaps[slot], 0u);
}

TEST(Events, WhatIsPublishedBeforeReadyIsHeld) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[1]; });
    me.Every(1, [&] {
      if (seen->go == 1 && !player.events->ready()) (void)player.events->Ready();
    });
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    for (int i = 0; i < 100; ++i)
      me.Check(player.events->Publish(Audience::Others(), "s", "e", "data").accepted == 1, "held");
    player.Run();
  });
  ASSERT_TRUE(family.Ready());
  family.Turns(50);
  EXPECT_EQ(seen->handled[1], 0u);
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 100; }));
}

TEST(Events, OfAllThatPublishAUniqueKeyAtOnceOneIsHeard) {
  constexpr int kWorkers = 4;
  constexpr std::uint64_t kKeys = 500;
  Shared<Seen> seen;
  Family family(EventFamilyOf(kWorkers));
  for (int i = 0; i < kWorkers; ++i) {
    family.Spawn([&](Member& me) {
      Player player(me);
      (void)player.events->Subscribe("job", "run",
                                     [&](const Event&) { ++seen->handled[me.slot()]; });
      (void)player.events->Ready();
      std::uint64_t next = 0;
      me.Every(1, [&] {
        if (seen->go == 0) return;
        for (int burst = 0; burst < 20 && next < kKeys; ++burst, ++next) {
          const PublishResult result = player.events->Publish(
              Audience::Unique("key " + std::to_string(next)), "job", "run", "");
          me.Check(result.ok() && result.accepted + (result.duplicate ? 1 : 0) == 1,
                   result.status().ToString());
          ++seen->step;
        }
      });
      player.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->step == kKeys * kWorkers; }));
  EXPECT_TRUE(family.Until([&] { return seen->HandledByAll(1, kWorkers) >= kKeys; }));
  family.Turns(50);
  EXPECT_EQ(seen->HandledByAll(1, kWorkers), kKeys);
}

TEST(Events, AReceiverThatDoesNotReadHearsOfTheGap) {
  Shared<Seen> seen;
  MasterOptions options = TightFamilyOf(2);
  options.events.emplace();
  options.queued_bytes_per_peer_max = 8192;
  Family family(options);
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe(
        "s", "e",
        [&](const Event& event) {
          seen->handled[1] = NumberOf(event.data);
          ++seen->hash[1];
        },
        [&](const Gap& gap) {
          me.Check(gap.publisher.slot == 2 && gap.source == "s" && gap.name == "e",
                   "what is missing");
          seen->gaps[1] += gap.count;
        });
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"s", "e", false, Overflow::kGap});
    Player player(me, rules);
    (void)player.events->Ready();
    std::uint64_t gaps = 0;
    for (std::uint64_t i = 1; i <= 1000; ++i) {
      const PublishResult result =
          player.events->Publish(Audience::Others(), "s", "e", Numbered(i, 100));
      me.Check(result.ok() && result.accepted + result.gaps == 1, "accepted, or a gap");
      gaps += result.gaps;
    }
    me.Check(gaps > 0, "there is no room for all");
    seen->step = gaps;
    me.Every(5, [&] {
      if (seen->go == 1) {
        (void)player.events->Publish(Audience::Others(), "s", "e", Numbered(1001, 100));
        seen->go = 2;
      }
    });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step > 0; }));
  family.Wake(deaf);
  EXPECT_TRUE(family.Until([&] { return seen->gaps[1] == seen->step; })) << seen->gaps[1];
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 1001; }));
  EXPECT_EQ(seen->hash[1] + seen->gaps[1], 1001u);
}

TEST(Events, OfThoseThatCoalesceTheLastValueOfEachKeyArrives) {
  Shared<Seen> seen;
  MasterOptions options = TightFamilyOf(2);
  options.events.emplace();
  options.queued_bytes_per_peer_max = 8192;
  Family family(options);
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event& event) {
      const std::uint64_t number = NumberOf(event.data);
      me.Check(number > seen->hash[number % 10], "values of a key go up");
      seen->hash[number % 10] = number;
      ++seen->handled[1];
    });
    player.events->OnGap([&](const Gap&) { me.Check(false, "nothing is missing"); });
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"s", std::string(kAny), false, Overflow::kCoalesce});
    Player player(me, rules);
    (void)player.events->Ready();
    for (std::uint64_t i = 10; i < 1000; ++i) {
      PublishOptions how;
      const std::string key = std::to_string(i % 10);
      how.key = key;
      const PublishResult result =
          player.events->Publish(Audience::Others(), "s", "e", Numbered(i, 100), how);
      me.Check(result.ok() && result.accepted == 1 && result.gaps == 0, "never refused");
    }
    me.Check(player.events->stats().coalesced > 0, "some were replaced");
    seen->step = player.events->stats().coalesced;
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step > 0; }));
  family.Wake(deaf);
  EXPECT_TRUE(family.Until([&] {
    for (std::uint64_t key = 0; key < 10; ++key) {
      if (seen->hash[key] != 990 + key) return false;
    }
    return true;
  }));
  EXPECT_EQ(seen->handled[1] + seen->step, 990u);
}

TEST(Events, WithoutARuleTheFullAreRefused) {
  Shared<Seen> seen;
  MasterOptions options = TightFamilyOf(3);
  options.events.emplace();
  options.queued_bytes_per_peer_max = 8192;
  Family family(options);
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[1]; });
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    me->WhenWorkers(2, absl::InfiniteDuration(), [&](const absl::Status&) {
      std::uint64_t accepted = 0;
      for (std::uint64_t i = 1; i <= 500; ++i) {
        const PublishResult result =
            player.events->Publish(Audience::Others(), "s", "e", Numbered(i, 100));
        me.Check(result.ok() && result.accepted + result.refused.size() == 1, "one or the other");
        if (!result.refused.empty()) {
          me.Check(result.refused[0].peer.slot == 1 &&
                       absl::IsResourceExhausted(result.refused[0].status),
                   "who is full");
        }
        accepted += result.accepted;
      }
      const PublishResult one =
          player.events->Publish(Audience::One(To::Slot(1)), "s", "e", Numbered(1, 100));
      me.Check(absl::IsResourceExhausted(one.status()), "to one it is refused as a whole");
      seen->step = accepted;
    });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step > 0; }));
  EXPECT_LT(seen->step, 500u);
  family.Wake(deaf);
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == seen->step; }));
}

TEST(Events, ToOneWorker) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(3));
  for (int i = 0; i < 2; ++i) {
    family.Spawn([&](Member& me) {
      Player player(me);
      (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[me.slot()]; });
      (void)player.events->Ready();
      if (me.slot() == 2) {
        me->WhenWorkers(2, absl::InfiniteDuration(), [&](const absl::Status&) {
          Events& events = *player.events;
          me.Check(events.Publish(Audience::One(To::Slot(1)), "s", "e").ok(), "by slot");
          me.Check(events.Publish(Audience::One(me->Workers()[0].pid), "s", "e").ok(), "by pid");
          me.Check(events.Publish(Audience::One(To::AnyWorker()), "s", "e").ok(), "any other");
          me.Check(events.Publish(Audience::One(me->self()), "s", "e").ok(), "itself");
          me.Check(
              absl::IsUnavailable(events.Publish(Audience::One(To::Slot(3)), "s", "e").status()),
              "a slot without a worker");
        });
      }
      player.Run();
    });
  }
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 3 && seen->handled[2] == 1; }));
}

// As much late as it likes: it gets what was published since its slot was announced.
TEST(Events, AWorkerThatStartsLateGetsTheEarlierEvents) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  const Peer late = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event& event) {
      me.Check(NumberOf(event.data) == ++seen->handled[1], "in their order");
    });
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"s", "e", true, Overflow::kRefuse});
    Player player(me, rules);
    (void)player.events->Ready();
    std::uint64_t next = 1;
    me.Every(1, [&] {
      if (next > 200) return;
      me.Check(player.events->Publish(Audience::Others(), "s", "e", Numbered(next)).accepted == 1,
               "accepted for it");
      seen->step = next++;
    });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step == 200; }));
  EXPECT_EQ(seen->handled[1], 0u);
  family.Wake(late);
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 200; }));
}

TEST(Events, ASuccessorFetchesWhatWasRetained) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(3));
  const auto body = [&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"ordered", "config", true, Overflow::kRefuse});
    Player player(me, rules);
    const bool second = me->self().generation > 1;
    const auto note = [&, second](const Event& event) {
      if (!second) return;
      me.Check(event.replayed, "it was published before");
      seen->text[event.source == "ordered" ? 1 : 2].Set(event.data);
      ++seen->handled[me.slot()];
    };
    (void)player.events->Subscribe("ordered", "config", note);
    (void)player.events->Subscribe("plain", "config", note);
    (void)player.events->Ready();
    if (second) {
      me.Check(player.events
                   ->FetchRetained(absl::Seconds(30),
                                   [&](const absl::Status& status) {
                                     me.Check(status.ok(), status.ToString());
                                     ++seen->step;
                                   })
                   .ok(),
               "it asks");
    }
    me.Every(1, [&, second] {
      if (second || me.slot() != 2 || seen->go != 1) return;
      seen->go = 2;
      PublishOptions retain;
      retain.retain = true;
      for (const char* value : {"v41", "v42"}) {
        (void)player.events->Publish(Audience::All(), "ordered", "config", value, retain);
        (void)player.events->Publish(Audience::All(), "plain", "config", value, retain);
      }
      (void)player.events->Publish(Audience::All(), "plain", "other", "not kept");
    });
    player.Run();
  };
  family.Spawn(body);
  family.Spawn(body);
  family.Spawn(body);
  ASSERT_TRUE(family.Ready());
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->go == 2; }));
  family.Turns(50);
  ASSERT_TRUE(family.KillAndReap(family.live[1]));
  family.Respawn(1);
  EXPECT_TRUE(family.Until([&] { return seen->step == 1 && seen->handled[1] == 2; }))
      << seen->step << " " << seen->handled[1] << " " << seen->go;
  EXPECT_EQ(seen->text[1].Get(), "v42");
  EXPECT_EQ(seen->text[2].Get(), "v42");
}

// The publisher itself is the only one left who knows: an ordered event to others has its place
// there as well. And one answer carries more than one packet, or one queue's worth of small alerts.
TEST(Events, APublisherKeepsWhatItRetainedForOthers) {
  constexpr int kValues = 100;
  Shared<Seen> seen;
  Family family(EventFamilyOf(3));
  const std::string large(8000, 'x');
  const auto body = [&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"ordered", std::string(kAny), true, Overflow::kRefuse});
    Player player(me, rules);
    const bool second = me->self().generation > 1;
    (void)player.events->Subscribe("ordered", kAny, [&, second](const Event& event) {
      me.Check(me.slot() == 2 || event.data == "v1", "what is for others is not its publisher's");
      if (me.slot() == 2 && event.name == "config") seen->text[second ? 1 : 0].Set(event.data);
      if (second && event.data == large) ++seen->handled[me.slot()];
    });
    (void)player.events->Ready();
    if (second) {
      (void)player.events->FetchRetained(absl::Seconds(30), [&](const absl::Status& status) {
        me.Check(status.ok(), status.ToString());
        ++seen->step;
      });
    }
    me.Every(1, [&] {
      if (me.slot() != 1 || seen->go != 1) return;
      seen->go = 2;
      PublishOptions retain;
      retain.retain = true;
      (void)player.events->Publish(Audience::All(), "ordered", "config", "v1", retain);
      (void)player.events->Publish(Audience::Others(), "ordered", "config", "v2", retain);
      for (int i = 0; i < kValues; ++i) {
        const auto result = player.events->Publish(Audience::Others(), "ordered",
                                                   "large" + std::to_string(i), large, retain);
        me.Check(result.ok() && result.accepted == 1, result.status().ToString());
      }
    });
    player.Run();
  };
  family.Spawn(body);
  family.Spawn(body);
  ASSERT_TRUE(family.Ready());
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->text[0].Get() == "v2"; }));
  ASSERT_TRUE(family.KillAndReap(family.live[2]));
  family.Respawn(2);
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->text[1].Get(), "v2");
  EXPECT_EQ(seen->handled[2], static_cast<std::uint64_t>(kValues));
}

// What only a publisher writes for itself is damage when somebody else sends it.
TEST(Events, ARecordThatIsNeverSentIsDamage) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe(kAny, kAny, [&](const Event& event) {
      if (event.source != kOwnEventSource) ++seen->handled[1];
    });
    (void)player.events->Ready();
    me->Receive("fence", [&](Alert&) { ++seen->step; });
    player.Run();
  });
  ASSERT_TRUE(family.Ready());
  const std::string kept("\x04\1\1sd", 5);
  EXPECT_TRUE(family.master->Send(To::Slot(1), std::string_view("\0e", 2), kept).ok());
  EXPECT_TRUE(family.master->Send(To::Slot(1), "fence").ok());
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->handled[1], 0u);
}

TEST(Events, WorkersThatComeAndGoAreEvents) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(3));
  const auto body = [&](Member& me) {
    Player player(me);
    const auto count = [&](std::string_view name, Count* counts) {
      (void)player.events->Subscribe(kOwnEventSource, name, [&me, counts](const Event& event) {
        if (me.slot() == 1) ++counts[event.publisher.slot];
      });
    };
    count(kStartedEvent, seen->handled);
    count(kJoinedEvent, seen->gaps);
    count(kStoppingEvent, seen->hash);
    count(kLeftEvent, seen->ready);
    (void)player.events->Ready();
    player.Run();
  };
  family.Spawn(body);
  ASSERT_TRUE(family.Ready());
  const Peer second = family.Spawn(body);
  EXPECT_TRUE(family.Until([&] { return seen->handled[2] == 1 && seen->gaps[2] == 1; }));
  EXPECT_EQ(seen->handled[1], 1u) << "its own";
  const Peer third = family.Spawn(body);
  EXPECT_TRUE(family.Until([&] { return seen->handled[3] == 1; }));
  family.ExpectExit(second, 0);
  kill(second.pid, SIGTERM);
  EXPECT_TRUE(family.Until([&] { return seen->hash[2] == 1 && seen->ready[2] == 1; }));
  EXPECT_TRUE(family.KillAndReap(third));
  EXPECT_TRUE(family.Until([&] { return seen->ready[3] == 1; }));
  EXPECT_EQ(seen->hash[3], 0u) << "it could not say so";
}

TEST(Events, PollHandsOutWithoutTheLoop) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) {
      ++seen->handled[1];
      me.Check(player.events->Poll() == PollResult::kRecursive, "inside a callback");
    });
    (void)player.events->Ready();
    while (seen->handled[1] < 10)
      me.Check(player.events->Poll() == PollResult::kDone, "outside of one");
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    for (int i = 0; i < 10; ++i) (void)player.events->Publish(Audience::Others(), "s", "e");
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 10; }));
}

// A receiver with a full pipe holds the claim up: the event has been written to the other one,
// which holds it, and the barrier behind it.
TEST(Events, ABarrierComesAfterOrderedEventsWereHandedOut) {
  Shared<Seen> seen;
  MasterOptions options = TightFamilyOf(3);
  options.events.emplace();
  Family family(options);
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[2]; });
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"s", "e", true, Overflow::kRefuse});
    rules.order_patience = absl::Seconds(1);
    Player player(me, rules);
    (void)player.events->Ready();
    for (int i = 0; i < 20; ++i) me->Send(deaf, "fill", Numbered(1, 1000));
    const PublishResult result = player.events->Publish(Audience::Others(), "s", "e");
    me.Check(result.ok() && result.accepted == 2, "both accept it");
    // As a barrier asks, but only one: the other does not read.
    (void)me->Request(To::Slot(2), std::string_view("\0b", 2), {}, absl::Seconds(30),
                      [&](Response& response) {
                        me.Check(response.ok() && response.data() == "+", "the barrier is passed");
                        seen->hash[2] = seen->handled[2].load();
                        seen->step = 1;
                      });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->hash[2], 1u);
  EXPECT_TRUE(family.Until([&] { return seen->handled[2] == 1; }));
  family.Wake(deaf);
}

// One turn of the receiver hands out a bounded number; what comes meanwhile waits behind the rest.
TEST(Events, ABarrierComesAfterEventsWereHandedOut) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[1]; });
    (void)player.events->Subscribe("own", "e", [&](const Event&) {
      seen->go = 1;
      absl::SleepFor(absl::Milliseconds(1));
    });
    (void)player.events->Ready();
    for (int i = 0; i < 1500; ++i) (void)player.events->Publish(Audience::Local(), "own", "e");
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    bool published = false;
    me.Every(1, [&] {
      if (seen->go == 0 || std::exchange(published, true)) return;
      (void)player.events->Publish(Audience::Others(), "s", "e");
      (void)player.events->Barrier(absl::Seconds(30), [&](const BarrierReport& report) {
        me.Check(report.status.ok(), "the barrier is passed");
        seen->hash[1] = seen->handled[1].load();
        seen->step = 1;
      });
    });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->hash[1], 1u);
}

// One that is not ready holds the barrier up.
TEST(Events, ABarrierComesAfterEventsThatWereHeldUntilReady) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Subscribe("s", "e", [&](const Event&) { ++seen->handled[1]; });
    int turns = 0;
    me.Every(1, [&] {
      if (++turns == 100) (void)player.events->Ready();
    });
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    me.Check(player.events->Publish(Audience::Others(), "s", "e").accepted == 1, "accepted");
    (void)player.events->Barrier(absl::Seconds(30), [&](const BarrierReport& report) {
      me.Check(report.status.ok(), "the barrier is passed");
      seen->hash[1] = seen->handled[1].load();
      seen->step = 1;
    });
    player.Run();
  });
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->hash[1], 1u);
  EXPECT_TRUE(family.Until([&] { return seen->handled[1] == 1; }));
}

TEST(Events, ABarrierEndsWhenTheEndpointIsClosed) {
  Shared<Seen> seen;
  Family family(EventFamilyOf(2));
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    Player player(me);
    (void)player.events->Ready();
    player.Run();
  });
  family.Spawn([&](Member& me) {
    Player player(me);
    // Not ready: its own events would wait for ever.
    me.Every(1, [&] {
      if (seen->go != 1) return;
      seen->go = 2;
      const auto passed = [&](const BarrierReport& report) {
        me.Check(absl::IsCancelled(report.status), report.status.ToString());
        ++seen->step;
      };
      me.Check(player.events->Barrier(absl::Seconds(30), passed).ok(), "it asks");
      (void)me->Close(absl::ZeroDuration());
    });
    player.Run();
  });
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->step == 1; }));
  family.Wake(deaf);
}

// Whatever the interleaving: what is passed has been handed out by all, ordered or not.
TEST(Events, BarriersUnderLoad) {
  constexpr int kWorkers = 4;
  constexpr std::uint64_t kRounds = 200;
  Shared<Seen> seen;
  Family family(EventFamilyOf(kWorkers));
  for (int i = 0; i < kWorkers; ++i) {
    family.Spawn([&](Member& me) {
      EventsOptions rules;
      rules.rules.push_back({"ordered", std::string(kAny), true, Overflow::kRefuse});
      Player player(me, rules);
      // What each publisher's events have come to here: two counts for each.
      for (const char* source : {"ordered", "plain"}) {
        (void)player.events->Subscribe(source, "e", [&](const Event& event) {
          ++seen->hash[me.slot() * 4 + event.publisher.slot - 5];
        });
      }
      (void)player.events->Ready();
      std::uint64_t round = 0;
      bool open = false;
      me.Every(1, [&] {
        if (seen->go == 0 || open || round == kRounds) return;
        open = true;
        ++round;
        for (int n = 0; n < 20; ++n) {
          (void)player.events->Publish(Audience::All(), n % 2 == 0 ? "ordered" : "plain", "e");
        }
        const Result begun =
            player.events->Barrier(absl::Seconds(30), [&](const BarrierReport& report) {
              me.Check(report.status.ok(), report.status.ToString());
              for (int slot = 1; slot <= kWorkers; ++slot) {
                me.Check(seen->hash[slot * 4 + me.slot() - 5] >= 20 * round,
                         "an event comes after the barrier");
              }
              open = false;
              if (round == kRounds) ++seen->step;
            });
        me.Check(begun.ok(), begun.status().ToString());
      });
      player.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  seen->go = 1;
  EXPECT_TRUE(family.Until([&] { return seen->step == kWorkers; }));
}

TEST(Events, NeedAnEndpointOfAFamilyThatHasThem) {
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    const auto none = Events::Attach(me.worker.get());
    me.Check(absl::IsFailedPrecondition(none.status()) &&
                 none.status().ToString().find("MasterOptions::events") != std::string::npos,
             "it says what is missing");
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  EXPECT_FALSE(Events::Attach(nullptr).ok());
  family.End();
  Family with(EventFamilyOf(1));
  with.Spawn([&](Member& me) {
    Player player(me);
    me.Check(absl::IsFailedPrecondition(Events::Attach(me.worker.get()).status()), "twice");
    EventsOptions wrong;
    wrong.rules.push_back({"", "", false, Overflow::kRefuse});
    player.events.reset();
    me.Check(absl::IsInvalidArgument(Events::Attach(me.worker.get(), wrong).status()), "a rule");
    me.Check(absl::IsFailedPrecondition(Events::Attach(me.worker.get()).status()), "again");
    me.Run();
  });
  ASSERT_TRUE(with.Ready());
}

TEST(Events, SettingsMustMakeSense) {
  MasterOptions options = EventFamilyOf(4);
  options.events->unique_keys_max = 0;
  EXPECT_TRUE(Says(Master::Create(options).status(), absl::StatusCode::kInvalidArgument,
                   {"unique_keys_max", "0"}));
  options.events->unique_keys_max = 65537;
  EXPECT_TRUE(Says(Master::Create(options).status(), absl::StatusCode::kInvalidArgument,
                   {"unique_keys_max", "65537"}));
  options.events->unique_keys_max = 1;
  options.events->unique_timeout = absl::ZeroDuration();
  EXPECT_TRUE(Says(Master::Create(options).status(), absl::StatusCode::kInvalidArgument,
                   {"unique_timeout"}));
  options.events->unique_timeout = absl::InfiniteDuration();
  EXPECT_TRUE(Says(Master::Create(options).status(), absl::StatusCode::kInvalidArgument,
                   {"unique_timeout"}));
}

// ---- One order, whoever is stopped or dies ------------------------------------------------------

struct Log {
  static constexpr std::size_t kEntries = 200000;
  static constexpr int kLogs = 64;
  struct Entry {
    std::uint64_t place;
    std::uint64_t publisher;  // slot << 32 | generation
    std::uint64_t number;
  };
  struct One {
    Count entries;
    Entry entry[kEntries];
  };
  Count logs;
  One log[kLogs];
  Count stop;
  Count published;
  Count gaps;
};

Member::Body OrderedPublisher(Log* log) {
  return [log](Member& me) {
    EventsOptions rules;
    rules.rules.push_back({"log", std::string(kAny), true, Overflow::kRefuse});
    Player player(me, rules);
    // The first worker of each slot has a log of its own.
    const int slots = 8;
    const std::uint64_t which = me->self().generation == 1
                                    ? static_cast<std::uint64_t>(me.slot() - 1)
                                    : slots + log->logs++ % (Log::kLogs - slots);
    Log::One& own = log->log[which];
    (void)player.events->Subscribe(
        "log", kAny,
        [&](const Event& event) {
          const std::uint64_t at = own.entries;
          if (at == Log::kEntries) return;
          own.entry[at] = {
              event.place,
              static_cast<std::uint64_t>(event.publisher.slot) << 32 | event.publisher.generation,
              NumberOf(event.data)};
          own.entries = at + 1;
        },
        [log](const Gap& gap) { log->gaps += gap.count; });
    (void)player.events->Ready();
    std::uint64_t next = 1;
    me.Every(1, [&] {
      if (log->stop != 0) return;
      for (int i = 0; i < 10; ++i) {
        if (player.events->Publish(Audience::All(), "log", "line", Numbered(next, 40)).ok()) ++next;
        ++log->published;
      }
    });
    player.Run();
  };
}

// Two that both got two events got them in the same places, and each saw places go up.
void ExpectOneOrder(const Log& log) {
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> first_at;  // place -> publisher
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> place_of;
  std::uint64_t entries = 0;
  for (const Log::One& one : log.log) {
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < one.entries; ++i) {
      const Log::Entry& entry = one.entry[i];
      ASSERT_GE(entry.place, last);
      last = entry.place;
      const auto known =
          place_of.insert({{entry.publisher, entry.number}, entry.place}).first->second;
      ASSERT_EQ(known, entry.place);
      ++entries;
    }
  }
  EXPECT_GT(entries, 1000u);
}

TEST(OneOrder, ThroughKillsOfPublishers) {
  Shared<Log> log;
  Family family(EventFamilyOf(5));
  for (int i = 0; i < 5; ++i) family.Spawn(OrderedPublisher(&*log));
  ASSERT_TRUE(family.Ready());
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t before = log->log[0].entries;
    const int slot = 2 + round % 4;
    ASSERT_TRUE(family.KillAndReap(family.live[slot]));
    family.Respawn(slot);
    // Whoever lives goes on hearing.
    ASSERT_TRUE(family.Until([&] { return log->log[0].entries > before + 50; }));
  }
  log->stop = 1;
  family.Turns(100);
  ExpectOneOrder(*log);
}

// Nobody waits for one that is stopped, whatever it was doing, and when it goes on it is in order.
TEST(OneOrder, ThroughStopsOfPublishersAndReceivers) {
  Shared<Log> log;
  Family family(EventFamilyOf(4, 4096));
  for (int i = 0; i < 4; ++i) family.Spawn(OrderedPublisher(&*log));
  ASSERT_TRUE(family.Ready());
  for (int round = 0; round < 10; ++round) {
    const Peer stopped = family.live[2 + round % 3];
    ASSERT_TRUE(family.Stop(stopped));
    const std::uint64_t before = log->log[0].entries;
    ASSERT_TRUE(family.Until([&] { return log->log[0].entries > before + 300; }));
    family.Continue(stopped);
  }
  log->stop = 1;
  family.Turns(200);
  ExpectOneOrder(*log);
}

// Nobody tells of deaths then. The publisher waits for one that is stopped, and dies before it has
// claimed a place; the receiver, which sends nothing to anybody, finds out.
TEST(OneOrder, WithoutAMasterWhatTheDeadHaveNotClaimedIsWithdrawn) {
  Shared<Seen> seen;
  Household house([&] {
    MasterOptions options = TightFamilyOf(3);
    options.events.emplace();
    Family family(options);
    const Peer stopped = family.Spawn([&](Member& me) {
      Player player(me);
      seen->ready[1] = static_cast<std::uint64_t>(getpid());
      player.Run();
    });
    family.Spawn([&](Member& me) {
      Player player(me);
      (void)player.events->Ready();
      me->OnMasterGone([&] { ++seen->step; });
      me.Every(1, [&] {
        const EventsStats stats = player.events->stats();
        seen->handled[2] = stats.withdrawn;
        seen->hash[2] = stats.held_bytes;
      });
      seen->ready[2] = static_cast<std::uint64_t>(getpid());
      player.Run();
    });
    family.Spawn([&](Member& me) {
      EventsOptions ordered;
      ordered.rules.push_back({"s", "*", true});
      ordered.order_patience = absl::Hours(1);
      Player player(me, std::move(ordered));
      me.Every(1, [&] {
        if (seen->go == 1 && seen->handled[3]++ == 0)
          (void)player.events->Publish(Audience::Others(), "s", "e", std::string(200000, 'x'));
      });
      seen->ready[3] = static_cast<std::uint64_t>(getpid());
      player.Run();
    });
    if (!family.Ready() || !family.Stop(stopped)) return;
    seen->go = 1;
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return seen->hash[2] > 200000; })) << "it is held";
  std::vector<pid_t> workers;
  for (int slot = 1; slot <= 3; ++slot)
    workers.push_back(static_cast<pid_t>(seen->ready[slot].load()));
  house.KillMaster(workers);
  ASSERT_TRUE(Eventually([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->handled[2], 0u);
  house.KillOrphan(workers[2]);
  EXPECT_TRUE(Eventually([&] { return seen->handled[2] == 1 && seen->hash[2] == 0; }));
  house.KillOrphan(workers[0]);
  EXPECT_TRUE(house.EndOrphan(workers[1]));
}

}  // namespace
}  // namespace alertpipe::process
