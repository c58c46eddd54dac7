// SPDX-License-Identifier: Apache-2.0
//
// Live workers that are replaced: who is there when, what becomes of alerts under way, deadlines,
// and all that can go wrong in between.
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

// For a worker that cannot end: the deadline only has to pass.
constexpr absl::Duration kShort = absl::Milliseconds(50);
// For what is to happen before it.
constexpr absl::Duration kLong = absl::Seconds(60);
// For both in one: a successor is there by then, and a worker that cannot end is killed.
constexpr absl::Duration kEither = absl::Seconds(2);

RetireOptions Within(absl::Duration deadline, int successor = 0) {
  RetireOptions options;
  options.deadline = deadline;
  options.successor = successor;
  return options;
}

// The end of a Replace or RestartAll.
struct End {
  RestartDone Hook() {
    return [this](const RestartReport& ended) {
      EXPECT_FALSE(report.has_value()) << "told twice";
      report = ended;
    };
  }
  bool there() const { return report.has_value(); }

  std::optional<RestartReport> report;
};

// What the workers of one main function do: those that are started while `script` is not 0.
struct Script {
  Count script;
  Count up;  // how many have attached
};

// Starts a worker whose successors call `instead`, first, once the script says so.
Peer SpawnScripted(Family* family, Script* script, const std::function<int()>& instead) {
  const Peer peer = family->SpawnMain([=](Slot slot) {
    if (script->script != 0) {
      if (const int code = instead(); code != 0) return code;
    }
    return family->Live(std::move(slot), [script](Member&) { ++script->up; });
  });
  EXPECT_TRUE(family->Until([&] { return script->up == 1; }));
  return peer;
}

SlotState StateOf(const Family& family, int slot) { return family.master->StatsOf(slot)->state; }

// ---- Retire -------------------------------------------------------------------------------------

TEST(Retire, WhoIsStoppedIsKilledAtTheDeadline) {
  for (const MasterIs master_is : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Family family(FamilyOf(2), master_is);
    const Peer stopped = family.Spawn([](Member&) {});
    const Peer other = family.Spawn([](Member&) {});
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family.Stop(stopped));
    family.ExpectExit(stopped, 0, SIGKILL);
    ASSERT_TRUE(family->Retire(stopped.slot, Within(kShort, other.slot)).ok());
    EXPECT_EQ(StateOf(family, stopped.slot), SlotState::kDraining);
    EXPECT_EQ(family->Workers().size(), 2u) << "it lives";
    ASSERT_TRUE(family.Until([&] { return !family.Lives(stopped); }));
    ASSERT_EQ(family.exits.size(), 1u);
    const WorkerExit& exit = family.exits[0];
    EXPECT_TRUE(exit.killed_at_deadline);
    EXPECT_TRUE(exit.retired);
    EXPECT_EQ(exit.successor, other.slot);
    EXPECT_FALSE(exit.unproven);
    EXPECT_EQ(exit.signal, SIGKILL);
    EXPECT_TRUE(family.Lives(other));
  }
}

TEST(Retire, WithoutADeadlineNobodyIsKilled) {
  Family family(FamilyOf(2));
  const Peer stopped = family.Spawn([](Member&) {});
  const Peer late = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(stopped));
  ASSERT_TRUE(family.Stop(late));
  ASSERT_TRUE(family->Retire(stopped.slot).ok());
  family.ExpectExit(late, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(late.slot, Within(kShort)).ok());
  ASSERT_TRUE(family.Until([&] { return !family.Lives(late); }));
  EXPECT_TRUE(family.Lives(stopped));
  EXPECT_EQ(StateOf(family, stopped.slot), SlotState::kDraining);
  // By somebody else, which is not for the library to report.
  ASSERT_TRUE(family.KillAndReap(stopped));
  EXPECT_TRUE(family.exits.back().retired);
  EXPECT_FALSE(family.exits.back().killed_at_deadline);
  EXPECT_EQ(family.exits.back().successor, 0);
}

TEST(Retire, TheNextWorkerThereHasNoDeadline) {
  Family family(FamilyOf(1), MasterIs::kWithoutLoop);
  const Peer first = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(first));
  ASSERT_TRUE(family->Retire(first.slot, Within(absl::Milliseconds(300))).ok());
  ASSERT_TRUE(family.KillAndReap(first));
  const Peer second = family.Respawn(first.slot);
  EXPECT_EQ(StateOf(family, first.slot), SlotState::kUp);
  ASSERT_TRUE(family.Ready());
  usleep(400000);
  family.Turns(10);
  EXPECT_TRUE(family.Lives(second));
  EXPECT_EQ(family.exits.size(), 1u);
}

TEST(Retire, NewAlertsAreRefusedAndNameTheSuccessor) {
  struct Seen {
    Count go;
    Text by_slot, by_pid, any, none;
    Count reached;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  const Peer old = family.Spawn([](Member&) {});
  const Peer heir = family.Spawn([](Member&) {});
  family.Spawn([&](Member& me) {
    me.Every(1, [&] {
      if (seen->go == 0 || seen->none.is_set()) return;
      seen->by_slot.Set(me->Send(To::Slot(old.slot), "n").status().ToString());
      seen->by_pid.Set(me->Send(old.pid, "n").status().ToString());
      seen->reached = me->Broadcast("n", "", Scope::kOthers).accepted;
      for (int i = 0; i < 4; ++i) {
        if (!me->Send(To::AnyWorker(), "n").ok()) seen->any.Set("refused");
      }
      me.Check(me->Workers().size() == 3, "the old one lives");
      seen->none.Set("done");
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(old));
  ASSERT_TRUE(family->Retire(old.slot, Within(absl::InfiniteDuration(), heir.slot)).ok());
  seen->go = 1;
  ASSERT_TRUE(family.Until([&] { return seen->none.is_set(); }));
  for (const Text* text : {&seen->by_slot, &seen->by_pid}) {
    EXPECT_EQ(text->Get(), "UNAVAILABLE: " + ToString(old) + " is being replaced by slot 2");
  }
  EXPECT_EQ(seen->reached, 1u);
  EXPECT_FALSE(seen->any.is_set());
  EXPECT_TRUE(
      Says(family->Send(old.pid, "n").status(), StatusCode::kUnavailable, {"replaced by slot 2"}));
  ASSERT_TRUE(family.KillAndReap(old));
}

// What was queued for the old one comes back, and nothing is unaccounted for.
TEST(Retire, SendersGetBackWhatTheyHadQueuedForTheOneThatWasKilled) {
  struct Account {
    Count accepted;
    Count back;
    Count queued;
  };
  Shared<Account> account;
  Family family(TightFamilyOf(2));
  const Peer old = family.SpawnDeaf([](Member&) {});
  family.Spawn([&](Member& me) {
    me->OnUndelivered([&](const Undelivered& lost) {
      me.Check(lost.reason == UndeliveredReason::kPeerDied, "reason");
      me.Check(lost.peer == old, "peer");
      ++account->back;
    });
    for (std::uint64_t number = 1; number <= 300; ++number) {
      if (me->Send(To::Slot(old.slot), "job", Numbered(number, 100)).ok()) ++account->accepted;
    }
    account->queued = me->QueuedBytes(old.slot);
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(account->accepted, 300u);
  EXPECT_GT(account->queued, 0u);
  family.ExpectExit(old, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(old.slot, Within(kShort)).ok());
  ASSERT_TRUE(family.Until([&] { return !family.Lives(old); }));
  EXPECT_GT(family.exits[0].alerts_drained, 0u);
  EXPECT_TRUE(family.Until([&] {
    return account->back + family.exits[0].alerts_drained == account->accepted;
  })) << account->back
      << " came back, " << family.exits[0].alerts_drained << " were drained";
  EXPECT_GT(account->back, 0u);
}

TEST(Retire, Mistakes) {
  Family family(FamilyOf(4));
  const Peer worker = family.Spawn([](Member&) {});
  const Peer other = family.Spawn([](Member&) {});
  const auto retire = [&](int slot, const RetireOptions& options = {}) {
    return family->Retire(slot, options);
  };
  for (const int none : {-1, 0, 5}) {
    EXPECT_TRUE(Says(retire(none), StatusCode::kNotFound, {std::to_string(none)}));
    if (none == 0) continue;
    EXPECT_TRUE(Says(retire(1, Within(kLong, none)), StatusCode::kNotFound,
                     {std::to_string(none), "1 to 4"}));
  }
  EXPECT_TRUE(Says(retire(4), StatusCode::kFailedPrecondition, {"slot 4", "no live worker"}));
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  EXPECT_TRUE(Says(retire(slot->number()), StatusCode::kFailedPrecondition, {"reserved"}));
  for (const absl::Duration deadline : {absl::ZeroDuration(), absl::Seconds(-1)}) {
    EXPECT_TRUE(Says(retire(1, Within(deadline)), StatusCode::kInvalidArgument,
                     {"deadline", "above zero"}));
  }
  EXPECT_TRUE(Says(retire(1, Within(kLong, 1)), StatusCode::kInvalidArgument, {"own successor"}));
  EXPECT_TRUE(
      Says(retire(1, Within(kLong, 4)), StatusCode::kFailedPrecondition, {"slot 4", "slot 1"}));
  EXPECT_EQ(StateOf(family, 1), SlotState::kUp) << "nothing has changed";

  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(worker));
  ASSERT_TRUE(retire(1, Within(absl::InfiniteDuration(), 2)).ok());
  EXPECT_TRUE(Says(retire(1), StatusCode::kFailedPrecondition, {"retired already", "by slot 2"}));
  EXPECT_TRUE(Says(retire(2, Within(kLong, 1)), StatusCode::kFailedPrecondition, {"slot 1"}))
      << "by one that is leaving itself";
  EXPECT_TRUE(Says(family->Respawn(1).status(), StatusCode::kFailedPrecondition, {"lives"}));
  ASSERT_TRUE(family.KillAndReap(worker));
  EXPECT_TRUE(Says(retire(1), StatusCode::kFailedPrecondition, {"no live worker"}));
  EXPECT_TRUE(family.Lives(other));
}

TEST(Retire, AWorkerOfAForkOfTheProgramsOwnIsNeverKilled) {
  Family family(FamilyOf(2));
  const Peer own = family.ForkWorker([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(own));
  ASSERT_TRUE(family->Retire(own.slot, Within(absl::Milliseconds(1))).ok());
  const Peer late = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(late));
  family.ExpectExit(late, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(late.slot, Within(kShort)).ok());
  ASSERT_TRUE(family.Until([&] { return !family.Lives(late); }));
  EXPECT_TRUE(family.Lives(own));
  EXPECT_EQ(StateOf(family, own.slot), SlotState::kDraining);
  ASSERT_TRUE(family.KillAndReap(own));
  EXPECT_TRUE(family.exits.back().retired);
  EXPECT_FALSE(family.exits.back().killed_at_deadline);
}

TEST(Retire, ADeadlineSurvivesTheMastersLoop) {
  Family family(FamilyOf(2));
  const Peer stopped = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(stopped));
  family.ExpectExit(stopped, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(stopped.slot, Within(absl::Milliseconds(200))).ok());
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  ASSERT_TRUE(Eventually([&] {
    EXPECT_TRUE(family->Service().ok());
    return !family.Lives(stopped);
  }));
  EXPECT_TRUE(family.exits[0].killed_at_deadline);
}

TEST(Retire, AKillIsReported) {
  Family family(FamilyOf(1));
  std::vector<Diagnostic> told;
  family->OnDiagnostic([&](const Diagnostic& event) { told.push_back(event); });
  const Peer stopped = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(stopped));
  family.ExpectExit(stopped, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(stopped.slot, Within(kShort)).ok());
  ASSERT_TRUE(family.Until([&] { return !family.Lives(stopped) && !told.empty(); }));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Diagnostic::Kind::kKilled);
  EXPECT_EQ(told[0].peer, stopped);
  EXPECT_EQ(told[0].error, 0);
}

// ---- Replace ------------------------------------------------------------------------------------

TEST(Replace, AStoppedOldWorkerIsKilledAtTheDeadlineAndItsSuccessorIsThere) {
  Family family(FamilyOf(3));
  const Peer old = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(old));
  family.ExpectExit(old, 0, SIGKILL);
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kEither, end.Hook()).ok());
  family.Meet();
  EXPECT_FALSE(end.there()) << "told from the loop";
  EXPECT_EQ(family->Workers().size(), 2u) << "started within the call";
  EXPECT_TRUE(Says(family->Replace(old.slot, kLong, nullptr), StatusCode::kFailedPrecondition,
                   {"already"}));
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  ASSERT_EQ(end.report->replaced.size(), 1u);
  const Replacement& replaced = end.report->replaced[0];
  EXPECT_EQ(replaced.old_worker, old);
  EXPECT_EQ(replaced.successor.slot, 2);
  EXPECT_TRUE(replaced.killed_at_deadline);
  EXPECT_TRUE(family.Lives(replaced.successor));
  EXPECT_FALSE(family.Lives(old));
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_TRUE(family.exits[0].retired);
  EXPECT_EQ(family.exits[0].successor, 2);
}

TEST(Replace, ASuccessorThatExitsAtOnceLeavesTheOldWorkerAlone) {
  Shared<Script> script;
  Family family(FamilyOf(2));
  const Peer old = SpawnScripted(&family, &*script, [] { return 7; });
  script->script = 1;
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.ExpectExit(family->Workers()[1], 7);
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(Says(end.report->status, StatusCode::kUnavailable,
                   {ToString(old), "in slot 2", "ended before it took over"}));
  EXPECT_TRUE(end.report->replaced.empty());
  EXPECT_EQ(end.report->remaining, (std::vector<Peer>{old}));
  EXPECT_TRUE(family.Lives(old));
  EXPECT_EQ(StateOf(family, old.slot), SlotState::kUp);
  EXPECT_TRUE(family->Send(To::Slot(old.slot), "still there").ok());
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_TRUE(family.exits[0].unproven);
  EXPECT_FALSE(family.exits[0].retired);
  EXPECT_EQ(family.exits[0].successor, 0);
}

TEST(Replace, AStoppedSuccessorIsKilledAtTheDeadlineAndTheOldWorkerStays) {
  Shared<Script> script;
  Family family(FamilyOf(2));
  const Peer old = SpawnScripted(&family, &*script, [] { return raise(SIGSTOP); });
  script->script = 1;
  End end;
  ASSERT_TRUE(family->Replace(old.slot, absl::Milliseconds(200), end.Hook()).ok());
  family.ExpectExit(family->Workers()[1], 0, SIGKILL);
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(Says(end.report->status, StatusCode::kDeadlineExceeded,
                   {ToString(old), "in slot 2", "did not answer"}));
  EXPECT_EQ(end.report->remaining, (std::vector<Peer>{old}));
  EXPECT_EQ(StateOf(family, old.slot), SlotState::kUp);
  EXPECT_EQ(StateOf(family, 2), SlotState::kDown) << "the slot is free again";
  ASSERT_EQ(family.exits.size(), 1u);
  EXPECT_TRUE(family.exits[0].unproven);
  EXPECT_TRUE(family.exits[0].killed_at_deadline);
  // And once more, with one that works.
  script->script = 0;
  ASSERT_TRUE(family.Stop(old));
  family.ExpectExit(old, 0, SIGKILL);
  End again;
  ASSERT_TRUE(family->Replace(old.slot, kEither, again.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return again.there(); }));
  EXPECT_TRUE(again.report->status.ok()) << again.report->status;
}

TEST(Replace, AnOldWorkerKilledOnTheWayIsReplacedAllTheSame) {
  Family family(FamilyOf(2));
  const Peer old = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(old));
  End end;
  ASSERT_TRUE(family->Replace(old.slot, absl::InfiniteDuration(), end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return StateOf(family, old.slot) == SlotState::kDraining; }));
  EXPECT_TRUE(Says(family->Replace(old.slot, kLong, nullptr), StatusCode::kFailedPrecondition,
                   {"retired already", "by slot 2"}));
  ASSERT_TRUE(family.KillAndReap(old));
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  ASSERT_EQ(end.report->replaced.size(), 1u);
  EXPECT_FALSE(end.report->replaced[0].killed_at_deadline);
  EXPECT_TRUE(family.Lives(end.report->replaced[0].successor));
}

// Before the successor has answered, too.
TEST(Replace, AnOldWorkerThatDiesBeforeItsSuccessorIsThere) {
  Shared<Script> script;
  Family family(FamilyOf(2));
  const Peer old = SpawnScripted(&family, &*script, [&] {
    Eventually([&] { return script->script == 2; });
    return 0;
  });
  script->script = 1;
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.KillAndReap(old));
  EXPECT_FALSE(family.exits[0].retired);
  EXPECT_EQ(family.exits[0].successor, 2);
  family.Turns(20);
  EXPECT_FALSE(end.there());
  script->script = 2;
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  EXPECT_EQ(end.report->replaced.size(), 1u);
}

TEST(Replace, WithoutASpareSlotNothingHappens) {
  Family family(FamilyOf(2));
  const Peer worker = family.Spawn([](Member&) {});
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  const auto never = [](const RestartReport&) { ADD_FAILURE() << "told of what was refused"; };
  for (const absl::Status& status :
       {family->Replace(worker.slot, kLong, never), family->RestartAll(kLong, never)}) {
    EXPECT_TRUE(
        Says(status, StatusCode::kResourceExhausted, {ToString(worker), "workers_max is 2"}));
  }
  family.Turns(20);
  EXPECT_EQ(StateOf(family, worker.slot), SlotState::kUp);
  EXPECT_TRUE(family.exits.empty());
}

TEST(Replace, Mistakes) {
  Family family(FamilyOf(4), MasterIs::kWithoutLoop);
  const Peer worker = family.Spawn([](Member&) {});
  const auto replace = [&](int slot, absl::Duration deadline = kLong) {
    return family->Replace(slot, deadline, nullptr);
  };
  EXPECT_TRUE(Says(replace(1), StatusCode::kFailedPrecondition, {"not attached to a loop"}));
  EXPECT_TRUE(Says(family->RestartAll(kLong, nullptr), StatusCode::kFailedPrecondition,
                   {"not attached to a loop"}));
  ASSERT_TRUE(family.Attach().ok());
  EXPECT_TRUE(Says(replace(0), StatusCode::kNotFound, {"slot 0"}));
  EXPECT_TRUE(Says(replace(5), StatusCode::kNotFound, {"slot 5"}));
  EXPECT_TRUE(Says(replace(4), StatusCode::kFailedPrecondition, {"no live worker"}));
  EXPECT_TRUE(Says(replace(1, absl::ZeroDuration()), StatusCode::kInvalidArgument, {"deadline"}));
  EXPECT_TRUE(Says(family->RestartAll(absl::ZeroDuration(), nullptr), StatusCode::kInvalidArgument,
                   {"deadline"}));
  const Peer own = family.ForkWorker([](Member&) {});
  EXPECT_TRUE(Says(replace(own.slot), StatusCode::kFailedPrecondition,
                   {ToString(own), "forked by the program", "Retire"}));
  EXPECT_TRUE(Says(family->RestartAll(kLong, nullptr), StatusCode::kFailedPrecondition,
                   {ToString(own), "forked by the program"}));
  ASSERT_TRUE(family.Ready());

  // One at a time.
  ASSERT_TRUE(family.Stop(worker));
  End end;
  ASSERT_TRUE(family->Replace(1, absl::InfiniteDuration(), end.Hook()).ok());
  family.Meet();
  EXPECT_TRUE(Says(replace(1), StatusCode::kFailedPrecondition, {ToString(worker), "already"}));
  EXPECT_TRUE(Says(replace(3), StatusCode::kFailedPrecondition, {"in slot 3", "already"}))
      << "the successor";
  EXPECT_TRUE(Says(family->RestartAll(kLong, nullptr), StatusCode::kFailedPrecondition,
                   {"being replaced already"}));
  ASSERT_TRUE(family.KillAndReap(worker));
  ASSERT_TRUE(family.Until([&] { return end.there(); }));

  struct Answers {
    Text replace, all, retire;
  };
  Shared<Answers> answers;
  family.Spawn([&](Member&) {
    answers->replace.Set(family->Replace(1, kLong, nullptr).ToString());
    answers->all.Set(family->RestartAll(kLong, nullptr).ToString());
    answers->retire.Set(family->Retire(1).ToString());
  });
  ASSERT_TRUE(family.Ready());
  for (const Text* text : {&answers->replace, &answers->all, &answers->retire})
    EXPECT_EQ(text->Get().rfind("FAILED_PRECONDITION", 0), 0u) << text->Get();
}

TEST(Replace, RetiringOneOfTheTwoCancelsIt) {
  Shared<Script> script;
  Family family(FamilyOf(2));
  const Peer old = SpawnScripted(&family, &*script, [] {
    Family::WaitForEnd();
    _exit(0);
    return 0;
  });
  script->script = 1;
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Stop(old));
  ASSERT_TRUE(family->Retire(old.slot).ok());
  EXPECT_FALSE(end.there()) << "told from the loop";
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(Says(end.report->status, StatusCode::kCancelled, {ToString(old), "retired"}));
  EXPECT_EQ(end.report->remaining, (std::vector<Peer>{old}));
  ASSERT_TRUE(family.KillAndReap(old));
}

TEST(Replace, ClosingOrDestroyingTheMasterCancelsIt) {
  for (const bool destroy : {false, true}) {
    Family family(FamilyOf(2));
    const Peer old = family.Spawn([](Member&) {});
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family.Stop(old));
    End end;
    ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
    family.Meet();
    if (destroy) {
      family.master.reset();
    } else {
      ASSERT_TRUE(family->Close(absl::Seconds(5)).ok());
      EXPECT_FALSE(end.there());
      ASSERT_TRUE(family.Until([&] { return end.there(); }));
    }
    ASSERT_TRUE(end.there());
    EXPECT_TRUE(Says(end.report->status, StatusCode::kCancelled, {"closed"}));
    EXPECT_EQ(end.report->remaining, (std::vector<Peer>{old}));
    family.Continue(old);
  }
}

TEST(Replace, WhatIsToldOfItsEndMayBeginTheNextOneOrDestroyTheMaster) {
  Family family(FamilyOf(2));
  const Peer first = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  std::vector<RestartReport> ends;
  ASSERT_TRUE(family
                  ->Replace(first.slot, kLong,
                            [&](const RestartReport& report) {
                              ends.push_back(report);
                              const absl::Status again =
                                  family->RestartAll(kLong, [&](const RestartReport& next) {
                                    ends.push_back(next);
                                    family.Meet();
                                    family.master.reset();
                                  });
                              EXPECT_TRUE(again.ok()) << again;
                            })
                  .ok());
  ASSERT_TRUE(family.Until([&] { return ends.size() == 2; }));
  for (const RestartReport& end : ends) {
    EXPECT_TRUE(end.status.ok()) << end.status;
    ASSERT_EQ(end.replaced.size(), 1u);
  }
  EXPECT_EQ(ends[0].replaced[0].successor, ends[1].replaced[0].old_worker);
  EXPECT_EQ(family.master, nullptr);
}

// ---- RestartAll ---------------------------------------------------------------------------------

TEST(RestartAll, WithNobodyThereItEndsAtOnce) {
  Family family(FamilyOf(2));
  End end;
  ASSERT_TRUE(family->RestartAll(kLong, end.Hook()).ok());
  EXPECT_FALSE(end.there());
  EXPECT_TRUE(Says(family->RestartAll(kLong, nullptr), StatusCode::kFailedPrecondition,
                   {"all workers are being replaced already"}));
  EXPECT_TRUE(Says(family->Replace(1, kLong, nullptr), StatusCode::kFailedPrecondition));
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok());
  EXPECT_TRUE(end.report->replaced.empty());
  EXPECT_TRUE(family->RestartAll(kLong, nullptr).ok()) << "and again";
}

TEST(RestartAll, OneSpareSlotIsEnough) {
  Family family(FamilyOf(4));
  std::vector<Peer> olds;
  for (int i = 0; i < 3; ++i) olds.push_back(family.Spawn([](Member&) {}));
  ASSERT_TRUE(family.Ready());
  family.OnExit([&](const WorkerExit& exit) {
    EXPECT_TRUE(exit.retired);
    EXPECT_GE(family->Workers().size(), 3u);
  });
  for (const Peer& old : olds) {
    ASSERT_TRUE(family.Stop(old));
    family.ExpectExit(old, 0, SIGKILL);
  }
  End end;
  ASSERT_TRUE(family->RestartAll(kEither, end.Hook()).ok());
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  family.Meet();
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  ASSERT_EQ(end.report->replaced.size(), 3u);
  const int slots[] = {4, 1, 2};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(end.report->replaced[i].old_worker, olds[i]);
    EXPECT_EQ(end.report->replaced[i].successor.slot, slots[i]);
    EXPECT_TRUE(family.Lives(end.report->replaced[i].successor));
  }
  EXPECT_EQ(family->Workers().size(), 3u);
}

TEST(RestartAll, EndsWithTheFirstThatFails) {
  Shared<Script> script;
  Family family(FamilyOf(3));
  const Peer first = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  const Peer second = SpawnScripted(&family, &*script, [] {
    _exit(0);
    return 0;
  });
  script->script = 1;
  ASSERT_TRUE(family.Stop(first));
  family.ExpectExit(first, 0, SIGKILL);
  End end;
  ASSERT_TRUE(family->RestartAll(kEither, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(Says(end.report->status, StatusCode::kUnavailable, {ToString(second), "in slot 1"}));
  ASSERT_EQ(end.report->replaced.size(), 1u);
  EXPECT_EQ(end.report->remaining, (std::vector<Peer>{second}));
  EXPECT_TRUE(family.Lives(second));
  EXPECT_EQ(StateOf(family, second.slot), SlotState::kUp);
}

// ---- Leaving in order ---------------------------------------------------------------------------

TEST(Leaving, ARetiredWorkerEndsByItself) {
  for (const MasterIs master_is : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Family family(FamilyOf(3), master_is);
    const Peer old = family.Spawn([](Member&) {});
    const Peer heir = family.Spawn([](Member&) {});
    const Peer own = family.ForkWorker([](Member&) {});
    ASSERT_TRUE(family.Ready());
    ASSERT_TRUE(family->Retire(old.slot, Within(kLong, heir.slot)).ok());
    ASSERT_TRUE(family.Until([&] { return !family.Lives(old); }));
    EXPECT_TRUE(family.exits[0].retired);
    EXPECT_FALSE(family.exits[0].killed_at_deadline);
    ASSERT_TRUE(family->Retire(own.slot, Within(kLong)).ok());
    ASSERT_TRUE(family.Until([&] { return !family.Lives(own); }));
    EXPECT_TRUE(family.Lives(heir));
  }
}

TEST(Leaving, OneThatHasNotAttachedYetGetsWhatWasSentBefore) {
  struct Seen {
    Count alerts;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    me->Receive("early", [&](Alert&) { ++seen->alerts; });
    me.Run();
  });
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(family->Send(To::Slot(1), "early").ok());
  ASSERT_TRUE(family->Retire(1, Within(kLong)).ok());
  EXPECT_TRUE(Says(family->Send(To::Slot(1), "late").status(), StatusCode::kUnavailable,
                   {ToString(deaf), "is ending"}));
  family.Turns(10);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return !family.Lives(deaf); }));
  EXPECT_EQ(seen->alerts, 100u);
  EXPECT_EQ(family.exits[0].alerts_drained, 0u);
}

// How a supervisor ends: everybody at once, nobody takes over.
TEST(Leaving, AllWorkersAtOnce) {
  for (const MasterIs master_is : {MasterIs::kAttached, MasterIs::kWithoutLoop}) {
    Family family(FamilyOf(4), master_is);
    for (int i = 0; i < 4; ++i) {
      family.Spawn([](Member& me) {
        me->ReceiveDefault([](Alert&) {});
        me.Every(1, [&me] { me->Broadcast("noise", "to whoever takes it", Scope::kOthers); });
        me.Run();
      });
    }
    ASSERT_TRUE(family.Ready());
    for (int slot = 1; slot <= 4; ++slot) {
      ASSERT_TRUE(family->Retire(slot, Within(kLong)).ok());
    }
    ASSERT_TRUE(family.Until([&] { return family.live.empty(); }));
    for (const WorkerExit& exit : family.exits) {
      EXPECT_TRUE(exit.retired);
      EXPECT_FALSE(exit.killed_at_deadline);
      EXPECT_EQ(exit.alerts_drained, 0u);
    }
  }
}

TEST(Leaving, ReplacedGracefully) {
  struct Seen {
    Count told, successor, done, unsent;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  const Peer old = family.Spawn([&](Member& me) {
    me->OnDraining([&](const Peer& successor) {
      seen->successor = static_cast<std::uint64_t>(successor.slot);
      ++seen->told;
      const Result drain = me->Drain([&](const CloseReport& report) {
        ++seen->done;
        seen->unsent += report.undelivered_alerts + (report.deadline_passed ? 1 : 0);
      });
      me.Check(drain.ok(), "Drain");
    });
    me.Run();
  });
  family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  ASSERT_EQ(end.report->replaced.size(), 1u);
  EXPECT_EQ(end.report->replaced[0].old_worker, old);
  EXPECT_EQ(end.report->replaced[0].successor.slot, 3);
  EXPECT_FALSE(end.report->replaced[0].killed_at_deadline);
  EXPECT_EQ(seen->told, 1u);
  EXPECT_EQ(seen->successor, 3u);
  EXPECT_EQ(seen->done, 1u);
  EXPECT_EQ(seen->unsent, 0u);
  ASSERT_TRUE(family.Ready());
  EXPECT_EQ(family->Workers().size(), 2u);
}

// Both run, know each other, and can send to each other; the successor only as others can.
TEST(Leaving, BothGenerationsKnowEachOther) {
  struct Seen {
    Count from_old, from_new, let_go;
    Text refused;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  const Peer old = family.Spawn([&](Member& me) {
    if (me->self().slot == 2) {
      me->Receive("from old", [&](Alert& alert) {
        me.Check(alert.sender().slot == 1, "the old one");
        me.Check(me->Workers().size() == 2, "the new one sees both");
        ++seen->from_old;
        seen->refused.Set(me->Send(To::Slot(1), "new").status().ToString());
        me.Check(alert.Reply("from new", "").ok(), "a reply reaches it");
      });
      return me.Run();
    }
    me->Receive("from new", [&](Alert& alert) {
      me.Check(alert.sender().slot == 2, "the new one");
      ++seen->from_new;
    });
    me->OnDraining([&](const Peer& successor) {
      me.Check(me->Workers().size() == 2, "the old one sees both");
      me.Check(successor == me->Workers()[1] && successor.pid > 0, "by whom");
      me.Check(me->Send(successor, "from old").ok(), "to the new one");
    });
    me.Every(1, [&] {
      if (seen->let_go == 1 && me->Drain().ok()) seen->let_go = 2;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return seen->from_new == 1; }));
  EXPECT_EQ(seen->from_old, 1u);
  EXPECT_EQ(seen->refused.Get(), "UNAVAILABLE: " + ToString(old) + " is being replaced by slot 2");
  EXPECT_EQ(family->Workers().size(), 2u);
  family.Turns(20);
  EXPECT_TRUE(family.Lives(old)) << "its hook has not called Drain";
  seen->let_go = 1;
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  EXPECT_EQ(seen->let_go, 2u);
}

TEST(Leaving, RepliesAndResponsesStillReachIt) {
  struct Seen {
    Count asked, told, reply_now, replied, responded, late_reply;
    Text refused;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  // It drains at once, but its request has not ended.
  const Peer old = family.Spawn([&](Member& me) {
    if (me->self().generation != 1 || me->self().slot != 1) return me.Run();
    me->Receive("late", [&](Alert&) { ++seen->late_reply; });
    me->OnDraining([&](const Peer&) {
      ++seen->told;
      me.Check(me->Drain().ok(), "Drain");
    });
    me.Every(1, [&] {
      if (me->Workers().size() < 2 || seen->asked.exchange(1) != 0) return;
      const SendResult sent =
          me->Request(To::Slot(2), "question", "", kLong, [&](Response& response) {
            me.Check(response.ok() && response.data() == "answer", "the response");
            ++seen->responded;
          });
      me.Check(sent.ok(), "Request");
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    std::optional<ResponseToken> token;
    Peer asker;
    me->Receive("question", [&](Alert& alert) {
      asker = alert.sender();
      token = alert.TakeResponseToken();
    });
    me.Every(1, [&] {
      if (seen->reply_now != 1) return;
      seen->reply_now = 2;
      seen->refused.Set(me->Send(asker.pid, "new").status().ToString());
      me.Check(me->Send(asker, "late").ok(), "to exactly this incarnation");
      me.Check(token->Respond("answer").ok(), "Respond");
      ++seen->replied;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Until([&] { return seen->asked == 1; }));
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  family.Turns(20);
  EXPECT_TRUE(family.Lives(old)) << "it waits for the response";
  seen->reply_now = 1;
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  EXPECT_EQ(seen->refused.Get(), "UNAVAILABLE: " + ToString(old) + " is being replaced by slot 3");
  EXPECT_EQ(seen->responded, 1u);
  EXPECT_EQ(seen->late_reply, 1u);
}

TEST(Leaving, OneThatIsKilledInTheMidstIsReplacedAllTheSame) {
  struct Seen {
    Count asked, told;
  };
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  const Peer old = family.Spawn([&](Member& me) {
    // Drains, but has a request that never ends.
    if (me->self().slot == 1) {
      me.Every(1, [&] {
        if (seen->asked == 0 && me->Request(To::Slot(2), "never", "", kLong, [](Response&) {}).ok())
          seen->asked = 1;
      });
    }
    me->OnDraining([&](const Peer&) {
      me.Check(me->Drain().ok(), "Drain");
      ++seen->told;
    });
    me.Run();
  });
  family.Spawn([](Member& me) {
    std::vector<ResponseToken> held;
    me->Receive("never", [&](Alert& alert) { held.push_back(alert.TakeResponseToken()); });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->asked == 1; }));
  End end;
  ASSERT_TRUE(family->Replace(old.slot, kLong, end.Hook()).ok());
  family.Meet();
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  family.Turns(20);
  ASSERT_TRUE(family.KillAndReap(old));
  ASSERT_TRUE(family.Until([&] { return end.there(); }));
  EXPECT_TRUE(end.report->status.ok()) << end.report->status;
  EXPECT_FALSE(end.report->replaced[0].killed_at_deadline);
  EXPECT_EQ(family.exits[0].successor, 3);
}

// A peer that is stopped holds up whoever waits for its last word: until the deadline.
TEST(Leaving, AStoppedPeerHoldsItUpUntilTheDeadline) {
  Family family(FamilyOf(3));
  const Peer old = family.Spawn([](Member&) {});
  const Peer peer = family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(peer));
  family.ExpectExit(old, 0, SIGKILL);
  ASSERT_TRUE(family->Retire(old.slot, Within(absl::Milliseconds(300))).ok());
  ASSERT_TRUE(family.Until([&] { return !family.Lives(old); }));
  EXPECT_TRUE(family.exits[0].killed_at_deadline);
  family.Continue(peer);
}

// ---- Under load ---------------------------------------------------------------------------------

// Who has sent how much to whom, by incarnation.
struct Ledger {
  static constexpr int kGenerations = 4;
  static constexpr int kParties = 6 * kGenerations;  // the master and five slots
  static int Of(const Peer& peer) {
    return peer.slot * kGenerations + static_cast<int>(peer.generation) - 1;
  }

  Count stop;
  Count accepted[kParties][kParties];
  Count delivered[kParties][kParties];
  Count back[kParties][kParties];
  Count refused;
  Count requests, responses, failed_requests;
};

// One endpoint that keeps sending to everybody, and what it gets back.
template <typename E>
class Talker {
 public:
  Talker(E* endpoint, Ledger* ledger, std::function<void(bool, std::string_view)> check)
      : endpoint_(endpoint), ledger_(ledger), check_(std::move(check)) {
    endpoint_->Receive("t", [this](Alert& alert) {
      const int from = Ledger::Of(alert.sender());
      const std::uint64_t number = NumberOf(alert.data());
      check_(++ledger_->delivered[from][Me()] == number, "order");
      check_(IsPattern(alert.data().substr(8), number), "data");
      // Replies reach those that take nothing new.
      if (number % 8 == 0) Send(alert.sender(), alert.sender());
    });
    endpoint_->Receive("ask", [](Alert& alert) { alert.Respond("yes"); });
    endpoint_->OnUndelivered([this](const Undelivered& lost) {
      if (!lost.is_response) ++ledger_->back[Me()][Ledger::Of(lost.peer)];
    });
  }

  void Go() {
    if (ledger_->stop != 0) return;
    for (const Peer& peer : endpoint_->Workers()) {
      if (peer.pid == 0 || peer == endpoint_->self()) continue;
      for (int i = 0; i < 3; ++i) Send(peer.pid, peer);
      Ask(peer);
    }
    if (!endpoint_->self().is_master()) Send(To::Master(), endpoint_->master());
  }

 private:
  int Me() const { return Ledger::Of(endpoint_->self()); }

  void Send(const To& to, const Peer& peer) {
    Count& accepted = ledger_->accepted[Me()][Ledger::Of(peer)];
    const std::uint64_t number = accepted + 1;
    const std::size_t bytes = number % 16 == 0 ? 9000 : number % 200;
    if (endpoint_->Send(to, "t", Numbered(number) + Pattern(bytes, number)).ok()) {
      accepted = number;
    } else {
      ++ledger_->refused;
    }
  }

  void Ask(const Peer& peer) {
    if (++asked_ % 4 != 0) return;
    const SendResult sent = endpoint_->Request(
        peer.pid, "ask", "", absl::InfiniteDuration(), [this](Response& response) {
          ++(response.ok() ? ledger_->responses : ledger_->failed_requests);
        });
    if (sent.ok()) ++ledger_->requests;
  }

  E* endpoint_;
  Ledger* ledger_;
  std::function<void(bool, std::string_view)> check_;
  std::uint64_t asked_ = 0;
};

TEST(UnderLoad, AllAreReplacedTwiceAndNothingIsLost) {
  constexpr int kWorkers = 4;
  Shared<Ledger> ledger;
  Family family(FamilyOf(kWorkers + 1));
  for (int i = 0; i < kWorkers; ++i) {
    family.Spawn([&](Member& me) {
      Talker<Worker> talker(&*me.worker, &*ledger,
                            [&](bool ok, std::string_view what) { me.Check(ok, what); });
      me.Every(2, [&] { talker.Go(); });
      me.Run();
    });
  }
  Talker<Master> talker(&*family.master, &*ledger,
                        [](bool ok, std::string_view what) { EXPECT_TRUE(ok) << what; });
  ASSERT_TRUE(family.Ready());
  // Everybody talks before, between and after.
  const auto talk = [&] {
    const std::uint64_t until = ledger->requests + 1000;
    return family.Until([&] {
      talker.Go();
      return ledger->requests >= until;
    });
  };
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(talk());
    End end;
    ASSERT_TRUE(family->RestartAll(kLong, end.Hook()).ok());
    ASSERT_TRUE(family.Until([&] {
      talker.Go();
      return end.there();
    }));
    ASSERT_TRUE(end.report->status.ok()) << end.report->status;
    ASSERT_EQ(end.report->replaced.size(), static_cast<std::size_t>(kWorkers));
    for (const Replacement& each : end.report->replaced) EXPECT_FALSE(each.killed_at_deadline);
    family.Meet();
    ASSERT_TRUE(family.Ready());
  }
  ASSERT_TRUE(talk());
  ledger->stop = 1;
  const auto differing = [&] {
    std::string text;
    for (int from = 0; from < Ledger::kParties; ++from) {
      for (int to = 0; to < Ledger::kParties; ++to) {
        if (ledger->accepted[from][to] == ledger->delivered[from][to]) continue;
        text += std::to_string(from) + " to " + std::to_string(to) + ": " +
                std::to_string(ledger->accepted[from][to]) + " accepted, " +
                std::to_string(ledger->delivered[from][to]) + " delivered, " +
                std::to_string(ledger->back[from][to]) + " back\n";
      }
    }
    return text;
  };
  EXPECT_TRUE(family.Until([&] {
    return differing().empty() && ledger->requests == ledger->responses + ledger->failed_requests;
  })) << differing()
      << ledger->requests << " requests, " << ledger->responses << " responses";
  EXPECT_EQ(ledger->failed_requests, 0u);
  EXPECT_GT(ledger->requests, 0u);
  EXPECT_GT(ledger->refused, 0u) << "nobody tried to send to one that was being replaced";
  for (const WorkerExit& exit : family.exits) EXPECT_EQ(exit.alerts_drained, 0u);
  EXPECT_EQ(family.exits.size(), 8u);
  EXPECT_EQ(family->Workers().size(), static_cast<std::size_t>(kWorkers));
}

}  // namespace
}  // namespace alertpipe::process
