// SPDX-License-Identifier: Apache-2.0
//
// Limits that are exceeded and calls at the wrong time or in the wrong process. Each is refused
// with an error that names the thing, the limit and the value, and changes nothing.
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

// ---- Limits of a family -------------------------------------------------------------------------

absl::Status CreateWith(const std::function<void(MasterOptions&)>& change) {
  MasterOptions options = FamilyOf(1);
  change(options);
  return Master::Create(options).status();
}

TEST(Limits, OfTheNumberOfWorkers) {
  for (const int workers : {0, -1, 4097, 1 << 30}) {
    EXPECT_TRUE(Says(CreateWith([=](MasterOptions& o) { o.workers_max = workers; }),
                     StatusCode::kInvalidArgument,
                     {"workers_max", "1 to 4096", "was " + std::to_string(workers)}));
  }
  EXPECT_TRUE(CreateWith([](MasterOptions&) {}).ok());
}

TEST(Limits, OfThePipeCapacity) {
  for (const std::size_t capacity :
       {std::size_t{1}, std::size_t{4095}, (std::size_t{1} << 30) + 1, ~std::size_t{0}}) {
    EXPECT_TRUE(
        Says(CreateWith([=](MasterOptions& o) { o.pipe_capacity = capacity; }),
             StatusCode::kInvalidArgument,
             {"pipe_capacity", "0 or 4096 to 1073741824", "was " + std::to_string(capacity)}));
  }
  for (const std::size_t capacity : {0, 4096, 4097, 1 << 20}) {
    EXPECT_TRUE(CreateWith([=](MasterOptions& o) { o.pipe_capacity = capacity; }).ok()) << capacity;
  }
}

TEST(Limits, OfTheLengthOfAlertsAndOfWhatAReceiverHolds) {
  EXPECT_TRUE(Says(CreateWith([](MasterOptions& o) { o.alert_bytes_max = kDataBytesMax + 1; }),
                   StatusCode::kInvalidArgument,
                   {"alert_bytes_max", "0 to 4294967040", "was 4294967041"}));
  EXPECT_TRUE(CreateWith([](MasterOptions& o) { o.alert_bytes_max = 0; }).ok());
  const auto reassembly = [](std::uint64_t alert, std::uint64_t held) {
    return CreateWith([=](MasterOptions& o) {
      o.alert_bytes_max = alert;
      o.reassembly_bytes_max = held;
    });
  };
  EXPECT_TRUE(Says(reassembly(1000, 999), StatusCode::kInvalidArgument,
                   {"reassembly_bytes_max", "alert_bytes_max (1000)", "was 999"}));
  EXPECT_TRUE(reassembly(1000, 1000).ok());
  EXPECT_TRUE(reassembly(kDataBytesMax, ~std::uint64_t{0}).ok());
}

TEST(Limits, OfTheQueues) {
  const auto queues = [](std::uint64_t per_peer, std::uint64_t all) {
    return CreateWith([=](MasterOptions& o) {
      o.queued_bytes_per_peer_max = per_peer;
      o.queued_bytes_max = all;
    });
  };
  EXPECT_TRUE(Says(queues(4095, 4096), StatusCode::kInvalidArgument,
                   {"queued_bytes_per_peer_max", "at least 4096", "was 4095"}));
  EXPECT_TRUE(Says(queues(4096, 0), StatusCode::kInvalidArgument,
                   {"queued_bytes_max", "at least 4096", "was 0"}));
  EXPECT_TRUE(queues(4096, 4096).ok());
  EXPECT_TRUE(queues(~std::uint64_t{0}, ~std::uint64_t{0}).ok());
}

TEST(Limits, OfAlertsPerTurn) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  AttachOptions options;
  for (const int alerts : {0, -1}) {
    options.alerts_per_turn_max = alerts;
    EXPECT_TRUE(Says(family.Attach(options), StatusCode::kInvalidArgument,
                     {"alerts_per_turn_max", "at least 1", "was " + std::to_string(alerts)}));
  }
  Shared<Count> heard;
  options.alerts_per_turn_max = 1;
  EXPECT_TRUE(family.Attach(options).ok()) << "a refused call has changed nothing";
  family.Spawn(
      [&](Member& me) {
        me->ReceiveDefault([&](Alert&) { ++*heard; });
        me.Run();
      },
      options);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(family->Send(To::Slot(1), "x").ok());
  EXPECT_TRUE(family.Until([&] { return *heard == 100; }));
}

// ---- Limits of an alert -------------------------------------------------------------------------

TEST(Limits, OfNames) {
  Shared<Count> heard;
  Family family(FamilyOf(1));
  const std::string longest(254, 'n');
  const std::string longer(255, 'n');
  family.Spawn([&](Member& me) {
    me->Receive(longest, [&](Alert& alert) {
      me.Check(alert.name() == longest, "name");
      ++*heard;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  const auto refused = [](const absl::Status& status) {
    return Says(status, StatusCode::kInvalidArgument, {"name", "254", "255"});
  };
  EXPECT_TRUE(family->Send(To::Slot(1), longest).ok());
  EXPECT_EQ(family->Broadcast(longest).accepted, 1u);
  EXPECT_TRUE(refused(family->Send(To::Slot(1), longer).status()));
  EXPECT_TRUE(refused(family->Send(To::Slot(1), longer, Buffer(std::string("x"))).status()));
  EXPECT_TRUE(refused(family->Broadcast(longer).status()));
  EXPECT_TRUE(refused(family->Receive(longer, [](Alert&) {}).status()));
  EXPECT_TRUE(refused(family->Receive({{"x", [](Alert&) {}}, {longer, [](Alert&) {}}}).status()));
  EXPECT_TRUE(refused(family->Remove(longer).status()));
  EXPECT_TRUE(Says(family->Remove("x").status(), StatusCode::kNotFound, {"\"x\""}))
      << "all or none";
  EXPECT_TRUE(family.Until([&] { return *heard == 2; }));
}

TEST(Limits, OfData) {
  MasterOptions options = FamilyOf(1);
  options.alert_bytes_max = 100000;
  Family family(options);
  Shared<Count> heard;
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) {
      me.Check(IsPattern(alert.data(), 1) && alert.data().size() == 100000, "data");
      ++*heard;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  const auto refused = [](const absl::Status& status) {
    return Says(status, StatusCode::kInvalidArgument, {"data", "100000", "100001"});
  };
  const std::string longest = Pattern(100000, 1);
  const std::string longer(100001, 'x');
  EXPECT_TRUE(refused(family->Send(To::Slot(1), "x", longer).status()));
  EXPECT_TRUE(refused(family->Send(To::Slot(1), "x", Buffer(std::string(longer))).status()));
  EXPECT_TRUE(refused(family->Broadcast("x", longer).status()));
  EXPECT_TRUE(family->Send(To::Slot(1), "x", longest).ok());
  EXPECT_TRUE(family->Broadcast("x", Buffer(std::string(longest))).ok());
  EXPECT_TRUE(family.Until([&] { return *heard == 2; }));
  EXPECT_EQ(family->stats().alerts_refused, 3u);
}

// ---- Whom nobody is -----------------------------------------------------------------------------

TEST(Pid, OfNobodyIsNamed) {
  Family family(FamilyOf(1));
  const Peer dead = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(dead));
  for (const pid_t pid : {0, -1, -dead.pid, 1, getppid(), 0x7fffffff}) {
    EXPECT_TRUE(Says(family->Send(To::Pid(pid), "x").status(), StatusCode::kNotFound,
                     {"pid " + std::to_string(pid)}));
  }
  EXPECT_TRUE(Says(family->Send(To::Pid(dead.pid), "x").status(), StatusCode::kUnavailable,
                   {"pid " + std::to_string(dead.pid), "dead"}));
  EXPECT_TRUE(Says(family->Send(dead, "x").status(), StatusCode::kUnavailable,
                   {"slot 1", "generation 1", "dead"}));
  EXPECT_TRUE(Says(family->Send(To::Slot(2), "x").status(), StatusCode::kNotFound, {"slot 2"}));
  EXPECT_TRUE(Says(family->Respawn(2).status(), StatusCode::kNotFound, {"slot 2", "1 to 1"}));
  EXPECT_TRUE(Says(family->Respawn(0).status(), StatusCode::kNotFound, {"slot 0", "1 to 1"}));
  EXPECT_EQ(family->stats().alerts_refused, 9u);
}

// ---- The wrong time -----------------------------------------------------------------------------

// Whether everything that sends is refused, with these texts.
void ExpectAllRefused(Endpoint& endpoint, std::initializer_list<std::string> texts) {
  const auto refused = [&](const absl::Status& status) {
    return Says(status, StatusCode::kFailedPrecondition, texts);
  };
  EXPECT_TRUE(refused(endpoint.Send(To::Slot(1), "x").status()));
  EXPECT_TRUE(refused(endpoint.Send(To::Slot(1), "x", Buffer(std::string("x"))).status()));
  EXPECT_TRUE(refused(endpoint.Broadcast("x").status()));
  EXPECT_TRUE(refused(endpoint.Broadcast("x", Buffer(std::string("x"))).status()));
  EXPECT_TRUE(refused(endpoint.Flush().status()));
  EXPECT_EQ(endpoint.QueuedBytes(), 0u);
}

TEST(UseBeforeAttach, IsRefusedAndHandlersMayBeSetAlready) {
  Shared<Count> heard;
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) { ++*heard; });
    me->Receive("call", [](Alert& alert) { alert.Reply("back"); });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ExpectAllRefused(*family.master, {"not attached"});
  EXPECT_TRUE(Says(family->Close(absl::ZeroDuration()).status(), StatusCode::kFailedPrecondition,
                   {"attached"}));
  bool back = false;
  EXPECT_TRUE(family->Receive("back", [&](Alert&) { back = true; }).ok());
  EXPECT_TRUE(family->Service().ok());
  ASSERT_TRUE(family.Attach().ok());
  EXPECT_TRUE(family->Send(To::Slot(1), "call").ok());
  EXPECT_TRUE(family.Until([&] { return back; }));
  EXPECT_EQ(*heard, 0u) << "a refused alert has left no trace";
}

TEST(AttachTwice, OfAMasterIsRefusedOpenAndClosed) {
  Family family(FamilyOf(1));
  EXPECT_TRUE(Says(family->Attach(family.loop()), StatusCode::kFailedPrecondition,
                   {"attached", "already"}));
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  EXPECT_TRUE(Says(family->Attach(family.loop()), StatusCode::kFailedPrecondition));
  ASSERT_TRUE(family.Until([&] { return closed; }));
  EXPECT_TRUE(Says(family->Attach(family.loop()), StatusCode::kFailedPrecondition));
}

TEST(AttachTwice, OfASlotIsRefusedAndTheFirstGoesOn) {
  Shared<Text> second;
  Shared<Count> heard;
  Family family(FamilyOf(1));
  family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto worker = Worker::Attach(std::move(slot), &loop);
    if (!worker.ok()) return 11;
    // NOLINTNEXTLINE(bugprone-use-after-move): that is the point
    second->Set(Worker::Attach(std::move(slot), &loop).status().ToString());
    (*worker)->ReceiveDefault([&](Alert&) { ++*heard; });
    while (*heard == 0) uv_run(&loop, UV_RUN_ONCE);
    worker->reset();
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 12;
  });
  ASSERT_TRUE(family.Until([&] { return second->is_set(); }));
  EXPECT_EQ(second->Get(), "FAILED_PRECONDITION: this slot was moved from");
  EXPECT_TRUE(family->Send(To::Slot(1), "x").ok());
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
}

TEST(UseAfterClose, OfAMasterIsRefused) {
  Family family(FamilyOf(1));
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  ExpectAllRefused(*family.master, {"closing"});
  ASSERT_TRUE(family.Until([&] { return closed; }));
  ExpectAllRefused(*family.master, {"closed"});
  const auto refused = [](const absl::Status& status) {
    return Says(status, StatusCode::kFailedPrecondition, {"closed"});
  };
  EXPECT_TRUE(refused(family->Receive("x", [](Alert&) {}).status()));
  EXPECT_TRUE(refused(family->Receive({{"x", [](Alert&) {}}}).status()));
  EXPECT_TRUE(refused(family->ReceiveDefault([](Alert&) {}).status()));
  EXPECT_TRUE(refused(family->Remove("x").status()));
  EXPECT_TRUE(refused(family->Close(absl::ZeroDuration()).status()));
  EXPECT_TRUE(family->Service().ok()) << "workers can still be looked after";
}

// ---- The wrong process --------------------------------------------------------------------------

TEST(Grandchild, CannotAttachToItsParentsSlot) {
  Shared<Text> refused;
  Family family(FamilyOf(1));
  const Peer worker = family.SpawnMain([&](Slot slot) {
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      uv_loop_t loop;
      uv_loop_init(&loop);
      refused->Set(Worker::Attach(std::move(slot), &loop).status().ToString());
      _exit(0);
    }
    int status = 0;
    if (waitpid(grandchild, &status, 0) != grandchild || status != 0) return 13;
    // The grandchild's copy is used up, not this one.
    return family.Live(std::move(slot), [](Member&) {});
  });
  ASSERT_TRUE(family.Until([&] { return refused->is_set(); }));
  const std::string text = refused->Get();
  EXPECT_EQ(text.find("FAILED_PRECONDITION: "), 0u) << text;
  EXPECT_NE(text.find("slot 1"), std::string::npos) << text;
  EXPECT_NE(text.find("belongs to the process " + std::to_string(worker.pid)), std::string::npos)
      << text;
  EXPECT_TRUE(family->Send(worker, "x").ok());
}

// The error of a call in the wrong process names the right one.
TEST(Grandchild, IsToldWhoseEndpointItIs) {
  struct Seen {
    Text worker;
    Text master;
    Text spawn;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) {
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        seen->master.Set(family->Send(To::Slot(1), "x").status().ToString());
        seen->spawn.Set(family->Spawn([](Slot) { return 0; }).status().ToString());
        seen->worker.Set(me->Send(To::Slot(1), "x").status().ToString());
        _exit(0);
      }
      waitpid(grandchild, nullptr, 0);
    });
    me.Run();
  });
  ASSERT_TRUE(family->Send(worker, "fork").ok());
  ASSERT_TRUE(family.Until([&] { return seen->worker.is_set(); }));
  const auto text = [](pid_t pid) {
    return "FAILED_PRECONDITION: this endpoint belongs to the process " + std::to_string(pid) +
           ", from which this one was forked";
  };
  EXPECT_EQ(seen->worker.Get(), text(worker.pid));
  EXPECT_EQ(seen->master.Get(), text(getpid()));
  EXPECT_EQ(seen->spawn.Get(), text(getpid()));
}

}  // namespace
}  // namespace alertpipe::process
