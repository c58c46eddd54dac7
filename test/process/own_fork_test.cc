// SPDX-License-Identifier: Apache-2.0
//
// Programs that fork on their own: the way from Reserve to ReportExit, every other order of the
// same steps, and what such a program may do wrong.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

struct Seen {
  Count alerts[8];
  Count joined[8];  // generation, by slot
  Count joined_pid[8];
  Count left[8];
  Count step;
  Count go;  // what a child waits for
  Text text;
};

// Answers, and notes who comes and goes.
void Serve(Member& me, Seen* seen) {
  me->OnJoined([seen](const Peer& peer) {
    seen->joined_pid[peer.slot] = static_cast<std::uint64_t>(peer.pid);
    seen->joined[peer.slot] = peer.generation;
  });
  me->OnLeft([seen](const Peer& peer) { seen->left[peer.slot] = peer.generation; });
  me->Receive("ask", [&me, seen](Alert& alert) {
    ++seen->alerts[me.slot()];
    me.Check(alert.Reply("answer", alert.data()).ok(), "reply");
  });
  me.Run();
}

Member::Body Echo(Seen* seen) {
  return [seen](Member& me) { Serve(me, seen); };
}

// Waits in a child that has no loop yet.
void WaitFor(const Count& go) {
  while (go == 0) usleep(500);
}

// Waits for a child to end, without reaping it.
void AwaitEnd(pid_t pid) {
  siginfo_t info = {};
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
}

int Reap(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}

// Runs `body` in a child that the family knows nothing of; the number of wrong things that it
// found.
int WrongInChild(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    _exit(body());
  }
  const int status = Reap(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool Refused(const absl::Status& status, StatusCode code = StatusCode::kFailedPrecondition) {
  if (status.code() == code) return true;
  std::fprintf(stderr, "not refused: %s\n", status.ToString().c_str());
  return false;
}

// ---- The way it is meant ------------------------------------------------------------------------

void CheckNaturalPath(MasterIs master) {
  Shared<Seen> seen;
  Family family(FamilyOf(3), master);
  const Peer spawned = family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  const Peer own = family.ForkWorker([&](Member& me) {
    me.Check(me->self().pid == getpid() && me->self().slot == 2 && me->self().generation == 1,
             "self");
    me.Check(me->master().pid == getppid(), "master");
    me->Receive("answer", [&](Alert& alert) {
      me.Check(alert.sender() == spawned && alert.sender().pid == spawned.pid, "sender");
      ++seen->step;
    });
    me->Send(spawned, "ask", "by the child");
    Serve(me, &*seen);
  });
  EXPECT_EQ(own.slot, 2);
  EXPECT_EQ(own.generation, 1u);
  EXPECT_GT(own.pid, 0);
  ASSERT_TRUE(family.Until([&] { return seen->step == 1 && seen->joined[2] == 1; }));
  EXPECT_EQ(seen->joined_pid[2], static_cast<std::uint64_t>(own.pid));
  EXPECT_EQ(family->Workers().size(), 2u);
  EXPECT_EQ(family->Workers()[1].pid, own.pid);
  if (master == MasterIs::kAttached) {
    int answers = 0;
    family->Receive("answer", [&](Alert& alert) {
      answers += alert.sender() == own && alert.sender().pid == own.pid ? 1 : 100;
    });
    EXPECT_TRUE(family->Send(own.pid, "ask").ok());
    EXPECT_TRUE(family->Send(own, "ask").ok());
    ASSERT_TRUE(family.Until([&] { return answers == 2; })) << answers;
  }
  family.Kill(own, SIGKILL);
  ASSERT_TRUE(family.Until([&] { return seen->left[2] == 1; }));
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_EQ(family.exits[0].worker, own);
  EXPECT_EQ(family.exits[0].signal, SIGKILL);
  const Peer next = family.ForkWorker(Echo(&*seen));
  EXPECT_EQ(next.slot, 2);
  EXPECT_EQ(next.generation, 2u);
  EXPECT_TRUE(family.Until([&] { return seen->joined[2] == 2; }));
}

TEST(OwnFork, TalksAndJoinsAndLeaves) { CheckNaturalPath(MasterIs::kAttached); }
TEST(OwnFork, OfAMasterWithoutALoop) { CheckNaturalPath(MasterIs::kWithoutLoop); }

TEST(OwnFork, AlertsSinceTheReservationArriveFirst) {
  struct Early {
    Count alerts;
  };
  Shared<Early> early;
  Family family(FamilyOf(2));
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  ASSERT_EQ(family->Workers().size(), 1u);
  EXPECT_EQ(family->Workers()[0].pid, 0);
  EXPECT_TRUE(family->Send(To::Slot(1), "n", Numbered(1)).ok());
  EXPECT_EQ(family->Broadcast("n", Numbered(2)).accepted, 1u);
  family.Turns(3);
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    me->Receive(
        "n", [&](Alert& alert) { me.Check(NumberOf(alert.data()) == ++early->alerts, "order"); });
    me.Run();
  });
  EXPECT_TRUE(family->Send(To::Slot(1), "n", Numbered(3)).ok());
  const absl::StatusOr<Peer> own = family->Confirm(1, pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  EXPECT_TRUE(family->Send(*own, "n", Numbered(4)).ok());
  EXPECT_TRUE(family->Send(pid, "n", Numbered(5)).ok());
  EXPECT_TRUE(family.Until([&] { return early->alerts == 5; })) << early->alerts;
}

TEST(OwnFork, TheChildNeedsNoConfirmationToTalk) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    me->Receive("answer", [&](Alert& alert) { seen->step += alert.sender().slot == 1 ? 1 : 10; });
    me->Send(To::Slot(1), "ask");
    me->Send(To::Master(), "hello");
    me->Send(getpid(), "ask");
    Serve(me, &*seen);
  });
  pid_t heard_of = 0;
  family->Receive("hello", [&](Alert& alert) {
    heard_of = alert.sender().pid;
    EXPECT_TRUE(alert.Reply("ask").ok());
    EXPECT_TRUE(family->Send(heard_of, "ask").ok()) << "by the pid, which is in no roster yet";
  });
  int answers = 0;
  family->Receive("answer", [&](Alert& alert) {
    EXPECT_EQ(alert.sender().pid, pid);
    ++answers;
  });
  ASSERT_TRUE(family.Until([&] { return seen->step % 10 == 1 && answers == 2; }));
  EXPECT_EQ(heard_of, pid);
  EXPECT_EQ(seen->alerts[2], 3u) << "its own among them";
  EXPECT_EQ(seen->joined[2], 0u);
  const absl::StatusOr<Peer> own = family->Confirm(slot->number(), pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  EXPECT_TRUE(family.Until([&] { return seen->joined[2] == 1; }));
}

// ---- Giving up ----------------------------------------------------------------------------------

TEST(OwnForkCancel, GivesQueuedAlertsBackAndTheSuccessorGetsNone) {
  Shared<Seen> seen;
  Family family(TightFamilyOf(2));
  int back = 0;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.reason, UndeliveredReason::kPeerDied);
    EXPECT_EQ(undelivered.peer, (Peer{0, 1, 1}));
    EXPECT_EQ(undelivered.name, "old");
    ++back;
  });
  const absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(family->Send(To::Slot(1), "old", std::string(500, 'x')).ok());
  family->Flush();
  ASSERT_TRUE(family->Cancel(slot->number()).ok());
  ASSERT_TRUE(family.Until([&] { return family->QueuedBytes() == 0; }));
  const Stats stats = family->stats();
  EXPECT_GT(stats.alerts_drained, 0u);
  EXPECT_GT(back, 0);
  EXPECT_EQ(stats.alerts_drained + static_cast<std::uint64_t>(back), 50u) << "the account settles";
  EXPECT_TRUE(family.exits.empty()) << "nobody has ended";
  EXPECT_FALSE(family->StatsOf(1)->last.has_value());
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "old").status(), StatusCode::kUnavailable));
  EXPECT_TRUE(Says(family->Cancel(1), StatusCode::kFailedPrecondition, {"slot 1", "not reserved"}));

  const Peer own = family.ForkWorker([&](Member& me) {
    me->Receive("new", [&](Alert&) { ++seen->step; });
    me->ReceiveDefault([&](Alert&) { me.Check(false, "an alert for the predecessor"); });
    me->OnDamage([&](const Damage&) { me.Check(false, "old bytes"); });
    me.Run();
  });
  EXPECT_EQ(own.slot, 1);
  EXPECT_EQ(own.generation, 2u);
  EXPECT_TRUE(family->Send(own, "new").ok());
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  family.Turns(5);
}

TEST(OwnForkCancel, OthersAreToldOnlyOfThoseTheyKnew) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    EXPECT_EQ(slot->generation(), static_cast<std::uint32_t>(i + 1));
    ASSERT_TRUE(family->Cancel(slot->number()).ok());
  }
  family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Until([&] { return seen->joined[2] == 4; }));
  EXPECT_EQ(seen->left[2], 0u);
}

TEST(OwnForkCancel, DestroyingTheSlotCancels) {
  Family family(FamilyOf(1));
  {
    const absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    EXPECT_EQ(slot->number(), 1);
    EXPECT_EQ(family->Workers().size(), 1u);
  }
  EXPECT_EQ(family->Workers().size(), 0u);
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  EXPECT_EQ(slot->generation(), 2u);
  Slot moved = *std::move(slot);
  slot = absl::CancelledError();
  EXPECT_EQ(family->Workers().size(), 1u) << "a slot that was moved from is nothing";
  EXPECT_EQ(moved.number(), 1);
  ASSERT_TRUE(family->Cancel(1).ok());
  const absl::StatusOr<Slot> third = family->Reserve();
  ASSERT_TRUE(third.ok());
  { const Slot gone = std::move(moved); }
  EXPECT_EQ(family->Workers().size(), 1u) << "an earlier reservation's slot is nothing";
}

TEST(OwnForkCancel, AConfirmedWorkerOutlivesTheSlotObject) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer own = family.ForkWorker(Echo(&*seen));  // its Slot is gone by now
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(family->Send(own, "ask").ok());
  EXPECT_TRUE(family.Until([&] { return seen->alerts[1] == 1; }));
  EXPECT_TRUE(Says(family->Cancel(1), StatusCode::kFailedPrecondition,
                   {"not reserved", std::to_string(own.pid)}));
}

TEST(OwnForkCancel, AnAttachedChildThatLivesPreventsIt) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    ++seen->step;
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  EXPECT_TRUE(
      Says(family->Cancel(1), StatusCode::kFailedPrecondition, {std::to_string(pid), "attached"}));
  slot = absl::CancelledError();
  ASSERT_EQ(family->Workers().size(), 1u) << "nor does the slot's destructor";
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  EXPECT_EQ(Reap(pid), SIGKILL);
  EXPECT_TRUE(Says(family->Confirm(1, pid).status(), StatusCode::kFailedPrecondition, {"reaped"}));
  EXPECT_TRUE(Says(family->ReportExit(pid, SIGKILL).status(), StatusCode::kNotFound));
  EXPECT_TRUE(family->Cancel(1).ok());
  EXPECT_EQ(family->Workers().size(), 0u);
}

TEST(OwnForkCancel, AChildThatComesLaterIsRefused) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  for (const bool taken_again : {false, true}) {
    seen->go = 0;
    absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    const std::uint32_t generation = slot->generation();
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      WaitFor(seen->go);
      uv_loop_t loop;
      uv_loop_init(&loop);
      const absl::Status status = Worker::Attach(*std::move(slot), &loop).status();
      seen->text.Set(status.ToString());
      _exit(Refused(status) ? 0 : 1);
    }
    ASSERT_TRUE(family->Cancel(1).ok());
    absl::StatusOr<Slot> next = absl::CancelledError();
    if (taken_again) next = family->Reserve();
    ++seen->go;
    EXPECT_EQ(Reap(pid), 0) << seen->text.Get();
    EXPECT_NE(seen->text.Get().find("generation " + std::to_string(generation)), std::string::npos)
        << seen->text.Get();
    if (!taken_again) continue;
    ASSERT_TRUE(next.ok());
    const pid_t successor = family.Fork(&next, Echo(&*seen));
    const absl::StatusOr<Peer> own = family->Confirm(1, successor);
    ASSERT_TRUE(own.ok()) << own.status();
    family.Adopt(*own);
    EXPECT_TRUE(family.Ready()) << "the successor is not harmed by it";
  }
}

TEST(OwnForkCancel, TheSlotMayOutliveTheMaster) {
  absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(FamilyOf(1));
  ASSERT_TRUE(master.ok());
  absl::StatusOr<Slot> slot = (*master)->Reserve();
  ASSERT_TRUE(slot.ok());
  master->reset();
  uv_loop_t loop;
  uv_loop_init(&loop);
  EXPECT_EQ(WrongInChild(
                [&] { return Refused(Worker::Attach(*std::move(slot), &loop).status()) ? 0 : 1; }),
            0);
  EXPECT_TRUE(Says(Worker::Attach(*std::move(slot), &loop).status(),
                   StatusCode::kFailedPrecondition, {"destroyed"}));
  EXPECT_EQ(uv_loop_close(&loop), 0);
}

// ---- The end ------------------------------------------------------------------------------------

TEST(OwnForkExit, KilledBeforeItWasConfirmed) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    ++seen->step;
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  AwaitEnd(pid);
  EXPECT_TRUE(family->Send(To::Slot(2), "late").ok()) << "nobody knows yet";
  const absl::StatusOr<Peer> own = family->Confirm(2, pid);
  ASSERT_TRUE(own.ok()) << own.status();
  ASSERT_TRUE(family.Until([&] { return seen->joined[2] == 1; }));
  family.Turns(5);
  EXPECT_EQ(seen->left[2], 0u) << "the library has noticed something, and must not";
  const int status = Reap(pid);
  EXPECT_EQ(status, SIGKILL);
  family.live[2] = *own;
  family.ExpectExit(*own, 0, SIGKILL);
  const absl::StatusOr<WorkerExit> exit = family->ReportExit(pid, status);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->worker, *own);
  EXPECT_EQ(exit->worker.pid, pid);
  EXPECT_TRUE(exit->known);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->exit_code, 0);
  EXPECT_EQ(exit->alerts_drained, 1u);
  ASSERT_EQ(family.exits.size(), 1u) << "OnExit is called before ReportExit returns";
  EXPECT_EQ(family.exits[0].alerts_drained, 1u);
  EXPECT_TRUE(family.Until([&] { return seen->left[2] == 1; }));
}

TEST(OwnForkExit, QueuedAlertsComeBackAndStatsAreKept) {
  Shared<Seen> seen;
  Family family(TightFamilyOf(1));
  const Peer own = family.ForkWorker(Echo(&*seen));
  family.Release(own);
  EXPECT_TRUE(family->Send(own, "ask").ok());
  ASSERT_TRUE(family.Until([&] { return seen->alerts[1] == 1; }));
  EXPECT_FALSE(family->StatsOf(1)->last.has_value());
  ASSERT_TRUE(family.Stop(own));
  std::uint64_t back = 0;
  family->OnUndelivered([&](const Undelivered& undelivered) {
    EXPECT_EQ(undelivered.peer, own);
    EXPECT_EQ(undelivered.peer.pid, own.pid);
    ++back;
  });
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(family->Send(own, "x", std::string(300, 'x')).ok());
  family->Flush();
  family.Kill(own);
  const int status = Reap(own.pid);
  const absl::StatusOr<WorkerExit> exit = family->ReportExit(own.pid, status);
  ASSERT_TRUE(exit.ok()) << exit.status();
  ASSERT_TRUE(family.Until([&] { return family->QueuedBytes() == 0; }));
  EXPECT_GT(back, 0u);
  EXPECT_EQ(exit->alerts_drained + back, 60u);
  ASSERT_TRUE(family->StatsOf(1)->last.has_value());
  EXPECT_EQ(family->StatsOf(1)->last->stats.alerts_delivered, 1u);
}

TEST(OwnForkExit, OnlyTheDeadOfThisFamilyAreReported) {
  Family family(FamilyOf(2));
  const Peer own = family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Ready());
  family.Release(own);
  const std::string pid = std::to_string(own.pid);
  EXPECT_TRUE(Says(family->ReportExit(own.pid, 0).status(), StatusCode::kFailedPrecondition,
                   {pid, "not ended"}));
  for (const pid_t stranger : {pid_t{0}, pid_t{-1}, getpid(), getppid()}) {
    EXPECT_TRUE(Says(family->ReportExit(stranger, 0).status(), StatusCode::kNotFound));
  }
  ASSERT_EQ(kill(own.pid, SIGSTOP), 0);
  int status = 0;
  ASSERT_EQ(waitpid(own.pid, &status, WUNTRACED), own.pid);
  EXPECT_TRUE(
      Says(family->ReportExit(own.pid, status).status(), StatusCode::kInvalidArgument, {pid}));
  EXPECT_EQ(family->Workers().size(), 1u);
  family.Kill(own);
  status = Reap(own.pid);
  EXPECT_TRUE(family->ReportExit(own.pid, status).ok());
  EXPECT_TRUE(Says(family->ReportExit(own.pid, status).status(), StatusCode::kNotFound, {pid}))
      << "twice";
  EXPECT_EQ(family.exits.size(), 1u);
}

TEST(OwnForkExit, ReportedBeforeItIsReaped) {
  Family family(FamilyOf(1));
  const Peer own = family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Ready());
  family.Release(own);
  family.Kill(own);
  AwaitEnd(own.pid);
  EXPECT_TRUE(family->ReportExit(own.pid, SIGKILL).ok());
  family.Turns(5);
  EXPECT_EQ(Reap(own.pid), SIGKILL) << "the status is still the program's";
}

TEST(OwnForkExit, CodeIsTold) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  const absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) _exit(7);  // never attaches
  const absl::StatusOr<Peer> own = family->Confirm(slot->number(), pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.ExpectExit(*own, 7);
  const absl::StatusOr<WorkerExit> exit = family->ReportExit(pid, Reap(pid));
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->signal, 0);
  EXPECT_TRUE(family->StatsOf(1)->last.has_value());
}

// The library looks for dead workers all the time, and leaves this one alone.
void CheckNotStolen(MasterIs master) {
  Shared<Seen> seen;
  Family family(FamilyOf(4), master);
  family.Spawn([](Member&) {});
  const Peer mortal = family.Spawn([](Member&) {});
  const Peer own = family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Ready());
  family.Release(own);
  family.Kill(own, SIGKILL);
  AwaitEnd(own.pid);
  ASSERT_TRUE(family.KillAndReap(mortal));
  family.Turns(20);
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_EQ(family.exits[0].worker, mortal);
  EXPECT_EQ(family->Workers().size(), 2u) << "and takes it for alive";
  int status = 0;
  ASSERT_EQ(waitpid(-1, &status, WNOHANG), own.pid);
  EXPECT_EQ(status, SIGKILL);
  EXPECT_EQ(waitpid(-1, &status, WNOHANG), 0) << "nothing else to reap";
  EXPECT_TRUE(family->ReportExit(own.pid, SIGKILL).ok());
  EXPECT_EQ(family->Workers().size(), 1u);
}

TEST(OwnForkExit, IsLeftToTheProgram) { CheckNotStolen(MasterIs::kAttached); }
TEST(OwnForkExit, IsLeftToTheProgramWithoutALoop) { CheckNotStolen(MasterIs::kWithoutLoop); }

// A program that reaps everything takes the exits of Spawned workers too.
TEST(OwnForkExit, OfASpawnedWorkerThatTheProgramHasReaped) {
  Family family(FamilyOf(3));
  for (int i = 0; i < 3; ++i) family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  const Peer told = family.live[1];
  family.Kill(told);
  int status = 0;
  ASSERT_EQ(waitpid(-1, &status, 0), told.pid);
  const absl::StatusOr<WorkerExit> exit = family->ReportExit(told.pid, status);
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_TRUE(exit->known);
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(exit->worker, told);
  family.Turns(10);
  ASSERT_EQ(family.exits.size(), 1u) << "its pidfd is not looked at any more";
  EXPECT_EQ(family.Respawn(1).generation, 2u);
  ASSERT_TRUE(family.Ready());

  // Not told: it is noticed all the same, but nobody knows how it ended.
  const Peer untold = family.live[1];
  ASSERT_EQ(kill(untold.pid, SIGKILL), 0);
  ASSERT_EQ(waitpid(-1, &status, 0), untold.pid);
  family.live.erase(1);
  std::vector<WorkerExit> seen;
  family->OnExit([&](const WorkerExit& ended) { seen.push_back(ended); });
  ASSERT_TRUE(family.Until([&] { return seen.size() == 1; }));
  EXPECT_EQ(seen[0].worker, untold);
  EXPECT_FALSE(seen[0].known);
  EXPECT_EQ(seen[0].signal, 0);
  EXPECT_TRUE(Says(family->ReportExit(untold.pid, status).status(), StatusCode::kNotFound));
  for (const int slot : {2, 3}) {
    const Peer last = family.live[slot];
    ASSERT_EQ(kill(last.pid, SIGTERM), 0);
    ASSERT_TRUE(family.Until([&] { return seen.back().worker == last; }));
    EXPECT_TRUE(seen.back().known) << "the library reaps again";
    family.live.erase(slot);
  }
}

// A process manager: whoever dies is replaced from the hook.
TEST(OwnForkExit, TheHookMayForkAgainAndDestroyTheMaster) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.OnExit([&](const WorkerExit& exit) {
    if (exit.worker.generation < 4) family.ForkWorker(Echo(&*seen));
  });
  family.ForkWorker(Echo(&*seen));
  for (std::uint32_t generation = 1; generation <= 4; ++generation) {
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family.Lives(Peer{0, 1, generation}));
    EXPECT_TRUE(family->Send(To::Slot(1), "ask").ok());
    ASSERT_TRUE(family.Until([&] { return seen->alerts[1] == generation; }));
    if (generation == 4) break;
    family.Kill(family.live[1]);
    ASSERT_TRUE(family.Until([&] { return family.Lives(Peer{0, 1, generation + 1}); }));
  }
  const Peer last = family.live[1];
  family.Release(last);
  family.OnExit([&](const WorkerExit&) { family.master.reset(); });
  family.Kill(last);
  const int status = Reap(last.pid);
  const absl::StatusOr<WorkerExit> exit = family->ReportExit(last.pid, status);
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_EQ(family.master, nullptr);
}

// ---- What is refused ----------------------------------------------------------------------------

TEST(OwnForkRefusal, ConfirmIsForTheReservedSlotsChild) {
  Shared<Seen> seen;
  Family family(FamilyOf(4));
  const Peer spawned = family.Spawn([](Member&) {});
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    ++seen->step;
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  const absl::StatusOr<Slot> other = family->Reserve();
  ASSERT_TRUE(other.ok());
  const pid_t stranger = fork();
  if (stranger == 0) {
    alarm(60);
    while (true) pause();
  }
  const auto confirm = [&](int number, pid_t child) {
    return family->Confirm(number, child).status();
  };
  EXPECT_TRUE(Says(confirm(2, 0), StatusCode::kInvalidArgument, {"0"}));
  EXPECT_TRUE(Says(confirm(2, -1), StatusCode::kInvalidArgument, {"-1"}));
  EXPECT_TRUE(Says(confirm(2, getppid()), StatusCode::kFailedPrecondition, {"no child"}));
  EXPECT_TRUE(Says(confirm(2, getpid()), StatusCode::kFailedPrecondition, {"no child"}));
  EXPECT_TRUE(Says(confirm(2, spawned.pid), StatusCode::kFailedPrecondition, {"slot 1"}));
  EXPECT_TRUE(Says(confirm(2, stranger), StatusCode::kFailedPrecondition,
                   {std::to_string(pid), "attached", std::to_string(stranger)}));
  for (const int number : {-1, 0, 5}) {
    EXPECT_TRUE(Says(confirm(number, pid), StatusCode::kNotFound, {"1 to 4"}));
    EXPECT_TRUE(Says(family->Cancel(number), StatusCode::kNotFound, {"1 to 4"}));
  }
  EXPECT_TRUE(Says(confirm(4, pid), StatusCode::kFailedPrecondition, {"not reserved"}));
  EXPECT_TRUE(Says(confirm(1, pid), StatusCode::kFailedPrecondition, {"not reserved"}));
  EXPECT_EQ(seen->joined[2], 0u);
  const absl::StatusOr<Peer> own = family->Confirm(2, pid);
  ASSERT_TRUE(own.ok()) << "nothing had changed: " << own.status();
  family.Adopt(*own);
  EXPECT_TRUE(Says(confirm(2, pid), StatusCode::kFailedPrecondition, {std::to_string(pid)}));
  EXPECT_TRUE(Says(confirm(3, pid), StatusCode::kFailedPrecondition, {"slot 2"}));
  ASSERT_EQ(kill(stranger, SIGKILL), 0);
  EXPECT_EQ(Reap(stranger), SIGKILL);
}

TEST(OwnForkRefusal, ReserveNeedsAFreeSlot) {
  Family family(FamilyOf(3));
  family.Spawn([](Member&) {});
  const absl::StatusOr<Slot> second = family->Reserve();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->number(), 2);
  family.ForkWorker([](Member&) {});
  EXPECT_TRUE(
      Says(family->Reserve().status(), StatusCode::kResourceExhausted, {"workers_max", "3"}));
  EXPECT_TRUE(Says(family->Spawn([](Slot) { return 0; }).status(), StatusCode::kResourceExhausted,
                   {"workers_max", "3"}));
  ASSERT_TRUE(family->Cancel(2).ok());
  EXPECT_EQ(family.Spawn([](Member&) {}).slot, 2);
  ASSERT_TRUE(family.Ready());
}

TEST(OwnForkRefusal, RespawnHasNothingToRun) {
  Family family(FamilyOf(2));
  const Peer spawned = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.KillAndReap(spawned));
  {
    const absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    EXPECT_EQ(slot->number(), 1);
    EXPECT_TRUE(
        Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition, {"slot 1", "reserved"}));
  }
  EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition, {"Reserve"}));
  const Peer own = family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Ready());
  EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition,
                   {std::to_string(own.pid), "lives"}));
  ASSERT_TRUE(family.KillAndReap(own));
  EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition, {"Reserve"}));
  EXPECT_EQ(family.Spawn([](Member&) {}).generation, 4u) << "Spawn takes the slot";
  ASSERT_TRUE(family.Ready());
}

TEST(OwnForkRefusal, TheMastersCallsInAChild) {
  for (const MasterIs kind : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Family family(FamilyOf(2), kind);
    const absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    EXPECT_EQ(WrongInChild([&] {
                int wrong = 0;
                wrong += Refused(family->Reserve().status()) ? 0 : 1;
                wrong += Refused(family->Confirm(1, getpid()).status()) ? 0 : 1;
                wrong += Refused(family->Cancel(1)) ? 0 : 1;
                wrong += Refused(family->ReportExit(getpid(), 0).status()) ? 0 : 1;
                wrong += Refused(family->Service().status()) ? 0 : 1;
                wrong += Refused(family->Spawn([](Slot) { return 0; }).status()) ? 0 : 1;
                wrong += Refused(family->Respawn(1).status()) ? 0 : 1;
                wrong += Refused(family->Attach(family.loop())) ? 0 : 1;
                wrong += Refused(family->Send(To::Slot(1), "x").status()) ? 0 : 1;
                family.master.reset();
                return wrong;
              }),
              0);
    EXPECT_EQ(family->Workers().size(), 1u) << "the reservation is as it was";
    EXPECT_TRUE(family->Cancel(1).ok());
  }
}

TEST(OwnForkRefusal, AttachInTheProcessThatReserved) {
  Family family(FamilyOf(1));
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  uv_loop_t loop;
  uv_loop_init(&loop);
  EXPECT_TRUE(Says(Worker::Attach(*std::move(slot), &loop).status(),
                   StatusCode::kFailedPrecondition, {"slot 1", "reserved by this process"}));
  EXPECT_EQ(family->Workers().size(), 0u) << "used up: cancelled";
  // NOLINTNEXTLINE(bugprone-use-after-move): what is checked
  EXPECT_TRUE(Says(Worker::Attach(*std::move(slot), &loop).status(),
                   StatusCode::kFailedPrecondition, {"moved from"}));
  EXPECT_EQ(uv_loop_close(&loop), 0);
}

TEST(OwnForkRefusal, AttachTwice) {
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  absl::StatusOr<Slot> slot = family->Reserve();
  absl::StatusOr<Slot> other = family->Reserve();
  ASSERT_TRUE(slot.ok() && other.ok());
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    me.Check(Refused(Worker::Attach(*std::move(slot), &loop).status()), "the same again");
    me.Check(Refused(Worker::Attach(*std::move(other), &loop).status()), "another slot");
    me.Check(uv_loop_close(&loop) == 0, "something is left on the loop");
    ++seen->step;
    Serve(me, &*seen);
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  const absl::StatusOr<Peer> own = family->Confirm(1, pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  EXPECT_TRUE(family->Send(*own, "ask").ok());
  EXPECT_TRUE(family.Until([&] { return seen->alerts[1] == 1; })) << "the first one still hears";
}

// A loop that forgets to reserve again: two children with one slot.
TEST(OwnForkRefusal, TwoChildrenWithOneSlot) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t first = family.Fork(&slot, [&](Member& me) {
    ++seen->step;
    Serve(me, &*seen);
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
  const auto second = [&] {
    uv_loop_t loop;
    uv_loop_init(&loop);
    const absl::Status status = Worker::Attach(*std::move(slot), &loop).status();
    seen->text.Set(status.ToString());
    return Refused(status) ? 0 : 1;
  };
  EXPECT_EQ(WrongInChild(second), 0);
  EXPECT_NE(seen->text.Get().find(std::to_string(first)), std::string::npos) << seen->text.Get();
  const absl::StatusOr<Peer> own = family->Confirm(1, first);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  EXPECT_EQ(WrongInChild(second), 0) << "nor after Confirm";
  EXPECT_TRUE(family->Send(*own, "ask").ok());
  EXPECT_TRUE(family.Until([&] { return seen->alerts[1] == 1; }));
}

// The first child ended without having attached, so the slot was nobody's in a way.
TEST(OwnForkRefusal, AChildWithTheSlotOfADeadOne) {
  Family family(FamilyOf(1));
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  ASSERT_TRUE(family->Confirm(1, pid).ok());
  ASSERT_TRUE(family->ReportExit(pid, Reap(pid)).ok());
  EXPECT_EQ(WrongInChild([&] {
              uv_loop_t loop;
              uv_loop_init(&loop);
              return Refused(Worker::Attach(*std::move(slot), &loop).status()) ? 0 : 1;
            }),
            0);
}

TEST(OwnForkRefusal, AChildOfTheChild) {
  Family family(FamilyOf(1));
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  EXPECT_EQ(WrongInChild([&] {
              return WrongInChild([&] {
                uv_loop_t loop;
                uv_loop_init(&loop);
                return Refused(Worker::Attach(*std::move(slot), &loop).status()) ? 0 : 1;
              });
            }),
            0);
  EXPECT_TRUE(family->Cancel(1).ok());
}

TEST(OwnForkRefusal, AChildThatWasConfirmedForAnotherSlot) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  absl::StatusOr<Slot> first = family->Reserve();
  absl::StatusOr<Slot> second = family->Reserve();
  ASSERT_TRUE(first.ok() && second.ok());
  const auto child = [&](absl::StatusOr<Slot>* slot) {
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid != 0) return pid;
    alarm(60);
    WaitFor(seen->go);
    uv_loop_t loop;
    uv_loop_init(&loop);
    _exit(Refused(Worker::Attach(*std::move(*slot), &loop).status()) ? 0 : 1);
  };
  const pid_t a = child(&first);
  const pid_t b = child(&second);
  const absl::StatusOr<Peer> wrong_a = family->Confirm(2, a);
  const absl::StatusOr<Peer> wrong_b = family->Confirm(1, b);
  ASSERT_TRUE(wrong_a.ok() && wrong_b.ok());
  family.Adopt(*wrong_a);
  family.Adopt(*wrong_b);
  ++seen->go;
  EXPECT_TRUE(family.Until([&] { return family.exits.size() == 2; }));
}

// ---- In the child -------------------------------------------------------------------------------

TEST(OwnForkChild, HoldsTheReadEndOfItsOwnPipeOnly) {
  struct Ends {
    Count read_ends;
    Count write_ends;
    Count done;
  };
  for (const MasterIs kind : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Shared<Ends> ends;
    Family family(FamilyOf(4), kind);
    family.Spawn([](Member&) {});
    const std::set<std::uint64_t> pipes = family.pipes();
    family.ForkWorker([&](Member&) {
      for (const std::uint64_t inode : pipes) {
        if (DescriptorOf(inode, O_RDONLY) >= 0) ++ends->read_ends;
        if (DescriptorOf(inode, O_WRONLY) >= 0) ++ends->write_ends;
      }
      ++ends->done;
    });
    ASSERT_TRUE(family.Until([&] { return ends->done == 1; }));
    EXPECT_LE(ends->read_ends, 2u) << "its inbox, and a lifeline where there are no pidfds";
    EXPECT_GE(ends->write_ends, 5u);
  }
}

TEST(OwnForkChild, MayDestroyItsCopyOfTheMaster) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  for (const bool before : {true, false}) {
    absl::StatusOr<Slot> slot = family->Reserve();
    ASSERT_TRUE(slot.ok());
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      if (before) family.master.reset();
      _exit(family.Live(*std::move(slot), [&](Member& me) {
        if (!before) family.master.reset();
        Serve(me, &*seen);
      }));
    }
    const absl::StatusOr<Peer> own = family->Confirm(slot->number(), pid);
    ASSERT_TRUE(own.ok()) << own.status();
    family.Adopt(*own);
    const std::uint64_t alerts = seen->alerts[2];
    EXPECT_TRUE(family->Send(*own, "ask").ok());
    ASSERT_TRUE(family.Until([&] { return seen->alerts[2] == alerts + 1; }));
    ASSERT_TRUE(family.Ready());
    ASSERT_EQ(kill(pid, SIGTERM), 0);
    ASSERT_TRUE(family.Until([&] { return !family.Lives(*own); }));
  }
  ASSERT_TRUE(family.KillAndReap(family.live[1])) << "deaths are still noticed";
}

int PollHandles(uv_loop_t* loop) {
  int count = 0;
  uv_walk(
      loop,
      [](uv_handle_t* handle, void* into) {
        *static_cast<int*>(into) += handle->type == UV_POLL ? 1 : 0;
      },
      &count);
  return count;
}

int EpollEntries(uv_loop_t* loop) {
  std::ifstream about("/proc/self/fdinfo/" + std::to_string(uv_backend_fd(loop)));
  int entries = 0;
  for (std::string line; std::getline(about, line);) entries += line.rfind("tfd:", 0) == 0 ? 1 : 0;
  return entries;
}

// The master's loop is the child's only one, as in programs that keep it in a global. It may have
// turned before the child attaches.
void CheckMastersLoop(bool turned_before) {
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  int answers = 0;
  family->Receive("answer", [&](Alert&) { ++answers; });
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  // Something to read in the master's own inbox, which the child must not take.
  EXPECT_TRUE(family->Send(To::Slot(1), "ask").ok());
  ASSERT_TRUE(Eventually([&] { return seen->alerts[1] == 1; }));
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    uv_loop_t* loop = family.loop();
    if (uv_loop_fork(loop) != 0) _exit(10);
    for (int turn = 0; turned_before && turn < 5; ++turn) uv_run(loop, UV_RUN_NOWAIT);
    auto worker = Worker::Attach(*std::move(slot), loop);
    if (!worker.ok()) _exit(11);
    bool done = false;
    (*worker)->Receive("ask", [&](Alert& alert) { alert.Reply("answer"); });
    (*worker)->Receive("end", [&](Alert&) {
      (*worker)->Close(absl::Seconds(5), [&](const CloseReport&) { done = true; });
    });
    while (!done) uv_run(loop, UV_RUN_ONCE);
    worker->reset();
    uv_run(loop, UV_RUN_NOWAIT);
    if (PollHandles(loop) != 0) _exit(12);
    // Nothing is left of the master's: what epoll still knew, under the number of a descriptor that
    // has been replaced, could never be removed.
    uv_loop_t fresh;
    uv_timer_t timer;
    uv_loop_init(&fresh);
    uv_timer_init(&fresh, &timer);
    uv_timer_start(
        &timer, [](uv_timer_t*) {}, 60000, 0);
    uv_run(&fresh, UV_RUN_NOWAIT);
    _exit(EpollEntries(loop) == EpollEntries(&fresh) ? 0 : 13);
  }
  const absl::StatusOr<Peer> own = family->Confirm(2, pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(family->Send(*own, "ask").ok());
  ASSERT_TRUE(family.Until([&] { return answers == 11; })) << answers;
  ASSERT_TRUE(family.KillAndReap(family.live[1])) << "the master's loop has lost nothing";
  EXPECT_TRUE(family->Send(*own, "end").ok());
  EXPECT_TRUE(family.Until([&] { return !family.Lives(*own); }));
}

TEST(OwnForkChild, GoesOnWithTheMastersLoop) { CheckMastersLoop(false); }
TEST(OwnForkChild, GoesOnWithTheMastersLoopAfterSomeTurns) { CheckMastersLoop(true); }

// A loop of its own for the endpoint, and the master's for other things.
TEST(OwnForkChild, MayRunTheMastersLoopBesides) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Echo(&*seen));
  ASSERT_TRUE(family.Ready());
  absl::StatusOr<Slot> slot = family->Reserve();
  const pid_t pid = family.Fork(&slot, [&](Member& me) {
    me.Check(uv_loop_fork(family.loop()) == 0, "uv_loop_fork");
    for (int turn = 0; turn < 5; ++turn) uv_run(family.loop(), UV_RUN_NOWAIT);
    Serve(me, &*seen);
  });
  const absl::StatusOr<Peer> own = family->Confirm(2, pid);
  ASSERT_TRUE(own.ok()) << own.status();
  family.Adopt(*own);
  EXPECT_TRUE(family->Send(*own, "ask").ok());
  ASSERT_TRUE(family.Until([&] { return seen->alerts[2] == 1; }));
  ASSERT_TRUE(family.KillAndReap(family.live[1]));
}

TEST(OwnForkChild, LearnsOfTheMastersDeath) {
  struct Orphan {
    Count pid;
    Count gone;
  };
  Shared<Orphan> orphan;
  Household house([&] {
    Family family(FamilyOf(1));
    family.ForkWorker([&](Member& me) {
      me->OnMasterGone([&] { ++orphan->gone; });
      orphan->pid = static_cast<std::uint64_t>(getpid());
      me.Run();
    });
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return orphan->pid != 0; }));
  const auto pid = static_cast<pid_t>(orphan->pid.load());
  house.KillMaster({pid});
  EXPECT_TRUE(Eventually([&] { return orphan->gone == 1; }));
  EXPECT_TRUE(house.EndOrphan(pid));
}

// The child attaches when nobody can confirm it any more.
TEST(OwnForkChild, MayAttachAfterTheMastersDeath) {
  struct Orphan {
    Count pid;
    Count gone;
    Count go;
  };
  Shared<Orphan> orphan;
  Household house([&] {
    Family family(FamilyOf(1));
    absl::StatusOr<Slot> slot = family->Reserve();
    if (fork() == 0) {
      alarm(60);
      orphan->pid = static_cast<std::uint64_t>(getpid());
      WaitFor(orphan->go);
      _exit(family.Live(*std::move(slot), [&](Member& me) {
        me->OnMasterGone([&] { ++orphan->gone; });
        me.Run();
      }));
    }
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return orphan->pid != 0; }));
  const auto pid = static_cast<pid_t>(orphan->pid.load());
  house.KillMaster({pid});
  ++orphan->go;
  EXPECT_TRUE(Eventually([&] { return orphan->gone == 1; }));
  EXPECT_TRUE(house.EndOrphan(pid));
}

// ---- Both kinds in one family -------------------------------------------------------------------

// Of the master and of another worker, to a reserved slot and to a confirmed worker.
TEST(OwnForkMixed, RequestsEndWithTheirReceiver) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  const auto died = [&](Response& response) {
    ++(response.outcome() == ResponseOutcome::kPeerDied ? seen->step : seen->alerts[0]);
  };
  family.Spawn([&](Member& me) {
    me->Receive("go", [&](Alert&) {
      me.Check(me->Request(To::Slot(2), "never", "", absl::InfiniteDuration(), died).ok(), "sent");
      ++seen->go;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  const auto request = [&](std::uint64_t time) {
    EXPECT_TRUE(family->Request(To::Slot(2), "never", "", absl::InfiniteDuration(), died).ok());
    EXPECT_TRUE(family->Send(To::Slot(1), "go").ok());
    return family.Until([&] { return seen->go == time; });
  };
  const absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  ASSERT_TRUE(request(1));
  ASSERT_TRUE(family->Cancel(2).ok());
  ASSERT_TRUE(family.Until([&] { return seen->step == 2; })) << seen->step;
  const Peer own = family.ForkWorker([](Member& me) {
    me->Receive("never", [](Alert&) { pause(); });
    me.Run();
  });
  ASSERT_TRUE(request(2));
  ASSERT_TRUE(family.KillAndReap(own));
  ASSERT_TRUE(family.Until([&] { return seen->step == 4; })) << seen->step;
  EXPECT_EQ(seen->alerts[0], 0u) << "ended in another way";
}

TEST(OwnForkMixed, EverybodyTalksToEverybody) {
  Shared<Seen> seen;
  Family family(FamilyOf(6));
  for (int i = 0; i < 3; ++i) {
    family.Spawn(Echo(&*seen));
    family.ForkWorker(Echo(&*seen));
  }
  ASSERT_TRUE(family.Ready());
  int answers = 0;
  family->Receive("answer", [&](Alert&) { ++answers; });
  EXPECT_EQ(family->Broadcast("ask").accepted, 6u);
  ASSERT_TRUE(family.Until([&] { return answers == 6; }));
  for (int slot = 1; slot <= 6; ++slot) {
    ASSERT_TRUE(family.KillAndReap(family.live[slot]));
    if (slot % 2 == 0) {
      family.Spawn(Echo(&*seen));
    } else {
      family.ForkWorker(Echo(&*seen));
    }
    EXPECT_EQ(family.live[slot].generation, 2u);
  }
  ASSERT_TRUE(family.Ready());
  answers = 0;
  EXPECT_EQ(family->Broadcast("ask").accepted, 6u);
  ASSERT_TRUE(family.Until([&] { return answers == 6; }));
}

}  // namespace
}  // namespace alertpipe::process
