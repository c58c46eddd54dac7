// SPDX-License-Identifier: Apache-2.0
//
// Births and deaths: what the others learn, what becomes of alerts under way, what a relative that
// is no endpoint can do (nothing), and how a family lives on without its master.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

struct Heard {
  Count alerts[16];
  Count step;
};

Member::Body Listener(Heard* heard) {
  return [heard](Member& me) {
    const int slot = me.slot();
    me->ReceiveDefault([heard, slot](Alert&) { ++heard->alerts[slot]; });
  };
}

// ---- Starting -----------------------------------------------------------------------------------

TEST(Start, WorkersGetTheLowestFreeSlotAndGenerationOne) {
  Family family(FamilyOf(3));
  for (int slot = 1; slot <= 3; ++slot) {
    const Peer worker = family.Spawn([slot](Member& me) {
      me.Check(me.slot() == slot, "slot");
      me.Check(me->self().slot == slot && me->self().generation == 1 && me->self().pid == getpid(),
               "self");
      me.Check(me->master().is_master() && me->master().pid == getppid(), "master");
    });
    EXPECT_EQ(worker.slot, slot);
    EXPECT_EQ(worker.generation, 1u);
    EXPECT_GT(worker.pid, 0);
    EXPECT_FALSE(worker.is_master());
  }
  const std::vector<Peer> workers = family->Workers();
  ASSERT_EQ(workers.size(), 3u);
  for (int slot = 1; slot <= 3; ++slot) {
    EXPECT_EQ(workers[static_cast<std::size_t>(slot - 1)], family.live[slot]);
    EXPECT_EQ(workers[static_cast<std::size_t>(slot - 1)].pid, family.live[slot].pid);
  }
  EXPECT_TRUE(Says(family->Spawn([](Slot) { return 0; }).status(), StatusCode::kResourceExhausted,
                   {"workers_max", "3"}));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(family.live[2]));
  EXPECT_EQ(family->Workers().size(), 2u);
  const Peer replacement = family.Spawn([](Member&) {});
  EXPECT_EQ(replacement.slot, 2);
  EXPECT_EQ(replacement.generation, 2u);
}

TEST(Start, AlertsBeforeAttachAreKept) {
  struct Early {
    Count alerts;
  };
  Shared<Early> early;
  Family family(FamilyOf(2));
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    me->Receive("early", [&](Alert& alert) {
      me.Check(NumberOf(alert.data()) == ++early->alerts % 10 || early->alerts == 10, "order");
    });
    me.Run();
  });
  for (std::uint64_t number = 1; number <= 9; ++number) {
    EXPECT_TRUE(family->Send(deaf, "early", Numbered(number)).ok());
  }
  family.Turns(3);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return early->alerts == 9; }));
  EXPECT_TRUE(family->Broadcast("early", Numbered(10)).ok());
  ASSERT_TRUE(family.Until([&] { return early->alerts == 10; }));
}

TEST(Start, StdioIsFlushedBeforeTheForkAndByTheWorker) {
  char path[] = "/tmp/alertpipe_stdio_XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  FILE* stream = fdopen(dup(fd), "w");
  {
    Family family(FamilyOf(2));
    std::fputs("master ", stream);
    for (int i = 0; i < 2; ++i) {
      family.SpawnMain([&](Slot) {
        std::fputs("worker ", stream);
        return 0;
      });
      ASSERT_TRUE(
          family.Until([&] { return family.exits.size() == static_cast<std::size_t>(i + 1); }));
    }
  }
  std::fclose(stream);
  char text[100] = {};
  ASSERT_GT(pread(fd, text, sizeof text - 1, 0), 0);
  EXPECT_STREQ(text, "master worker worker ");
  close(fd);
}

TEST(Start, OptionsOutOfRangeAreNamed) {
  const auto create = [](const std::function<void(MasterOptions&)>& change) {
    MasterOptions options = FamilyOf(2);
    change(options);
    return Master::Create(options).status();
  };
  EXPECT_TRUE(Says(create([](MasterOptions& o) { o.workers_max = 0; }),
                   StatusCode::kInvalidArgument, {"workers_max", "4096", "0"}));
  EXPECT_TRUE(Says(create([](MasterOptions& o) { o.workers_max = 4097; }),
                   StatusCode::kInvalidArgument, {"workers_max", "4096", "4097"}));
  EXPECT_TRUE(Says(create([](MasterOptions& o) { o.alert_bytes_max = kDataBytesMax + 1; }),
                   StatusCode::kInvalidArgument, {"alert_bytes_max", "4294967040", "4294967041"}));
  EXPECT_TRUE(Says(create([](MasterOptions& o) { o.reassembly_bytes_max = 1000; }),
                   StatusCode::kInvalidArgument, {"reassembly_bytes_max", "1000"}));
}

TEST(Start, TooFewDescriptorsLeaveNothingBehind) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 60;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const absl::Status status = Master::Create(FamilyOf(100)).status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(Says(status, StatusCode::kResourceExhausted, {"RLIMIT_NOFILE", "60"}));
}

// ---- Exit ---------------------------------------------------------------------------------------

TEST(Exit, HookTellsCodeAndSignal) {
  Family family(FamilyOf(3));
  const Peer coded = family.SpawnMain([](Slot) { return 7; });
  family.ExpectExit(coded, 7);
  const Peer killed = family.SpawnMain([](Slot) {
    Family::WaitForEnd();
    return 0;
  });
  family.Kill(killed, SIGKILL);
  const Peer ended = family.SpawnMain([](Slot) {
    std::exit(3);
    return 0;
  });
  family.ExpectExit(ended, 3);
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 3; }));
  for (const WorkerExit& exit : family.exits) {
    EXPECT_TRUE(exit.known);
    EXPECT_EQ(exit.worker.generation, 1u);
    EXPECT_EQ(exit.exit_code, exit.worker == coded ? 7 : exit.worker == ended ? 3 : 0);
    EXPECT_EQ(exit.signal, exit.worker == killed ? SIGKILL : 0);
    EXPECT_EQ(exit.worker.pid, exit.worker == coded    ? coded.pid
                               : exit.worker == killed ? killed.pid
                                                       : ended.pid);
  }
}

TEST(Exit, WorkerReapedBySomebodyElseIsUnknown) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  WorkerExit seen;
  const Peer worker = family.SpawnMain([](Slot) { return 5; });
  int status = 0;
  ASSERT_EQ(waitpid(worker.pid, &status, 0), worker.pid);
  family->OnExit([&](const WorkerExit& exit) { seen = exit; });
  ASSERT_TRUE(family.Until([&] { return seen.worker.slot == 1; }));
  EXPECT_FALSE(seen.known);
  EXPECT_EQ(seen.exit_code, 0);
  family.live.clear();
}

TEST(Exit, RespawnFromTheHookCountsGenerations) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  family.OnExit([&](const WorkerExit& exit) {
    EXPECT_EQ(family.Respawn(exit.worker.slot).slot, exit.worker.slot);
  });
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) { ++heard->alerts[me.slot()]; });
    me.Run();
  });
  for (std::uint32_t generation = 1; generation <= 6; ++generation) {
    ASSERT_TRUE(family.Ready());
    const Peer worker = family.live[1];
    EXPECT_EQ(worker.generation, generation);
    EXPECT_TRUE(family->Send(worker, "x").ok());
    ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == generation; }));
    family.Kill(worker);
    ASSERT_TRUE(family.Until([&] { return family.Lives(Peer{0, 1, generation + 1}); }));
  }
}

TEST(Exit, RespawnFromTheHookInService) {
  Shared<Heard> heard;
  Family family(FamilyOf(2), MasterIs::kWithoutLoop);
  family.OnExit([&](const WorkerExit& exit) { family.Respawn(exit.worker.slot); });
  family.Spawn(Listener(&*heard));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  family.Kill(family.live[1]);
  family.Kill(family.live[2]);
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == 2; }));
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(family.live[1].generation, 2u);
  EXPECT_EQ(family.live[2].generation, 2u);
}

TEST(Exit, RespawnIsForDeadWorkersOnly) {
  Family family(FamilyOf(2));
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition));
  EXPECT_TRUE(Says(family->Respawn(2).status(), StatusCode::kNotFound));
  EXPECT_FALSE(family->Respawn(0).ok());
  EXPECT_FALSE(family->Respawn(3).ok());
  EXPECT_FALSE(family->Respawn(-1).ok());
}

TEST(Exit, ServiceFindsTheDeadWithoutALoop) {
  Family family(FamilyOf(2), MasterIs::kWithoutLoop);
  const Peer first = family.Spawn([](Member&) {});
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  absl::StatusOr<int> found = family->Service();
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, 0);
  family.Kill(first);
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(first.pid), &info, WEXITED | WNOWAIT), 0);
  found = family->Service();
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, 1);
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_EQ(family.exits[0].worker, first);
  EXPECT_EQ(waitpid(first.pid, nullptr, WNOHANG), -1) << "reaped";
}

TEST(Exit, WorkerThatDiedBeforeTheMasterHadALoopIsReported) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  const Peer worker = family.SpawnMain([](Slot) { return 4; });
  family.ExpectExit(worker, 4);
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(worker.pid), &info, WEXITED | WNOWAIT), 0);
  ASSERT_TRUE(family.Attach().ok());
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 1; }));
}

// ---- Who joins, who leaves ----------------------------------------------------------------------

struct Roll {
  Count joined[4];  // generation of the last that joined, by slot
  Count left[4];
  Count pid[4];
  Count times;
};

void KeepRoll(Member& me, Roll* roll) {
  me->OnJoined([roll](const Peer& peer) {
    roll->pid[peer.slot] = static_cast<std::uint64_t>(peer.pid);
    roll->joined[peer.slot] = peer.generation;
    ++roll->times;
  });
  me->OnLeft([roll](const Peer& peer) {
    roll->left[peer.slot] = peer.generation;
    ++roll->times;
  });
}

void CheckRoll(MasterIs master) {
  Shared<Roll> roll;
  Family family(FamilyOf(2), master);
  family.Spawn([&](Member& me) { KeepRoll(me, &*roll); });
  ASSERT_TRUE(family.Ready());
  const Peer first = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Until([&] { return roll->joined[2] == 1; }));
  EXPECT_EQ(roll->pid[2], static_cast<std::uint64_t>(first.pid));
  ASSERT_TRUE(family.Ready());
  family.Kill(first);
  ASSERT_TRUE(family.Until([&] { return roll->left[2] == 1; }));
  const Peer second = family.Respawn(2);
  ASSERT_TRUE(family.Until([&] { return roll->joined[2] == 2; }));
  EXPECT_EQ(roll->pid[2], static_cast<std::uint64_t>(second.pid));
  EXPECT_EQ(roll->times, 3u) << "each told once";
  EXPECT_EQ(roll->joined[1] + roll->left[1], 0u) << "nothing about oneself";
}

TEST(Roll, WorkersLearnFromAnAttachedMaster) { CheckRoll(MasterIs::kAttached); }
TEST(Roll, WorkersLearnFromAMasterWithoutALoop) { CheckRoll(MasterIs::kWithoutLoop); }

TEST(Roll, AttachedMasterHearsOfItsWorkersToo) {
  Family family(FamilyOf(1));
  std::vector<std::string> events;
  family->OnJoined(
      [&](const Peer& peer) { events.push_back("joined " + std::to_string(peer.generation)); });
  family->OnLeft(
      [&](const Peer& peer) { events.push_back("left " + std::to_string(peer.generation)); });
  const Peer worker = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(worker));
  family.Respawn(1);
  ASSERT_TRUE(family.Until([&] { return events.size() >= 3; }));
  EXPECT_EQ(events, (std::vector<std::string>{"joined 1", "left 1", "joined 2"}));
}

TEST(Roll, NoticeReachesAWorkerWhosePipeIsFull) {
  Shared<Roll> roll;
  Family family(FamilyOf(2, 4096));
  const Peer stopped = family.Spawn([&](Member& me) { KeepRoll(me, &*roll); });
  ASSERT_TRUE(family.Ready());
  const Peer mortal = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Until([&] { return roll->joined[2] == 1; }));
  ASSERT_TRUE(family.Stop(stopped));
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(family->Send(stopped, "fill", std::string(1000, 'x')).ok());
  ASSERT_TRUE(family.KillAndReap(mortal));
  family.Turns(3);
  EXPECT_EQ(roll->left[2], 0u);
  family.Continue(stopped);
  EXPECT_TRUE(family.Until([&] { return roll->left[2] == 1; }));
}

// Deaths and starts that happen while a worker is stopped merge: it is told that the one it knew
// has left, and who is there now.
TEST(Roll, NoticesForAStoppedWorkerMerge) {
  Shared<Roll> roll;
  Family family(FamilyOf(2, 4096));
  const Peer stopped = family.Spawn([&](Member& me) { KeepRoll(me, &*roll); });
  ASSERT_TRUE(family.Ready());
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Until([&] { return roll->joined[2] == 1; }));
  ASSERT_TRUE(family.Stop(stopped));
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(family.KillAndReap(family.live[2]));
    family.Respawn(2);
  }
  family.Continue(stopped);
  ASSERT_TRUE(family.Until([&] { return roll->joined[2] == 51; })) << roll->joined[2];
  EXPECT_EQ(roll->left[2], 1u) << "of whom it had been told";
  EXPECT_EQ(roll->times, 3u);
}

// ---- Alerts and deaths --------------------------------------------------------------------------

TEST(Death, QueuedAlertsComeBackWithNameAndData) {
  Family family(TightFamilyOf(1));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  std::vector<std::uint64_t> back;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.reason, UndeliveredReason::kPeerDied);
    EXPECT_EQ(undelivered.peer, deaf);
    EXPECT_TRUE(undelivered.has_name);
    EXPECT_EQ(undelivered.name, "n" + std::to_string(undelivered.alert_id));
    EXPECT_TRUE(undelivered.has_data || back.empty()) << "only the first can have left in part";
    if (undelivered.has_data) {
      EXPECT_EQ(undelivered.data,
                Numbered(undelivered.alert_id, undelivered.alert_id % 9 == 0 ? 20000 : 500));
    }
    back.push_back(undelivered.alert_id);
  });
  for (std::uint64_t id = 1; id <= 50; ++id) {
    const SendResult sent =
        family->Send(deaf, "n" + std::to_string(id), Numbered(id, id % 9 == 0 ? 20000 : 500));
    ASSERT_EQ(sent.alert_id(), id);
  }
  family->Flush();
  ASSERT_TRUE(family.KillAndReap(deaf));
  ASSERT_TRUE(family.Until([&] { return !back.empty() && back.back() == 50; }));
  for (std::size_t at = 1; at < back.size(); ++at) EXPECT_EQ(back[at], back[at - 1] + 1);
  const Stats stats = family->stats();
  EXPECT_EQ(stats.alerts_undelivered, back.size());
  EXPECT_EQ(stats.alerts_drained + back.size(), 50u) << "the account settles";
  EXPECT_EQ(family.exits[0].alerts_drained, stats.alerts_drained);
  EXPECT_EQ(family->QueuedBytes(), 0u);
  EXPECT_EQ(stats.queued_bytes, 0u);
}

TEST(Death, OfAReceiverFreesWhatWasHandedOver) {
  Family family(TightFamilyOf(1));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  int freed = 0;
  std::string data = Pattern(1000000, 1);
  bool back = false;
  family->OnUndelivered(
      [&](const Undelivered& undelivered) { back = undelivered.name == "large"; });
  ASSERT_TRUE(
      family
          ->Send(deaf, "large",
                 Buffer::Adopt(
                     data.data(), data.size(),
                     [](void* count, char*, std::size_t) { ++*static_cast<int*>(count); }, &freed))
          .ok());
  ASSERT_TRUE(family.KillAndReap(deaf));
  ASSERT_TRUE(family.Until([&] { return back; }));
  EXPECT_EQ(freed, 1);
}

TEST(Death, IdleWorkerIsNoticedAndTheOthersGoOn) {
  Shared<Heard> heard;
  Family family(FamilyOf(3));
  for (int i = 0; i < 3; ++i) family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(family.live[2]));
  EXPECT_EQ(family->Broadcast("x").accepted, 2u);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == 1 && heard->alerts[3] == 1; }));
  EXPECT_EQ(family.exits[0].alerts_drained, 0u);
}

TEST(Death, FullPipeOfADeadWorkerIsEmptyForItsSuccessor) {
  Shared<Heard> heard;
  Family family(TightFamilyOf(2, 8192));
  const Peer deaf = family.SpawnDeaf(Listener(&*heard));
  family.Spawn([&](Member& me) {
    me->Receive("fill", [&](Alert&) {
      for (int i = 0; i < 200; ++i) me->Send(To::Slot(1), "old", std::string(300, 'o'));
      ++heard->step;
    });
    me->OnUndelivered([&](const Undelivered& undelivered) {
      me.Check(undelivered.reason == UndeliveredReason::kPeerDied && undelivered.name == "old",
               "undelivered");
      ++heard->alerts[10];
    });
    me.Run();
  });
  for (int i = 0; i < 200; ++i) family->Send(To::Slot(1), "old", std::string(300, 'o'));
  family->Send(To::Slot(2), "fill");
  ASSERT_TRUE(family.Until([&] { return heard->step == 1; }));
  ASSERT_TRUE(family.KillAndReap(deaf));
  EXPECT_GT(family.exits[0].alerts_drained, 0u);
  ASSERT_TRUE(family.Until([&] { return heard->alerts[10] > 0 && family->QueuedBytes() == 0; }));
  const Peer successor = family.Respawn(1);
  family.Wake(successor);
  ASSERT_TRUE(family.Until([&] { return family->Send(successor, "new").ok(); }));
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] > 0; }));
  family.Turns(10);
  EXPECT_EQ(heard->alerts[1], 1u) << "nothing of the predecessor's";
}

TEST(Death, HalfReceivedAlertOfAKilledSenderIsFreed) {
  struct Halves {
    Count reassembly;
    Count dropped;
    Count left;
    Count delivered;
    Count sent;
  };
  Shared<Halves> seen;
  Family family(FamilyOf(2, 4096));
  const Peer receiver = family.Spawn([&](Member& me) {
    me->OnLeft([&](const Peer& peer) { seen->left += static_cast<std::uint64_t>(peer.slot); });
    me->Receive("whole", [&](Alert&) { ++seen->delivered; });
    me->Receive("half", [&](Alert&) { me.Check(false, "half an alert was delivered"); });
    me.Every(1, [&] {
      seen->reassembly = me->stats().reassembly_bytes;
      seen->dropped = me->stats().partials_dropped;
    });
    me.Run();
  });
  const Peer sender = family.SpawnMain([&](Slot slot) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto worker = Worker::Attach(std::move(slot), &loop);
    if (!worker.ok()) return 1;
    (*worker)->Send(receiver, "whole");
    (*worker)->Send(receiver, "half", Buffer(std::string(10000000, 'x')));
    while (seen->reassembly == 0) {
      usleep(2000);
      (*worker)->Flush();
    }
    ++seen->sent;
    Family::WaitForEnd();  // its loop never runs, so the rest never leaves
    _exit(0);
  });
  ASSERT_TRUE(family.Until([&] { return seen->sent == 1 && seen->reassembly > 0; }));
  EXPECT_EQ(seen->left, 0u);
  ASSERT_TRUE(family.KillAndReap(sender));
  ASSERT_TRUE(family.Until([&] { return seen->left == 2 && seen->reassembly == 0; }));
  EXPECT_TRUE(family.Until([&] { return seen->dropped == 1; }));
  EXPECT_EQ(seen->delivered, 1u);
}

TEST(Death, SendersThatDiedMidAlertDoNotSpoilTheirSuccessors) {
  Shared<Heard> heard;
  Family family(FamilyOf(2, 4096));
  const Peer receiver = family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert& alert) {
      me.Check(IsPattern(alert.data(), alert.sender().generation), "data of another incarnation");
      heard->alerts[1] = alert.sender().generation;
    });
    me.Run();
  });
  family.OnExit([&](const WorkerExit& exit) { family.Respawn(exit.worker.slot); });
  family.SpawnMain([&](Slot slot) {
    const std::uint32_t generation = slot.generation();
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto worker = Worker::Attach(std::move(slot), &loop);
    if (!worker.ok()) return 1;
    (*worker)->Send(receiver, "x", Buffer(Pattern(5000000, generation)));
    if (generation % 2 == 1) {
      (*worker)->Flush();
      heard->step = generation;
      Family::WaitForEnd();
      _exit(0);
    }
    heard->step = generation;
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
  });
  for (std::uint32_t generation = 1; generation <= 10; ++generation) {
    ASSERT_TRUE(family.Until([&] { return heard->step == generation; }));
    if (generation % 2 == 0) {
      ASSERT_TRUE(family.Until([&] { return heard->alerts[1] == generation; }));
    }
    family.Kill(family.live[2]);
    ASSERT_TRUE(family.Until([&] { return family.live[2].generation == generation + 1; }));
  }
  ASSERT_TRUE(family.Until([&] { return heard->step == 11; }));
  family.Kill(family.live[2]);
  family.OnExit(nullptr);
  ASSERT_TRUE(family.Until([&] { return family.live.count(2) == 0; }));
}

// ---- What is not legal --------------------------------------------------------------------------

TEST(Child, MasterCallsAreRefusedInAWorker) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    Master* master = family.master.get();
    const auto refused = [&](const absl::Status& status, const char* what) {
      me.Check(status.code() == StatusCode::kFailedPrecondition,
               std::string(what) + ": " + status.ToString());
    };
    refused(master->Spawn([](Slot) { return 0; }).status(), "Spawn");
    refused(master->Respawn(1).status(), "Respawn");
    refused(master->Service().status(), "Service");
    refused(master->Attach(me.loop()), "Attach");
    refused(master->Send(To::Slot(1), "x").status(), "Send");
    refused(master->Send(To::Slot(1), "x", Buffer(std::string("x"))).status(), "Send of a Buffer");
    refused(master->Broadcast("x").status(), "Broadcast");
    refused(master->Flush().status(), "Flush");
    refused(master->Receive("x", [](Alert&) {}).status(), "Receive");
    refused(master->Close(absl::ZeroDuration()).status(), "Close");
    ++heard->step;
  });
  EXPECT_TRUE(family.Until([&] { return heard->step == 1; }));
  family.Turns(5);
  EXPECT_EQ(family->Workers().size(), 1u);
}

TEST(Child, MasterWithoutLoopRefusesInAWorkerToo) {
  Shared<Heard> heard;
  Family family(FamilyOf(2), MasterIs::kWithoutLoop);
  family.Spawn([&](Member& me) {
    Master* master = family.master.get();
    me.Check(
        master->Spawn([](Slot) { return 0; }).status().code() == StatusCode::kFailedPrecondition,
        "Spawn");
    me.Check(master->Service().status().code() == StatusCode::kFailedPrecondition, "Service");
    me.Check(master->Attach(me.loop()).code() == StatusCode::kFailedPrecondition, "Attach");
    ++heard->step;
  });
  EXPECT_TRUE(family.Until([&] { return heard->step == 1; }));
}

// Ten alerts are queued when the worker forks. Its child can neither send them nor anything else,
// and its destructors touch neither the parent's pipes nor its event loop.
TEST(Grandchild, CannotUseTheEndpointAndNothingIsSentTwice) {
  struct Seen {
    Count alerts;
    Count grandchild;
    Count echo;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("n",
                [&](Alert& alert) { me.Check(NumberOf(alert.data()) == ++seen->alerts, "order"); });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    me->Receive("echo", [&](Alert&) { ++seen->echo; });
    me->Receive("fork", [&](Alert& alert) {
      for (std::uint64_t number = 1; number <= 10; ++number)
        me->Send(To::Slot(1), "n", Numbered(number));
      me.Check(me->QueuedBytes() > 0, "something is queued");
      const ReplyToken token = alert.reply_token();
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        const auto refused = [&](const absl::Status& status, const char* what) {
          me.Check(status.code() == StatusCode::kFailedPrecondition,
                   std::string(what) + ": " + status.ToString());
        };
        refused(me->Send(To::Slot(1), "n", Numbered(99)).status(), "Send");
        refused(me->Send(To::Slot(1), "n", Buffer(Numbered(99))).status(), "Send of a Buffer");
        refused(me->Broadcast("n").status(), "Broadcast");
        refused(alert.Reply("n").status(), "Reply");
        refused(token.Reply("n").status(), "ReplyToken");
        refused(me->Flush().status(), "Flush");
        refused(me->Receive("n", [](Alert&) {}).status(), "Receive");
        refused(me->Close(absl::ZeroDuration()).status(), "Close");
        me.worker.reset();
        ++seen->grandchild;
        _exit(0);
      }
      int status = 0;
      me.Check(waitpid(grandchild, &status, 0) == grandchild && status == 0, "grandchild");
      me->Send(To::Slot(1), "n", Numbered(11));
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Send(To::Slot(2), "fork").ok());
  ASSERT_TRUE(family.Until([&] { return seen->alerts == 11; })) << seen->alerts;
  EXPECT_EQ(seen->grandchild, 1u);
  EXPECT_TRUE(family->Send(To::Slot(2), "echo").ok());
  EXPECT_TRUE(family.Until([&] { return seen->echo == 1; })) << "the worker still hears";
}

TEST(Grandchild, OfTheMasterCannotUseItEither) {
  Shared<Heard> heard;
  Family family(FamilyOf(2));
  family.Spawn(Listener(&*heard));
  ASSERT_TRUE(family.Ready());
  family.InTurn([&] {
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(family->Send(To::Slot(1), "x").ok());
    const pid_t child = fork();
    if (child == 0) {
      int wrong = 0;
      wrong += family->Send(To::Slot(1), "x").status().code() != StatusCode::kFailedPrecondition;
      wrong += family->Broadcast("x").status().code() != StatusCode::kFailedPrecondition;
      wrong += family->Flush().status().code() != StatusCode::kFailedPrecondition;
      wrong += family->Service().status().code() != StatusCode::kFailedPrecondition;
      wrong +=
          family->Spawn([](Slot) { return 0; }).status().code() != StatusCode::kFailedPrecondition;
      family.master.reset();
      _exit(wrong);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "calls that were not refused: " << WEXITSTATUS(status);
  });
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] >= 5; }));
  ASSERT_TRUE(family->Send(To::Slot(1), "x").ok());
  ASSERT_TRUE(family.Until([&] { return heard->alerts[1] >= 6; }));
  family.Turns(5);
  EXPECT_EQ(heard->alerts[1], 6u);
  ASSERT_TRUE(family.KillAndReap(family.live[1])) << "deaths are still noticed";
}

// libuv keeps one list of handles for a signal in each process, which a fork copies.
TEST(Child, WatchesSignalsThatTheMasterWatchesToo) {
  Shared<Heard> heard;
  Family family(FamilyOf(1));
  int in_master = 0;
  uv_signal_t signal;
  uv_signal_init(family.loop(), &signal);
  signal.data = &in_master;
  uv_signal_start(
      &signal, [](uv_signal_t* handle, int) { ++*static_cast<int*>(handle->data); }, SIGUSR1);
  const Peer worker = family.Spawn([&](Member& me) {
    uv_signal_t own;
    uv_signal_init(me.loop(), &own);
    own.data = &heard->step;
    uv_signal_start(
        &own, [](uv_signal_t* handle, int) { ++*static_cast<Count*>(handle->data); }, SIGUSR1);
    uv_unref(reinterpret_cast<uv_handle_t*>(&own));
    me.Run();
    uv_close(reinterpret_cast<uv_handle_t*>(&own), nullptr);
    uv_run(me.loop(), UV_RUN_NOWAIT);
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_EQ(kill(worker.pid, SIGUSR1), 0);
  EXPECT_TRUE(family.Until([&] { return heard->step == 1; }));
  family.Turns(5);
  EXPECT_EQ(in_master, 0) << "a signal of the worker's was reported here";
  ASSERT_EQ(raise(SIGUSR1), 0);
  EXPECT_TRUE(family.Until([&] { return in_master == 1; })) << "and the master still hears its own";
  uv_close(reinterpret_cast<uv_handle_t*>(&signal), nullptr);
}

TEST(Child, HoldsTheReadEndOfItsOwnPipeOnly) {
  struct Ends {
    Count read_ends;
    Count write_ends;
    Count done;
  };
  Shared<Ends> ends;
  Family family(FamilyOf(5));
  for (int i = 0; i < 4; ++i) family.Spawn([](Member&) {});
  const std::set<std::uint64_t> pipes = family.pipes();
  EXPECT_GE(pipes.size(), 6u);
  family.Spawn([&](Member&) {
    for (const std::uint64_t inode : pipes) {
      if (DescriptorOf(inode, O_RDONLY) >= 0) ++ends->read_ends;
      if (DescriptorOf(inode, O_WRONLY) >= 0) ++ends->write_ends;
    }
    ++ends->done;
  });
  ASSERT_TRUE(family.Until([&] { return ends->done == 1; }));
  EXPECT_LE(ends->read_ends, 2u) << "its inbox, and a lifeline where there are no pidfds";
  EXPECT_GE(ends->write_ends, 6u);
}

// What a program that a worker starts finds among its descriptors, but the standard ones.
std::string DescriptorsAfterExec() {
  int out[2];
  if (pipe(out) != 0) return "pipe failed";
  const pid_t child = fork();
  if (child == 0) {
    dup2(out[1], 1);
    close(out[0]);
    close(out[1]);
    execl("/bin/sh", "sh", "-c",
          "for fd in /proc/$$/fd/*; do echo \"${fd##*/} $(readlink $fd)\"; done",
          static_cast<char*>(nullptr));
    _exit(127);
  }
  close(out[1]);
  std::string listing;
  char chunk[4096];
  for (ssize_t got = 0; (got = read(out[0], chunk, sizeof chunk)) > 0;)
    listing.append(chunk, static_cast<std::size_t>(got));
  close(out[0]);
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) return "sh failed";
  return listing;
}

std::vector<std::string> Leaks(const std::string& listing, const std::set<std::uint64_t>& pipes) {
  std::vector<std::string> leaks;
  std::size_t begin = 0;
  while (begin < listing.size()) {
    const std::size_t end = listing.find('\n', begin);
    const std::string line = listing.substr(begin, end - begin);
    begin = end == std::string::npos ? listing.size() : end + 1;
    for (const char* kind : {"memfd:", "pidfd", "eventpoll", "eventfd"}) {
      if (line.find(kind) != std::string::npos) leaks.push_back(line);
    }
    for (const std::uint64_t inode : pipes) {
      if (line.find("pipe:[" + std::to_string(inode) + "]") != std::string::npos)
        leaks.push_back(line);
    }
  }
  return leaks;
}

TEST(Exec, LeaksNothing) {
  struct Listing {
    Text text[10];
    Count done;
  };
  Shared<Listing> listing;
  Family family(FamilyOf(3));
  family.Spawn([](Member&) {});
  const auto publish = [&](const std::string& text) {
    for (std::size_t part = 0; part < 10 && part * 500 < text.size(); ++part) {
      listing->text[part].Set(std::string_view(text).substr(part * 500, 500));
    }
    ++listing->done;
  };
  family.Spawn([&](Member& me) {
    me->Send(To::Slot(1), "x");
    publish(DescriptorsAfterExec());
  });
  ASSERT_TRUE(family.Until([&] { return listing->done == 1; }));
  std::string from_worker;
  for (const Text& part : listing->text) from_worker += part.Get();
  EXPECT_NE(from_worker.find("1 pipe:"), std::string::npos) << "the check itself works:\n"
                                                            << from_worker;
  EXPECT_EQ(Leaks(from_worker, family.pipes()), std::vector<std::string>()) << from_worker;
  const std::string from_master = DescriptorsAfterExec();
  EXPECT_EQ(Leaks(from_master, family.pipes()), std::vector<std::string>()) << from_master;
}

// ---- Master and loop ----------------------------------------------------------------------------

TEST(MasterEndpoint, TalksBothWays) {
  Shared<Heard> heard;
  Family family(FamilyOf(4));
  std::uint64_t answers = 0;
  family->Receive("answer", [&](Alert& alert) {
    EXPECT_EQ(family.live[alert.sender().slot], alert.sender());
    EXPECT_EQ(family.live[alert.sender().slot].pid, alert.sender().pid);
    ++answers;
    if (answers <= 400) {
      EXPECT_TRUE(alert.Reply("question").ok());
    }
  });
  for (int i = 0; i < 4; ++i) {
    family.Spawn([&](Member& me) {
      me->Receive("question", [&](Alert& alert) {
        me.Check(alert.sender() == me->master(), "the master asks");
        me.Check(alert.Reply("answer").ok(), "answer");
      });
      me.Run();
    });
  }
  EXPECT_EQ(family->Broadcast("question").accepted, 4u);
  EXPECT_TRUE(family.Until([&] { return answers == 404; }));
}

TEST(MasterEndpoint, AttachedAfterItsWorkersWereStarted) {
  Shared<Heard> heard;
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  family.Spawn([&](Member& me) {
    me->Receive("question", [&](Alert& alert) { alert.Reply("answer"); });
    me.Every(1, [&] { heard->step = me->Send(To::Master(), "news").ok() ? 2 : 1; });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return heard->step == 1; }));
  ASSERT_TRUE(family.Attach().ok());
  int answers = 0;
  int news = 0;
  family->Receive("answer", [&](Alert&) { ++answers; });
  family->Receive("news", [&](Alert&) { ++news; });
  EXPECT_TRUE(family->Send(To::Slot(1), "question").ok());
  ASSERT_TRUE(family.Until([&] { return answers > 0 && news > 0; }));
  bool closed = false;
  EXPECT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  EXPECT_TRUE(family.Until([&] { return heard->step == 1; })) << "a closed master is no receiver";
}

// ---- Without the master -------------------------------------------------------------------------

struct Orphans {
  Count pid[4];
  Count gone[4];
  Count heard[4];
  Count status[4];  // code of the last send to slot 2, plus 1
  Count left[4];
  Count undelivered;
  Count filled;
  Count grandchild;
};

std::vector<pid_t> Pids(const Orphans& orphans, int workers) {
  std::vector<pid_t> pids;
  for (int slot = 1; slot <= workers; ++slot)
    pids.push_back(static_cast<pid_t>(orphans.pid[slot].load()));
  return pids;
}

// A worker that tells the others when it has lost its master.
void LiveAsOrphan(Member& me, Orphans* orphans) {
  const int slot = me.slot();
  me->OnMasterGone([&me, orphans, slot] {
    ++orphans->gone[slot];
    me->Broadcast("still here", "", Scope::kOthers);
  });
  me->Receive("still here", [orphans, slot](Alert&) { ++orphans->heard[slot]; });
  me->OnUndelivered([orphans](const Undelivered&) { ++orphans->undelivered; });
  me->OnLeft([orphans, slot](const Peer& peer) {
    orphans->left[slot] = static_cast<std::uint64_t>(peer.slot);
  });
  if (slot == 1) {
    me.Every(2, [&me, orphans] {
      if (orphans->gone[1] == 0) return;
      const SendResult sent = me->Send(Peer{0, 2, 1}, "poke", std::string(2000, 'p'));
      orphans->status[1] = static_cast<std::uint64_t>(sent.status().code()) + 1;
    });
  }
  me.Run();
}

void MasterOfOrphans(Orphans* orphans, MasterIs master, bool with_grandchild) {
  Family family(FamilyOf(3), master);
  for (int slot = 1; slot <= 3; ++slot)
    family.Spawn([&](Member& me) { LiveAsOrphan(me, orphans); });
  if (!family.Ready()) return;
  if (with_grandchild) {
    // A relative that keeps every descriptor of the master open beyond its death.
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      alarm(60);
      while (true) pause();
    }
    orphans->grandchild = static_cast<std::uint64_t>(grandchild);
  }
  for (const auto& [slot, peer] : family.live)
    orphans->pid[slot] = static_cast<std::uint64_t>(peer.pid);
  family.Until([] { return false; });
}

void CheckOrphans(MasterIs master, bool with_grandchild) {
  Shared<Orphans> orphans;
  Household house([&] { MasterOfOrphans(&*orphans, master, with_grandchild); });
  ASSERT_TRUE(Eventually(
      [&] { return orphans->pid[1] != 0 && orphans->pid[2] != 0 && orphans->pid[3] != 0; }));
  std::vector<pid_t> relatives = Pids(*orphans, 3);
  if (with_grandchild) relatives.push_back(static_cast<pid_t>(orphans->grandchild.load()));
  house.KillMaster(relatives);
  EXPECT_TRUE(Eventually(
      [&] { return orphans->gone[1] == 1 && orphans->gone[2] == 1 && orphans->gone[3] == 1; }));
  EXPECT_TRUE(Eventually([&] {
    return orphans->heard[1] == 2 && orphans->heard[2] == 2 && orphans->heard[3] == 2;
  })) << "alerts between orphans";
  ASSERT_TRUE(Eventually([&] { return orphans->status[1] == 1; })) << "a live peer takes alerts";
  house.KillOrphan(relatives[1]);
  EXPECT_TRUE(Eventually([&] {
    return orphans->status[1] == static_cast<std::uint64_t>(StatusCode::kUnavailable) + 1;
  })) << "sends to a dead peer fail, with "
      << orphans->status[1];
  EXPECT_TRUE(Eventually([&] { return orphans->left[1] == 2; })) << "the application is told";
  EXPECT_TRUE(house.EndOrphan(relatives[0])) << "and not by SIGPIPE";
  EXPECT_TRUE(house.EndOrphan(relatives[2]));
  for (int slot = 1; slot <= 3; ++slot) EXPECT_EQ(orphans->gone[slot], 1u);
}

TEST(MasterGone, WorkersLearnOfItAndLiveOn) { CheckOrphans(MasterIs::kAttached, false); }
TEST(MasterGone, WithoutALoopToo) { CheckOrphans(MasterIs::kWithoutLoop, false); }

// The grandchild holds the read ends of all pipes too, so that a write to a dead worker's pipe
// raises no EPIPE.
TEST(MasterGone, EvenWhenAGrandchildHoldsItsDescriptors) {
  Shared<Orphans> orphans;
  Household house([&] { MasterOfOrphans(&*orphans, MasterIs::kAttached, true); });
  ASSERT_TRUE(Eventually(
      [&] { return orphans->pid[1] != 0 && orphans->pid[2] != 0 && orphans->pid[3] != 0; }));
  std::vector<pid_t> relatives = Pids(*orphans, 3);
  relatives.push_back(static_cast<pid_t>(orphans->grandchild.load()));
  house.KillMaster(relatives);
  EXPECT_TRUE(Eventually(
      [&] { return orphans->gone[1] == 1 && orphans->gone[2] == 1 && orphans->gone[3] == 1; }));
  EXPECT_TRUE(Eventually(
      [&] { return orphans->heard[1] == 2 && orphans->heard[2] == 2 && orphans->heard[3] == 2; }));
  for (int slot = 1; slot <= 3; ++slot)
    EXPECT_TRUE(house.EndOrphan(relatives[static_cast<std::size_t>(slot - 1)]));
}

// Worker 1 has filled the pipe of worker 2 and waits for it, when first the master and then worker
// 2 are killed.
TEST(MasterGone, WhatIsQueuedForADeadPeerComesBack) {
  Shared<Orphans> orphans;
  Household house([&] {
    Family family(TightFamilyOf(2));
    family.Spawn([&](Member& me) {
      me->OnMasterGone([&] { ++orphans->gone[1]; });
      me->OnUndelivered([&](const Undelivered& undelivered) {
        me.Check(undelivered.reason == UndeliveredReason::kPeerDied, "reason");
        ++orphans->undelivered;
      });
      me->Receive("fill", [&](Alert&) {
        for (int i = 0; i < 100; ++i) me->Send(To::Slot(2), "x", std::string(1000, 'x'));
        ++orphans->filled;
      });
      me.Run();
    });
    family.SpawnDeaf([](Member&) {});
    if (!family.Ready()) return;
    family->Send(To::Slot(1), "fill");
    if (!family.Until([&] { return orphans->filled == 1; })) return;
    for (const auto& [slot, peer] : family.live)
      orphans->pid[slot] = static_cast<std::uint64_t>(peer.pid);
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return orphans->pid[1] != 0 && orphans->pid[2] != 0; }));
  const std::vector<pid_t> workers = Pids(*orphans, 2);
  house.KillMaster(workers);
  ASSERT_TRUE(Eventually([&] { return orphans->gone[1] == 1; }));
  EXPECT_EQ(orphans->undelivered, 0u);
  house.KillOrphan(workers[1]);
  EXPECT_TRUE(Eventually([&] { return orphans->undelivered >= 90; })) << orphans->undelivered;
  EXPECT_TRUE(house.EndOrphan(workers[0]));
}

// A dead peer has the emptiest queue of all, but must not be chosen for that.
TEST(MasterGone, AnyWorkerIsALiveOne) {
  Shared<Orphans> orphans;
  Household house([&] {
    Family family(FamilyOf(3));
    for (int i = 0; i < 3; ++i) {
      family.Spawn([&](Member& me) {
        const int self = me.slot();
        me->OnMasterGone([&, self] { ++orphans->gone[self]; });
        me->OnUndelivered([&](const Undelivered&) { ++orphans->undelivered; });
        me->Receive("job", [&, self](Alert&) { ++orphans->heard[self]; });
        if (self == 1) {
          me.Every(2, [&] {
            if (orphans->filled != 0) me->Send(To::AnyWorker(), "job");
          });
        }
        me.Run();
      });
    }
    if (!family.Ready()) return;
    for (const auto& [slot, peer] : family.live)
      orphans->pid[slot] = static_cast<std::uint64_t>(peer.pid);
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually(
      [&] { return orphans->pid[1] != 0 && orphans->pid[2] != 0 && orphans->pid[3] != 0; }));
  const std::vector<pid_t> workers = Pids(*orphans, 3);
  house.KillMaster(workers);
  ASSERT_TRUE(Eventually([&] { return orphans->gone[1] == 1; }));
  house.KillOrphan(workers[1]);
  orphans->filled = 1;
  EXPECT_TRUE(Eventually([&] { return orphans->heard[3] >= 50; })) << orphans->heard[3];
  EXPECT_LE(orphans->undelivered, 1u) << "one attempt shows that it is dead";
  EXPECT_TRUE(house.EndOrphan(workers[0]));
  EXPECT_TRUE(house.EndOrphan(workers[2]));
}

TEST(MasterGone, AfterAnOrderlyExitOfTheMaster) {
  Shared<Orphans> orphans;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t master = fork();
  if (master == 0) {
    alarm(60);
    uv_loop_t loop;
    uv_loop_init(&loop);
    auto created = Master::Create(FamilyOf(1));
    if (!created.ok() || !(*created)->Attach(&loop).ok()) _exit(1);
    auto worker = (*created)->Spawn([&](Slot slot) {
      alarm(60);
      uv_loop_t own;
      uv_loop_init(&own);
      auto me = Worker::Attach(std::move(slot), &own);
      if (!me.ok()) return 2;
      orphans->pid[1] = static_cast<std::uint64_t>(getpid());
      (*me)->OnMasterGone([&] {
        ++orphans->gone[1];
        (*me)->Close(absl::Seconds(5));
      });
      uv_run(&own, UV_RUN_DEFAULT);
      me->reset();
      uv_run(&own, UV_RUN_DEFAULT);
      return uv_loop_close(&own) == 0 ? 0 : 3;
    });
    if (!worker.ok()) _exit(1);
    if (!Eventually([&] { return orphans->pid[1] != 0; })) _exit(1);
    created->reset();
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(20000);
    _exit(orphans->gone[1] == 0 ? uv_loop_close(&loop) : 4);
  }
  int status = -1;
  EXPECT_EQ(waitpid(master, &status, 0), master);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Eventually([&] { return orphans->gone[1] == 1; }));
  const auto worker = static_cast<pid_t>(orphans->pid[1].load());
  EXPECT_EQ(waitpid(worker, &status, 0), worker);
  EXPECT_EQ(status, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace
}  // namespace alertpipe::process
