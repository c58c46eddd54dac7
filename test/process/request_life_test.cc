// SPDX-License-Identifier: Apache-2.0
//
// Requests where processes and endpoints end: endpoints that are destroyed or left behind by their
// own callbacks, forks, loops inside callbacks, and families without a master.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

constexpr absl::Duration kLong = absl::Minutes(10);
constexpr absl::Duration kForever = absl::InfiniteDuration();

struct Seen {
  Count each;
  Count done;
  Count outcome[8];  // by ResponseOutcome
  Count step;
  Count pid[4];

  ResponseCallback Callback() {
    return [this](Response& response) {
      ++outcome[static_cast<int>(response.outcome())];
      ++each;
    };
  }
  std::uint64_t Of(ResponseOutcome which) const { return outcome[static_cast<int>(which)]; }
};

// Responds to "echo"; keeps the tokens of "kept" until it ends.
void Echo(Member& me) {
  auto kept = std::make_shared<std::vector<ResponseToken>>();
  me->Receive("echo", [](Alert& alert) { alert.Respond(alert.data()); });
  me->Receive("kept", [kept](Alert& alert) { kept->push_back(alert.TakeResponseToken()); });
  me.Run();
  kept->clear();
}

// ---- The endpoint is destroyed in a callback ----------------------------------------------------

TEST(DestroyedIn, TheLastCallbackOfAGatherWhichIsDoneAllTheSame) {
  for (const bool all_dead : {false, true}) {
    Shared<Seen> seen;
    Family family(FamilyOf(3));
    std::vector<Peer> echoes;
    for (int i = 0; i < 2; ++i) echoes.push_back(family.Spawn(Echo));
    const Peer self = family.Spawn([&](Member& me) {
      me->Gather(
          all_dead ? "kept" : "echo", "x", kLong,
          [&](Response&) {
            if (++seen->each == 2) me.worker.reset();
          },
          [&] {
            me.Check(seen->each == 2, "done comes last");
            ++seen->done;
          });
      ++seen->step;
      me.Run();
    });
    family.ExpectExit(self, 0);
    ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
    if (all_dead) {
      for (const Peer& peer : echoes) ASSERT_TRUE(family.KillAndReap(peer));
    }
    ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
    EXPECT_EQ(seen->each, 2u);
    EXPECT_EQ(seen->done, 1u);
  }
}

TEST(DestroyedIn, AnEarlierCallbackOfAGather) {
  Shared<Seen> seen;
  Family family(FamilyOf(4));
  for (int i = 0; i < 3; ++i) family.Spawn(Echo);
  const Peer self = family.Spawn([&](Member& me) {
    me->Gather(
        "echo", "x", kLong,
        [&](Response& response) {
          ++seen->outcome[static_cast<int>(response.outcome())];
          if (++seen->each == 1) me.worker.reset();
        },
        [&] {
          me.Check(seen->each == 3, "done comes last");
          ++seen->done;
        });
    me.Run();
  });
  family.ExpectExit(self, 0);
  ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
  EXPECT_EQ(seen->done, 1u);
  EXPECT_EQ(seen->Of(ResponseOutcome::kResponse), 1u);
  EXPECT_EQ(seen->Of(ResponseOutcome::kClosed), 2u);
}

TEST(DestroyedIn, DoneOrAWait) {
  for (const bool in_done : {false, true}) {
    Shared<Seen> seen;
    Family family(FamilyOf(2));
    family.Spawn(Echo);
    const Peer self = family.Spawn([&](Member& me) {
      me->Request(To::Slot(1), "kept", "", kForever, seen->Callback());
      me->WhenWorkers(0, kLong, [&](const absl::Status& status) {
        me.Check(status.ok(), "enough");
        ++seen->step;
        if (!in_done) me.worker.reset();
      });
      me->Gather(
          "echo", "", kLong, [&](Response&) { ++seen->step; },
          [&] {
            ++seen->done;
            if (in_done) me.worker.reset();
          });
      me.Run();
    });
    family.ExpectExit(self, 0);
    ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
    EXPECT_EQ(seen->step, 2u);
    EXPECT_EQ(seen->done, 1u);
    EXPECT_EQ(seen->each, 1u);
    EXPECT_EQ(seen->Of(ResponseOutcome::kClosed), 1u);
  }
}

// A process that closes and lives on says of the tokens that it drops that nothing will come.
TEST(TokensOfAnEndpoint, ThatIsGoneEndTheirRequestsWhenTheyAreDropped) {
  for (const bool destroyed : {false, true}) {
    Shared<Seen> seen;
    Family family(FamilyOf(1));
    const Peer worker = family.Spawn([&, destroyed](Member& me) {
      auto kept = std::make_shared<ResponseToken>();
      me->Receive("kept", [&, kept, destroyed](Alert& alert) {
        *kept = alert.TakeResponseToken();
        if (destroyed) return me.worker.reset();
        me.Check(me->Close(absl::ZeroDuration(),
                           [&, kept](const CloseReport&) {
                             me.Check(absl::IsFailedPrecondition(kept->Respond("x").status()),
                                      "closed");
                             *kept = ResponseToken();
                           })
                     .ok(),
                 "closes");
      });
      kept.reset();  // the handler has the last one
      uv_run(me.loop(), UV_RUN_DEFAULT);
      ++seen->step;
      while (seen->step != 2) usleep(1000);
    });
    family.ExpectExit(worker, 0);
    ASSERT_TRUE(family->Request(worker, "kept", "", kForever, seen->Callback()).ok());
    EXPECT_TRUE(family.Until([&] { return seen->each == 1; })) << "while the process lives";
    EXPECT_EQ(seen->Of(ResponseOutcome::kUnhandled), 1u) << destroyed;
    ++seen->step;
    ASSERT_TRUE(family.Until([&] { return family.live.empty(); }));
  }
}

// The worker's main returns with an endpoint whose loop is no more.
TEST(LeftBehind, ByMainWithRequestsAndWaitsOpen) {
  Shared<Seen> seen;
  Family family(FamilyOf(2, 4096));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  const Peer self = family.SpawnMain([&](Slot slot) {
    const std::size_t bytes = 65536;
    void* page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* loop = static_cast<uv_loop_t*>(page);
    if (uv_loop_init(loop) != 0) return 1;
    auto attached = Worker::Attach(std::move(slot), loop);
    if (!attached.ok()) return 2;
    Worker* worker = attached->release();
    const auto again = [&seen, worker](Response& response) {
      ++seen->outcome[static_cast<int>(response.outcome())];
      ++seen->each;
      worker->Send(To::Slot(1), "once more");
      worker->Request(To::Slot(1), "once more", "", kForever, seen->Callback());
    };
    for (int i = 0; i < 20; ++i)
      worker->Request(To::Slot(1), "x", std::string(1000, 'x'), kForever, again);
    worker->WhenWorkers(2, kLong, [](const absl::Status&) {});
    worker->WhenWorkers(2, kLong, [](const absl::Status&) {});
    uv_run(loop, UV_RUN_NOWAIT);
    worker->Gather("x", "", kForever, seen->Callback(), [&seen] { ++seen->done; });
    munmap(page, bytes);
    return 0;
  });
  family.ExpectExit(self, 0);
  ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
  EXPECT_EQ(seen->Of(ResponseOutcome::kClosed), 21u);
  EXPECT_EQ(seen->each, 21u);
  EXPECT_EQ(seen->done, 1u);
  family.Wake(deaf);
}

// ---- Forks --------------------------------------------------------------------------------------

TEST(ForkedPlainly, ATokenSendsNothing) {
  Shared<Seen> seen;
  std::string data;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([&](Member& me) {
    auto kept = std::make_shared<ResponseToken>();
    me->Receive("ask", [&, kept](Alert& alert) {
      *kept = alert.TakeResponseToken();
      const pid_t child = fork();
      if (child == 0) {
        alarm(60);
        const bool refused = absl::IsFailedPrecondition(kept->Respond("from the child").status());
        { const ResponseToken dropped = std::move(*kept); }
        const bool closed = !kept->open();  // NOLINT(bugprone-use-after-move)
        _exit(refused && closed ? 0 : 1);
      }
      int status = -1;
      waitpid(child, &status, 0);
      me.Check(status == 0, "refused in the child");
      ++seen->step;
    });
    me.Every(2, [&, kept] {
      if (seen->step == 2 && kept->open()) me.Check(kept->Respond("from the worker").ok(), "here");
    });
    me.Run();
    kept.reset();
  });
  ASSERT_TRUE(family
                  ->Request(worker, "ask", "", kLong,
                            [&](Response& response) {
                              data = response.data();
                              seen->Callback()(response);
                            })
                  .ok());
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  family.Turns(20);
  EXPECT_EQ(seen->each, 0u);
  ++seen->step;
  ASSERT_TRUE(family.Until([&] { return seen->each == 1; }));
  EXPECT_EQ(data, "from the worker");
  EXPECT_EQ(family->stats().control_read, 1u) << "the notice that the worker has joined";
}

// A forked process that runs the copied loop, or destroys the copied endpoint, ends no request.
TEST(ForkedPlainly, AnEndpointTellsNothing) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo);
  family.Spawn([&](Member& me) {
    me->Request(To::Slot(1), "kept", "", absl::Milliseconds(20), seen->Callback());
    me->WhenWorkers(1, kLong, [&](const absl::Status&) { ++seen->done; });
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      usleep(40000);
      for (int i = 0; i < 5; ++i) uv_run(me.loop(), UV_RUN_NOWAIT);
      me.worker.reset();
      _exit(seen->each == 0 && seen->done == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    me.Check(status == 0, "nothing was told in the child");
    ++seen->step;
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1 && seen->each == 1 && seen->done == 1; }));
  EXPECT_EQ(seen->Of(ResponseOutcome::kDeadline), 1u);
}

// ---- Loops --------------------------------------------------------------------------------------

TEST(NestedLoop, TellsNothingUntilTheCallbackHasReturned) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Echo);
  ASSERT_TRUE(family.Ready());
  int inside = 0;
  int ended = 0;
  const auto nest = [&] {
    EXPECT_EQ(inside++, 0) << "one at a time";
    const int before = ended;
    for (int i = 0; i < 20; ++i) {
      uv_run(family.loop(), UV_RUN_NOWAIT);
      usleep(1000);
    }
    EXPECT_EQ(ended, before);
    ++ended;
    --inside;
  };
  const auto callback = [&](Response&) { nest(); };
  ASSERT_TRUE(family->Request(worker, "echo", "", kLong, callback).ok());
  ASSERT_TRUE(family->Request(worker, "echo", "", kLong, callback).ok());
  ASSERT_TRUE(family->Request(worker, "kept", "", absl::Milliseconds(5), callback).ok());
  ASSERT_TRUE(family->Request(worker, "unknown", "", kLong, callback).ok());
  ASSERT_TRUE(family->WhenWorkers(1, kLong, [&](const absl::Status&) { nest(); }).ok());
  ASSERT_TRUE(family->Gather("echo", "", kLong, callback, nest).ok());
  ASSERT_TRUE(family.Until([&] { return ended == 7; }));
  family.Turns(10);
  EXPECT_EQ(ended, 7);
}

// An endpoint that does not keep its loop alive is told its deadlines while something else does.
TEST(NotKeepingTheLoop, DeadlinesComeWhileSomethingElseKeepsIt) {
  Shared<Seen> seen;
  AttachOptions options;
  options.keep_loop_alive = false;
  Family family(FamilyOf(2));
  family.Spawn(Echo);
  const Peer self = family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto worker = Worker::Attach(std::move(slot), &loop, options);
    if (!worker.ok()) return 1;
    const auto ask = [&](absl::Duration deadline) {
      return (*worker)->Request(To::Slot(1), "kept", "", deadline, seen->Callback()).ok();
    };
    if (!ask(kLong)) return 2;
    uv_run(&loop, UV_RUN_DEFAULT);  // nothing keeps it
    if (seen->each != 0 || !ask(absl::Milliseconds(10))) return 3;
    uv_timer_t other;
    uv_timer_init(&loop, &other);
    other.data = &*seen;
    uv_timer_start(
        &other,
        [](uv_timer_t* timer) {
          if (static_cast<Seen*>(timer->data)->each != 0) uv_timer_stop(timer);
        },
        1, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (seen->Of(ResponseOutcome::kDeadline) != 1) return 4;
    if (!(*worker)->Close(absl::Seconds(5)).ok()) return 5;
    uv_close(reinterpret_cast<uv_handle_t*>(&other), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (seen->Of(ResponseOutcome::kClosed) != 1) return 6;
    return uv_loop_close(&loop) == 0 ? 0 : 7;
  });
  family.ExpectExit(self, 0);
  ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
}

// With a request open and nothing to do, the loop waits.
TEST(Idle, ALoopWithOpenRequestsSleeps) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Echo);
  ASSERT_TRUE(family->Request(worker, "kept", "", kLong, seen->Callback()).ok());
  ASSERT_TRUE(family->Request(worker, "kept", "", absl::Milliseconds(1), seen->Callback()).ok());
  ASSERT_TRUE(family->WhenWorkers(1, kLong, [](const absl::Status&) {}).ok());
  ASSERT_TRUE(family.Until([&] { return seen->each == 1; }));
  family.Turns(20);
  int next = uv_backend_timeout(family.loop());
  EXPECT_NE(next, 0) << "a busy loop";
}

// ---- Without the master -------------------------------------------------------------------------

// All that worker 1 waits for was written long ago: no write of its own shows a death.
TEST(MasterGone, RequestsToItAndToPeersThatDieLaterEnd) {
  for (const MasterIs master : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Shared<Seen> seen;
    Shared<Seen> of_master;
    Household house([&] {
      Family family(FamilyOf(3), master);
      auto kept = std::make_shared<std::vector<ResponseToken>>();
      if (master == MasterIs::kAttached) {
        family->Receive("kept",
                        [kept](Alert& alert) { kept->push_back(alert.TakeResponseToken()); });
      }
      family.Spawn([&](Member& me) {
        me->OnMasterGone([&] { ++seen->done; });
        me->OnDamage([&](const Damage&) { ++seen->pid[0]; });
        me.Every(2, [&] {
          if (seen->step != 1 && seen->step != 3) return;
          ++seen->step;
          if (seen->step == 2 && master == MasterIs::kAttached)
            me->Request(To::Master(), "kept", "", kForever, of_master->Callback());
          me->Request(To::Slot(2), "kept", "", kForever, seen->Callback());
          me->Request(To::Slot(3), "kept", "", kForever, seen->Callback());
        });
        me.Run();
      });
      for (int i = 0; i < 2; ++i) family.Spawn(Echo);
      if (!family.Ready()) return;
      for (const auto& [slot, peer] : family.live)
        seen->pid[slot] = static_cast<std::uint64_t>(peer.pid);
      ++seen->step;
      family.Until([] { return false; });
    });
    ASSERT_TRUE(Eventually([&] { return seen->step == 2; }));
    usleep(20000);
    std::vector<pid_t> workers;
    for (int slot = 1; slot <= 3; ++slot)
      workers.push_back(static_cast<pid_t>(seen->pid[slot].load()));
    house.KillMaster(workers);
    ASSERT_TRUE(Eventually([&] { return seen->done == 1; }));
    if (master == MasterIs::kAttached) {
      EXPECT_TRUE(Eventually([&] { return of_master->Of(ResponseOutcome::kPeerDied) == 1; }));
    }
    ++seen->step;  // one more to each
    ASSERT_TRUE(Eventually([&] { return seen->step == 4; }));
    usleep(20000);
    EXPECT_EQ(seen->each, 0u) << "they live";
    house.KillOrphan(workers[1]);
    EXPECT_TRUE(Eventually([&] { return seen->Of(ResponseOutcome::kPeerDied) == 2; }));
    EXPECT_EQ(seen->each, 2u) << "the other one lives";
    EXPECT_TRUE(house.EndOrphan(workers[0]));
    EXPECT_EQ(seen->Of(ResponseOutcome::kClosed), 2u);
    EXPECT_TRUE(house.EndOrphan(workers[2]));
    EXPECT_EQ(seen->pid[0], 0u) << "damage";
  }
}

// What a peer has written before it died is read first.
TEST(MasterGone, AResponseThatWasWrittenBeforeADeathEndsItsRequest) {
  Shared<Seen> seen;
  Household house([&] {
    Family family(FamilyOf(2));
    family.Spawn([&](Member& me) {
      me->OnMasterGone([&] {
        me->Request(To::Slot(2), "answer and die", "", kForever, seen->Callback());
        me->Request(To::Slot(2), "too late", "", kForever, seen->Callback());
        // A write finds it dead, before anything is read.
        while (me->Send(To::Slot(2), "more").ok()) {
          me->Flush();
          usleep(500);
        }
      });
      me->OnDamage([&](const Damage&) { ++seen->step; });
      me.Run();
    });
    family.Spawn([&](Member& me) {
      me->Receive("answer and die", [&](Alert& alert) {
        alert.Respond("at once");
        raise(SIGKILL);
      });
      me.Run();
    });
    if (!family.Ready()) return;
    for (const auto& [slot, peer] : family.live)
      seen->pid[slot] = static_cast<std::uint64_t>(peer.pid);
    seen->done = 1;
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return seen->done == 1; }));
  const std::vector<pid_t> workers = {static_cast<pid_t>(seen->pid[1].load()),
                                      static_cast<pid_t>(seen->pid[2].load())};
  house.KillMaster(workers);
  EXPECT_TRUE(Eventually([&] { return seen->each == 2; }));
  EXPECT_EQ(seen->Of(ResponseOutcome::kResponse), 1u);
  EXPECT_EQ(seen->Of(ResponseOutcome::kPeerDied), 1u);
  EXPECT_EQ(seen->step, 0u);
  house.KillOrphan(workers[1]);
  EXPECT_TRUE(house.EndOrphan(workers[0]));
}

}  // namespace
}  // namespace alertpipe::process
