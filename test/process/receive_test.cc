// SPDX-License-Identifier: Apache-2.0
//
// What the receiving side promises: which handler is called, what a handler may do, what becomes of
// the rest. The master of most families here sends to itself: a real pipe and a real loop, and
// handlers that can assert. Where two processes matter there are two.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

// A family in which the master talks to itself.
class Soliloquy : public Family {
 public:
  explicit Soliloquy(AttachOptions attach = {})
      : Family(FamilyOf(1), MasterIs::kAttached, attach) {}

  void Say(std::string_view name, std::string_view data = {}) {
    const SendResult said = master->Send(To::Master(), name, data);
    EXPECT_TRUE(said.ok()) << said.status();
  }
  // Until everything that was said has been handled or counted.
  bool Quiet() {
    return Until([&] {
      const Stats stats = master->stats();
      return stats.alerts_delivered + stats.alerts_unhandled == stats.alerts_accepted;
    });
  }
};

// ---- Which handler ------------------------------------------------------------------------------

TEST(Receive, HandlerSeesNameDataAndSender) {
  Soliloquy self;
  int calls = 0;
  self->Receive("name", [&](Alert& alert) {
    EXPECT_EQ(alert.name(), "name");
    EXPECT_EQ(alert.data(), "data");
    EXPECT_EQ(alert.sender(), self->self());
    EXPECT_EQ(alert.sender().pid, getpid());
    EXPECT_TRUE(alert.sender().is_master());
    ++calls;
  });
  self.Say("name", "data");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(calls, 1);
}

TEST(Receive, LaterHandlerReplacesTheEarlier) {
  Soliloquy self;
  std::string heard;
  EXPECT_TRUE(self->Receive("x", [&](Alert&) { heard += '1'; }).ok());
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_TRUE(self->Receive("x", [&](Alert&) { heard += '2'; }).ok());
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "12");
}

TEST(Receive, HandlerReplacesItselfAndFinishesItsCall) {
  Soliloquy self;
  std::string heard;
  self->Receive("x", [&, kept = std::string("old")](Alert&) {
    self->Receive("x", [&](Alert&) { heard += "new "; });
    heard += kept + ' ';  // its own captures must still be there
  });
  self.Say("x");
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "old new ");
}

TEST(Receive, RemovedNameGoesToTheDefaultHandlerOrIsCounted) {
  Soliloquy self;
  std::string heard;
  self->Receive("x", [&](Alert&) { heard += 'x'; });
  EXPECT_TRUE(self->Remove("x").ok());
  EXPECT_TRUE(Says(self->Remove("x").status(), StatusCode::kNotFound));
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(self->stats().alerts_unhandled, 1u);
  self->ReceiveDefault([&](Alert& alert) { heard += "default " + std::string(alert.name()); });
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  self->ReceiveDefault(nullptr);
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "default x");
  EXPECT_EQ(self->stats().alerts_unhandled, 2u);
  EXPECT_EQ(self->stats().alerts_delivered, 1u);
}

TEST(Receive, NullHandlerRemoves) {
  Soliloquy self;
  self->Receive("x", [](Alert&) {});
  EXPECT_TRUE(self->Receive("x", nullptr).ok());
  EXPECT_TRUE(Says(self->Remove("x").status(), StatusCode::kNotFound));
}

TEST(Receive, HandlerRemovesItselfAndOthers) {
  Soliloquy self;
  std::string heard;
  self->Receive("once", [&, kept = std::string("once ")](Alert&) {
    EXPECT_TRUE(self->Remove("once").ok());
    EXPECT_TRUE(self->Remove("other").ok());
    heard += kept;
  });
  self->Receive("other", [&](Alert&) { heard += "other "; });
  self.Say("once");
  self.Say("once");
  self.Say("other");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "once ");
  EXPECT_EQ(self->stats().alerts_unhandled, 2u);
}

TEST(Receive, DefaultHandlerRemovesItself) {
  Soliloquy self;
  int calls = 0;
  self->ReceiveDefault([&, kept = std::string("kept")](Alert&) {
    self->ReceiveDefault(nullptr);
    EXPECT_EQ(kept, "kept");
    ++calls;
  });
  self.Say("x");
  self.Say("x");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(calls, 1);
}

TEST(Receive, SeveralAtOnce) {
  Soliloquy self;
  std::string heard;
  self->Receive("b", [&](Alert&) { heard += "old"; });
  EXPECT_TRUE(self->Receive({{"a", [&](Alert&) { heard += 'a'; }},
                             {"b", [&](Alert&) { heard += 'b'; }},
                             {"c", [&](Alert&) { heard += 'c'; }}})
                  .ok());
  std::vector<NamedHandler> more;
  more.push_back({"d", [&](Alert&) { heard += 'd'; }});
  more.push_back({"a", nullptr});
  EXPECT_TRUE(self->Receive(more).ok());
  for (const char* name : {"a", "b", "c", "d"}) self.Say(name);
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "bcd");
}

TEST(Receive, SeveralAtOnceAllOrNone) {
  Soliloquy self;
  std::string heard;
  const std::string too_long(255, 'n');
  self->Receive("a", [&](Alert&) { heard += "old "; });
  EXPECT_TRUE(Says(self->Receive({{"a", [&](Alert&) { heard += "new "; }},
                                  {"b", [&](Alert&) { heard += "b "; }},
                                  {too_long, [&](Alert&) {}}}),
                   StatusCode::kInvalidArgument, {"254", "255"}));
  self.Say("a");
  self.Say("b");
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "old ");
}

TEST(Receive, NameThatIsTooLongIsRefused) {
  Soliloquy self;
  EXPECT_TRUE(Says(self->Receive(std::string(255, 'n'), [](Alert&) {}),
                   StatusCode::kInvalidArgument, {"254", "255"}));
  EXPECT_TRUE(self->Receive(std::string(254, 'n'), [](Alert&) {}).ok());
  EXPECT_TRUE(self->Receive("", [](Alert&) {}).ok());
}

TEST(Receive, ThousandNamesEachItsOwnHandler) {
  Soliloquy self;
  std::vector<int> calls(1000);
  for (int i = 0; i < 1000; ++i)
    self->Receive("name " + std::to_string(i), [&calls, i](Alert&) { ++calls[i]; });
  for (int i = 0; i < 1000; ++i) self.Say("name " + std::to_string(i));
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(std::count(calls.begin(), calls.end(), 1), 1000);
}

// ---- A handler that throws ----------------------------------------------------------------------

TEST(HandlerThrows, HookIsToldAndLaterAlertsStillCome) {
  Soliloquy self;
  std::string heard;
  std::vector<std::string> errors;
  self->OnHandlerError([&](const HandlerError& error) {
    EXPECT_EQ(error.sender, self->self());
    try {
      std::rethrow_exception(error.error);
    } catch (const std::runtime_error& thrown) {
      errors.push_back(std::string(error.name) + ": " + thrown.what());
    } catch (int number) {
      errors.push_back(std::string(error.name) + ": " + std::to_string(number));
    }
  });
  self->Receive("throws", [](Alert&) { throw std::runtime_error("oh"); });
  self->Receive("throws large", [](Alert&) { throw 42; });
  self->Receive("fine", [&](Alert& alert) { heard += alert.data(); });
  for (int round = 0; round < 3; ++round) {
    self.Say("throws");
    self.Say("fine", "a");
    self.Say("throws large", std::string(100000, 'x'));
    self.Say("fine", "b");
  }
  ASSERT_TRUE(self.Quiet());
  EXPECT_EQ(heard, "ababab");
  EXPECT_EQ(errors,
            (std::vector<std::string>{"throws: oh", "throws large: 42", "throws: oh",
                                      "throws large: 42", "throws: oh", "throws large: 42"}));
  EXPECT_EQ(self->stats().handler_errors, 6u);
  EXPECT_EQ(self->stats().alerts_delivered, 12u);
  EXPECT_EQ(self->stats().reassembly_bytes, 0u);
}

TEST(HandlerThrows, WithoutAHookTheWorkerKeepsHearingAndNoPayloadIsLogged) {
  Soliloquy self;
  int fine = 0;
  self->Receive("throws", [](Alert&) { throw std::runtime_error("secret text"); });
  self->Receive("fine", [&](Alert&) { ++fine; });
  ::testing::internal::CaptureStderr();
  for (int round = 0; round < 100; ++round) {
    self.Say("throws", "secret data");
    self.Say("fine");
  }
  EXPECT_TRUE(self.Quiet());
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(fine, 100);
  EXPECT_EQ(self->stats().handler_errors, 100u);
  EXPECT_NE(log.find("throws"), std::string::npos) << log;
  EXPECT_NE(log.find("runtime_error"), std::string::npos) << log;
  EXPECT_EQ(log.find("secret"), std::string::npos) << log;
  EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 60) << "at most a line a second";
}

TEST(HandlerThrows, AfterDestroyingTheEndpoint) {
  Soliloquy self;
  bool called = false;
  self->OnHandlerError([](const HandlerError&) {});
  self->Receive("x", [&](Alert&) {
    called = true;
    self.master.reset();
    throw std::runtime_error("late");
  });
  self.Say("x");
  EXPECT_TRUE(self.Until([&] { return called; }));
}

// ---- Taking data --------------------------------------------------------------------------------

TEST(TakeData, LargeIsMovedSmallIsCopied) {
  Soliloquy self;
  std::vector<Buffer> taken;
  self->Receive("x", [&](Alert& alert) {
    const char* where = alert.data().data();
    const std::size_t size = alert.data().size();
    absl::StatusOr<Buffer> buffer = alert.TakeData();
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->size(), size);
    EXPECT_TRUE(alert.data().empty());
    if (size > 4096) {
      EXPECT_EQ(static_cast<const void*>(buffer->data()), static_cast<const void*>(where))
          << size << " was copied";
    } else if (size > 0) {
      EXPECT_NE(static_cast<const void*>(buffer->data()), static_cast<const void*>(where)) << size;
    }
    taken.push_back(*std::move(buffer));
    absl::StatusOr<Buffer> again = alert.TakeData();
    EXPECT_TRUE(again.ok() && again->empty());
  });
  const std::vector<std::size_t> sizes = {0, 1, 100, 4000, 5000, 70000, 70000, 3000000, 10};
  for (std::size_t at = 0; at < sizes.size(); ++at) {
    ASSERT_TRUE(self->Send(To::Master(), "x", Buffer(Pattern(sizes[at], at))).ok());
  }
  ASSERT_TRUE(self.Quiet());
  ASSERT_EQ(taken.size(), sizes.size());
  for (std::size_t at = 0; at < sizes.size(); ++at) {
    EXPECT_EQ(taken[at].size(), sizes[at]);
    EXPECT_TRUE(IsPattern(taken[at].view(), at)) << at;
  }
  EXPECT_EQ(self->stats().reassembly_bytes, 0u);
}

TEST(TakeData, WhatWasTakenCanBeSentOn) {
  Soliloquy self;
  bool arrived = false;
  self->Receive("first", [&](Alert& alert) {
    EXPECT_TRUE(self->Send(To::Master(), "second", *alert.TakeData()).ok());
  });
  self->Receive("second", [&](Alert& alert) {
    arrived = alert.data().size() == 500000 && IsPattern(alert.data(), 9);
  });
  self.Say("first", Pattern(500000, 9));
  ASSERT_TRUE(self.Quiet());
  EXPECT_TRUE(arrived);
}

// ---- Replies ------------------------------------------------------------------------------------

TEST(Reply, GoesToExactlyTheSender) {
  struct Replies {
    Count alerts[4];
  };
  Shared<Replies> replies;
  Family family(FamilyOf(3));
  family->Receive("ask", [](Alert& alert) {
    EXPECT_TRUE(alert.Reply("answer", "small").ok());
    EXPECT_TRUE(alert.Reply("answer", Buffer(std::string(50000, 'x'))).ok());
  });
  for (int i = 0; i < 3; ++i) {
    family.Spawn([&](Member& me) {
      me->Receive("answer", [&](Alert& alert) {
        me.Check(alert.sender().is_master(), "the answer is the master's");
        ++replies->alerts[me.slot()];
      });
      if (me.slot() == 2) me->Send(To::Master(), "ask");
      me.Run();
    });
  }
  ASSERT_TRUE(family.Until([&] { return replies->alerts[2] == 2; }));
  EXPECT_EQ(replies->alerts[1] + replies->alerts[3], 0u);
}

TEST(Reply, TokenWorksAfterTheHandlerHasReturned) {
  struct Replies {
    Count alerts;
  };
  Shared<Replies> replies;
  Family family(FamilyOf(1));
  std::vector<ReplyToken> tokens;
  family->Receive("ask", [&](Alert& alert) { tokens.push_back(alert.reply_token()); });
  const Peer worker = family.Spawn([&](Member& me) {
    me->Receive("answer", [&](Alert&) { ++replies->alerts; });
    me->Send(To::Master(), "ask");
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return tokens.size() == 1; }));
  EXPECT_EQ(tokens[0].sender(), worker);
  const ReplyToken copy = tokens[0];
  tokens.clear();
  EXPECT_TRUE(copy.Reply("answer").ok());
  EXPECT_TRUE(copy.Reply("answer", Buffer(std::string("again"))).ok());
  EXPECT_TRUE(Says(copy.Reply(std::string(255, 'n')).status(), StatusCode::kInvalidArgument));
  EXPECT_TRUE(family.Until([&] { return replies->alerts == 2; }));
}

TEST(Reply, ToADeadSenderIsUnavailableThoughItsSlotHasANewWorker) {
  struct Replies {
    Count alerts;
  };
  Shared<Replies> replies;
  Family family(FamilyOf(1));
  std::vector<ReplyToken> tokens;
  family->Receive("ask", [&](Alert& alert) { tokens.push_back(alert.reply_token()); });
  const Peer asker = family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) { ++replies->alerts; });
    me->Send(To::Master(), "ask");
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return tokens.size() == 1; }));
  ASSERT_TRUE(family.KillAndReap(asker));
  EXPECT_TRUE(Says(tokens[0].Reply("answer").status(), StatusCode::kUnavailable));
  family.Respawn(1);
  ASSERT_TRUE(family.Until([&] { return tokens.size() == 2; }));
  EXPECT_TRUE(Says(tokens[0].Reply("answer").status(), StatusCode::kUnavailable));
  EXPECT_TRUE(tokens[1].Reply("answer").ok());
  ASSERT_TRUE(family.Until([&] { return replies->alerts > 0; }));
  family.Turns(5);
  EXPECT_EQ(replies->alerts, 1u);
}

TEST(Reply, TokenOutlivesTheEndpoint) {
  Soliloquy self;
  std::vector<ReplyToken> tokens;
  self->Receive("ask", [&](Alert& alert) { tokens.push_back(alert.reply_token()); });
  self.Say("ask");
  ASSERT_TRUE(self.Quiet());
  self.master.reset();
  EXPECT_TRUE(Says(tokens.at(0).Reply("answer").status(), StatusCode::kFailedPrecondition));
  EXPECT_TRUE(Says(tokens[0].Reply("answer", Buffer(std::string("x"))).status(),
                   StatusCode::kFailedPrecondition));
}

// ---- Close and destroy in handlers --------------------------------------------------------------

TEST(EndInHandler, CloseStopsReceivingAndCallsDone) {
  Soliloquy self;
  int after = 0;
  bool done = false;
  self->Receive("close", [&](Alert& alert) {
    EXPECT_TRUE(self->Close(absl::Seconds(5),
                            [&](const CloseReport& report) {
                              EXPECT_EQ(report.undelivered_alerts, 0u);
                              done = true;
                            })
                    .ok());
    EXPECT_FALSE(done) << "done is called from the loop";
    EXPECT_EQ(alert.data(), "still readable");
    EXPECT_TRUE(Says(alert.Reply("x").status(), StatusCode::kFailedPrecondition));
  });
  self->Receive("after", [&](Alert&) { ++after; });
  self.Say("close", "still readable");
  ASSERT_TRUE(self.Until([&] { return done; }));
}

TEST(EndInHandler, DestroyLeavesDataReadableAndDeliversNothingMore) {
  Soliloquy self;
  int calls = 0;
  const std::string large = Pattern(100000, 5);
  self->Receive("small", [](Alert&) {});
  self->Receive("destroy", [&](Alert& alert) {
    ++calls;
    self.master.reset();
    EXPECT_EQ(alert.data(), large);
    EXPECT_EQ(alert.name(), "destroy");
    EXPECT_TRUE(Says(alert.Reply("x").status(), StatusCode::kFailedPrecondition));
    EXPECT_TRUE(alert.TakeData().ok());
  });
  self.Say("small");
  self.Say("destroy", large);
  self.Say("destroy", large);
  ASSERT_TRUE(self.Until([&] { return calls > 0; }));
  self.Turns(5);
  EXPECT_EQ(calls, 1);
}

TEST(EndInHandler, DestroyWithASmallAlert) {
  Soliloquy self;
  int calls = 0;
  self->ReceiveDefault([&, kept = std::string("kept")](Alert& alert) {
    ++calls;
    self.master.reset();
    EXPECT_EQ(alert.data(), "data");
    EXPECT_EQ(kept, "kept");
    EXPECT_TRUE(alert.TakeData().ok());
  });
  for (int i = 0; i < 10; ++i) self.Say("x", "data");
  ASSERT_TRUE(self.Until([&] { return calls > 0; }));
  EXPECT_EQ(calls, 1);
}

TEST(EndInHandler, WorkerDestroysItsEndpointAndItsLoopEnds) {
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([](Member& me) {
    me->Receive("destroy", [&](Alert&) { me.worker.reset(); });
    me.Run();
  });
  ASSERT_TRUE(family->Send(worker, "destroy").ok());
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
}

TEST(EndInHandler, DestroyInHooks) {
  for (const bool by_error : {true, false}) {
    Soliloquy self;
    bool called = false;
    self->OnHandlerError([&](const HandlerError&) {
      called = true;
      self.master.reset();
    });
    self->Receive("x", [&](Alert&) {
      if (by_error) throw 1;
      self->Close(absl::Seconds(1), [&](const CloseReport&) {
        called = true;
        self.master.reset();
      });
    });
    self.Say("x");
    self.Say("x");
    EXPECT_TRUE(self.Until([&] { return called; }));
  }
}

TEST(Destroy, ReportsWhatWasQueued) {
  Family family(TightFamilyOf(1));
  family.SpawnDeaf([](Member&) {});
  std::vector<std::uint64_t> back;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.reason, UndeliveredReason::kClosed);
    EXPECT_EQ(ToString(undelivered.reason).empty(), false);
    EXPECT_EQ(undelivered.peer.slot, 1);
    EXPECT_TRUE(undelivered.has_name);
    EXPECT_EQ(undelivered.name, "n");
    if (undelivered.has_data) {
      EXPECT_EQ(undelivered.data, Numbered(undelivered.alert_id, 1000));
    }
    back.push_back(undelivered.alert_id);
  });
  for (std::uint64_t number = 1; number <= 20; ++number) {
    ASSERT_TRUE(family->Send(To::Slot(1), "n", Numbered(number, 1000)).ok());
  }
  family->Flush();
  const std::uint64_t written = family->stats().alerts_written;
  ASSERT_LT(written, 20u);
  family.master.reset();
  ASSERT_EQ(back.size(), 20 - written);
  for (std::size_t at = 0; at < back.size(); ++at) EXPECT_EQ(back[at], written + 1 + at);
}

TEST(Destroy, WritesWhatFitsFirst) {
  struct Heard {
    Count alerts;
  };
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) { ++heard->alerts; });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  family->OnUndelivered([](const Undelivered&) { ADD_FAILURE(); });
  family.InTurn([&] {
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(family->Send(To::Slot(1), "x").ok());
    EXPECT_GT(family->QueuedBytes(), 0u);
    family.master.reset();
  });
  EXPECT_TRUE(Eventually([&] { return heard->alerts == 10; }));
}

// ---- On the loop --------------------------------------------------------------------------------

TEST(OnTheLoop, ConsideredIdleWithKeepLoopAliveFalse) {
  AttachOptions options;
  options.keep_loop_alive = false;
  Family family(FamilyOf(1));
  family.Spawn([](Member& me) { me.Run(); }, options);
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }))
      << "uv_run must return by itself";
}

TEST(OnTheLoop, KeepLoopAliveFalseStillHearsWhileOthersKeepItAlive) {
  struct Heard {
    Count alerts;
  };
  Shared<Heard> heard;
  AttachOptions options;
  options.keep_loop_alive = false;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(
      [&](Member& me) {
        uv_async_t other;
        uv_async_init(me.loop(), &other, nullptr);
        me->Receive("x", [&](Alert& alert) {
          alert.Reply("back");
          if (++heard->alerts == 3) uv_close(reinterpret_cast<uv_handle_t*>(&other), nullptr);
        });
        me.Run();
      },
      options);
  int back = 0;
  family->Receive("back", [&](Alert&) { ++back; });
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(family->Send(worker, "x").ok());
    ASSERT_TRUE(family.Until([&] { return heard->alerts == static_cast<std::uint64_t>(i + 1); }));
  }
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
}

// Everything else on the loop gets its turn: not more than so many alerts between two looks of a
// check handle.
TEST(OnTheLoop, TurnHandlesABoundedNumberOfAlerts) {
  constexpr int kPerTurn = 50;
  constexpr std::uint64_t kAlerts = 20000;
  struct Turns {
    Count alerts;
    Count this_turn;
    Count most;
    Count timer;
    Count timer_half_way;
  };
  Shared<Turns> seen;
  AttachOptions options;
  options.alerts_per_turn_max = kPerTurn;
  Family family(FamilyOf(1, 8192));
  const Peer worker = family.SpawnDeaf(
      [&](Member& me) {
        uv_check_t check;
        uv_check_init(me.loop(), &check);
        check.data = &*seen;
        uv_check_start(
            &check, [](uv_check_t* handle) { static_cast<Turns*>(handle->data)->this_turn = 0; });
        uv_unref(reinterpret_cast<uv_handle_t*>(&check));
        me.Every(1, [&] { ++seen->timer; });
        me->ReceiveDefault([&](Alert&) {
          if (++seen->this_turn > seen->most) seen->most = seen->this_turn.load();
          if (++seen->alerts == kAlerts / 2) seen->timer_half_way = seen->timer.load();
          if (seen->alerts % 100 == 0) usleep(100);
        });
        me.Run();
        uv_close(reinterpret_cast<uv_handle_t*>(&check), nullptr);
        uv_run(me.loop(), UV_RUN_DEFAULT);
      },
      options);
  for (std::uint64_t i = 0; i < kAlerts; ++i) ASSERT_TRUE(family->Send(worker, "x").ok());
  family->Flush();
  family.Wake(worker);
  ASSERT_TRUE(family.Until([&] { return seen->alerts == kAlerts; }));
  EXPECT_LE(seen->most, static_cast<std::uint64_t>(kPerTurn));
  EXPECT_GT(seen->most, 1u);
  EXPECT_GT(seen->timer_half_way, 0u) << "the timer fired while there were alerts to handle";
}

// The bound holds for a turn that finishes what an earlier one had read and then reads again.
TEST(OnTheLoop, TurnThatReadsTwiceHandlesNoMoreAlerts) {
  constexpr int kPerTurn = 50;
  AttachOptions options;
  options.alerts_per_turn_max = kPerTurn;
  Soliloquy self(options);
  int this_turn = 0;
  int most = 0;
  uv_check_t check;
  uv_check_init(self.loop(), &check);
  check.data = &this_turn;
  uv_check_start(&check, [](uv_check_t* handle) { *static_cast<int*>(handle->data) = 0; });
  std::uint64_t left = 2000;
  self->ReceiveDefault([&](Alert&) {
    most = std::max(most, ++this_turn);
    if (left == 0) return;
    --left;
    self.Say("again");
    self->Flush();
  });
  for (int i = 0; i < 120; ++i) self.Say("x");
  EXPECT_TRUE(self.Quiet());
  EXPECT_LE(most, kPerTurn);
  uv_close(reinterpret_cast<uv_handle_t*>(&check), nullptr);
  self.Turns(1);
}

TEST(OnTheLoop, SelfSendingForEverLeavesRoomForTimers) {
  Soliloquy self;
  std::uint64_t handled = 0;
  self->Receive("again", [&](Alert&) {
    ++handled;
    self.Say("again");
  });
  self.Say("again");
  for (int i = 0; i < 5; ++i) self.InTurn([] {});
  EXPECT_GT(handled, 0u);
  self->Remove("again");
}

TEST(OnTheLoop, WorkerMayUseTheMastersLoopAfterUvLoopFork) {
  struct Heard {
    Count alerts;
  };
  Shared<Heard> heard;
  Family family(FamilyOf(2), MasterIs::kWithoutLoop);
  uv_loop_t* loop = family.loop();
  const auto main = [&, loop](Slot slot) {
    if (uv_loop_fork(loop) != 0) return 10;
    absl::StatusOr<std::unique_ptr<Worker>> attached = Worker::Attach(std::move(slot), loop);
    if (!attached.ok()) return 11;
    const std::unique_ptr<Worker> worker = *std::move(attached);
    worker->Receive("hello", [&](Alert& alert) {
      ++heard->alerts;
      alert.Reply("bye");
      worker->Close(absl::Seconds(10));
    });
    worker->Receive("bye", [&](Alert&) {
      ++heard->alerts;
      worker->Close(absl::Seconds(10));
    });
    if (worker->self().slot == 2) worker->Send(To::Slot(1), "hello");
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
  };
  family.SpawnMain(main);
  family.SpawnMain(main);
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 2; }));
  EXPECT_EQ(heard->alerts, 2u);
}

TEST(OnTheLoop, ForkedLoopOfAnAttachedMasterWorksToo) {
  struct Heard {
    Count alerts;
  };
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  int master_heard = 0;
  family->Receive("to the master", [&](Alert& alert) {
    ++master_heard;
    alert.Reply("to the worker");
  });
  uv_loop_t* loop = family.loop();
  const Peer worker = family.SpawnMain([&, loop](Slot slot) {
    if (uv_loop_fork(loop) != 0) return 10;
    absl::StatusOr<std::unique_ptr<Worker>> attached = Worker::Attach(std::move(slot), loop);
    if (!attached.ok()) return 11;
    const std::unique_ptr<Worker> me = *std::move(attached);
    me->Receive("to the worker", [&](Alert&) {
      ++heard->alerts;
      if (heard->alerts < 100) me->Send(To::Master(), "to the master");
    });
    me->Send(To::Master(), "to the master");
    while (heard->alerts < 101) uv_run(loop, UV_RUN_ONCE);
    return 0;
  });
  ASSERT_TRUE(family.Until([&] { return heard->alerts == 100; })) << heard->alerts;
  EXPECT_EQ(master_heard, 100);
  EXPECT_TRUE(family->Send(worker, "to the worker").ok());
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
}

TEST(OnTheLoop, AttachRefusesWhatMakesNoSense) {
  struct Results {
    Text loop;
    Text option;
    Text moved;
  };
  Shared<Results> results;
  Family family(FamilyOf(3));
  family.SpawnMain([&](Slot slot) {
    results->loop.Set(Worker::Attach(std::move(slot), nullptr).status().ToString());
    return 0;
  });
  family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    AttachOptions options;
    options.alerts_per_turn_max = 0;
    results->option.Set(Worker::Attach(std::move(slot), &loop, options).status().ToString());
    return uv_loop_close(&loop) == 0 ? 0 : 1;
  });
  family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    Slot other = std::move(slot);
    if (slot.number() != -1 || slot.generation() != 0) return 2;  // NOLINT(bugprone-use-after-move)
    if (other.number() != 3 || other.generation() != 1) return 3;
    results->moved.Set(Worker::Attach(std::move(slot), &loop).status().ToString());
    return uv_loop_close(&loop) == 0 ? 0 : 1;
  });
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 3; }));
  EXPECT_NE(results->loop.Get().find("INVALID_ARGUMENT"), std::string::npos) << results->loop.Get();
  EXPECT_NE(results->option.Get().find("INVALID_ARGUMENT"), std::string::npos)
      << results->option.Get();
  EXPECT_NE(results->option.Get().find("alerts_per_turn_max"), std::string::npos)
      << results->option.Get();
  EXPECT_NE(results->moved.Get().find("FAILED_PRECONDITION"), std::string::npos)
      << results->moved.Get();
  const absl::Status again = family->Attach(family.loop());
  EXPECT_TRUE(Says(again, StatusCode::kFailedPrecondition));
}

// ---- What cannot be held ------------------------------------------------------------------------

TEST(Receive, AlertOverTheReceiversBudgetComesBackToItsSender) {
  struct Heard {
    Count alerts;
    Count held;
    Count half_there;
  };
  Shared<Heard> heard;
  MasterOptions options = FamilyOf(2, 4096);
  options.alert_bytes_max = 4000000;
  options.reassembly_bytes_max = 4000000;
  Family family(options);
  std::vector<std::string> back;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.reason, UndeliveredReason::kReceiverFull);
    EXPECT_EQ(undelivered.peer.slot, 1);
    EXPECT_EQ(undelivered.alert_id, 1u);
    back.emplace_back(undelivered.name);
  });
  const Peer receiver = family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) {
      me.Check(alert.data().size() <= 100,
               "held in spite of the budget: " + std::string(alert.name()) + ", " +
                   std::to_string(alert.data().size()) + " bytes");
      ++heard->alerts;
    });
    me.Every(1, [&] { heard->held = me->stats().reassembly_bytes; });
    me.Run();
  });
  // Worker 2 leaves a part of an alert there for ever: it never runs its loop, and one call writes
  // about 1 MB at most.
  const Peer sender = family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto worker = Worker::Attach(std::move(slot), &loop);
    if (!worker.ok()) return 11;
    (*worker)->Send(receiver, "half", Buffer(std::string(3990000, 'x')));
    while (heard->held == 0) {
      usleep(2000);
      (*worker)->Flush();
    }
    heard->half_there = 1;
    Family::WaitForEnd();
    _exit(0);
  });
  ASSERT_TRUE(family.Until([&] { return heard->half_there == 1 && heard->held > 0; }));
  EXPECT_TRUE(family->Send(receiver, "too much", Buffer(std::string(4000000, 'y'))).ok());
  EXPECT_TRUE(family->Send(receiver, "small", "small").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts == 1 && !back.empty(); }));
  EXPECT_EQ(back, std::vector<std::string>{"too much"});
  EXPECT_EQ(family->stats().alerts_undelivered, 1u);
  ASSERT_TRUE(family.KillAndReap(sender));
  ASSERT_TRUE(family.Until([&] { return heard->held == 0; })) << "the half is freed";
}

}  // namespace
}  // namespace alertpipe::process
