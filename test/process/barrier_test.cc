// SPDX-License-Identifier: Apache-2.0
//
// Barriers between real processes: never early, told once, whatever becomes of those that are
// asked and of the one that asks.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

constexpr absl::Duration kLong = absl::Minutes(10);

struct Seen {
  Count handled[8];  // alerts, by slot
  Count told;
  Count ok;
  Count code;
  Count missing;
  Count missing_slot;
  Count died;
  Count died_slot;
  Count step;
  Count pid;

  BarrierCallback Callback() {
    return [this](const BarrierReport& report) {
      ok += report.status.ok() ? 1 : 0;
      code = static_cast<std::uint64_t>(report.status.raw_code());
      missing = report.missing.size();
      if (!report.missing.empty())
        missing_slot = static_cast<std::uint64_t>(report.missing[0].slot);
      died = report.died.size();
      if (!report.died.empty()) died_slot = static_cast<std::uint64_t>(report.died[0].slot);
      ++told;
    };
  }
  bool Is(absl::StatusCode status) const { return code == static_cast<std::uint64_t>(status); }
};

// Counts what comes, "slow" in no hurry.
Member::Body Counter(Seen* seen) {
  return [seen](Member& me) {
    Count& handled = seen->handled[me.slot()];
    me->ReceiveDefault([&](Alert&) { ++handled; });
    me.Run();
  };
}

TEST(Barrier, ComesWhenAllHaveHandledWhatWasSentBefore) {
  constexpr std::uint64_t kAlerts = 2000;
  Shared<Seen> seen;
  Family family(FamilyOf(4));
  for (int i = 0; i < 3; ++i) family.Spawn(Counter(&*seen));
  family.Spawn([&](Member& me) {
    for (std::uint64_t i = 1; i <= kAlerts; ++i)
      me->Broadcast("config", Numbered(i, 1 + i % 3000), Scope::kOthers);
    const Result begun = me->Barrier(kLong, [&](const BarrierReport& report) {
      me.Check(report.status.ok(), "nobody is missing");
      std::uint64_t handled = 0;
      for (int slot = 1; slot <= 3; ++slot) handled += seen->handled[slot];
      me.Check(handled == 3 * kAlerts - me->stats().alerts_refused, "all is handled");
      ++seen->told;
    });
    me.Check(begun.ok(), "begun");
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
}

TEST(Barrier, TheMasterAsksAndIsAsked) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Counter(&*seen));
  family.Spawn([&](Member& me) {
    me->ReceiveDefault([&](Alert&) { ++seen->handled[2]; });
    me->Send(To::Master(), "first");
    me->Barrier(kLong, seen->Callback(), Scope::kFamily);
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->ok, 1u);
  family.InTurn([&] {
    EXPECT_TRUE(family->Broadcast("config", "v42").ok());
    EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok());
  });
  ASSERT_TRUE(family.Until([&] { return seen->told == 2; }));
  EXPECT_EQ(seen->ok, 2u);
  EXPECT_EQ(seen->handled[1] + seen->handled[2], 2u);
  EXPECT_EQ(family->stats().alerts_unhandled, 1u);
}

TEST(Barrier, OfOneAsksNobodyElse) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  const Peer awake = family.Spawn(Counter(&*seen));
  const Peer stopped = family.Spawn(Counter(&*seen));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(stopped));
  family.InTurn([&] {
    EXPECT_TRUE(family->Send(awake, "alert").ok());
    EXPECT_TRUE(family->Barrier(To(awake), kLong, seen->Callback()).ok());
  });
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->handled[awake.slot], 1u);
  family.Continue(stopped);
}

TEST(Barrier, NamesAStoppedWorkerAtTheDeadline) {
  Shared<Seen> seen;
  Family family(FamilyOf(3));
  for (int i = 0; i < 2; ++i) family.Spawn(Counter(&*seen));
  const Peer stopped = family.Spawn(Counter(&*seen));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(stopped));
  family.InTurn(
      [&] { EXPECT_TRUE(family->Barrier(absl::Milliseconds(50), seen->Callback()).ok()); });
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_TRUE(seen->Is(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GE(seen->missing, 1u);
  EXPECT_EQ(seen->died, 0u);
  EXPECT_EQ(family->stats().barriers_missed, 1u);
  family.Continue(stopped);
  family.InTurn([&] { EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok()); });
  ASSERT_TRUE(family.Until([&] { return seen->told == 2; }));
  EXPECT_EQ(seen->ok, 1u);
}

TEST(Barrier, DoesNotWaitForTheDead) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Counter(&*seen));
  const Peer doomed = family.Spawn(Counter(&*seen));
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(doomed));
  family.InTurn([&] { EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok()); });
  ASSERT_TRUE(family.KillAndReap(doomed));
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->ok, 1u);
  EXPECT_EQ(seen->died, 1u);
  EXPECT_EQ(seen->died_slot, static_cast<std::uint64_t>(doomed.slot));
}

// One that has not attached yet has a pipe all the same.
TEST(Barrier, WaitsForAWorkerThatStarts) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  const Peer deaf = family.SpawnDeaf(Counter(&*seen));
  family.InTurn([&] {
    EXPECT_TRUE(family->Send(deaf, "alert").ok());
    EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok());
  });
  family.Turns(50);
  EXPECT_EQ(seen->told, 0u);
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->handled[deaf.slot], 1u);
}

TEST(Barrier, ForNobodyIsToldFromTheLoop) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.InTurn([&] {
    EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok());
    EXPECT_EQ(seen->told, 0u) << "told from inside the call";
  });
  ASSERT_TRUE(family.Until([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->ok, 1u);
}

TEST(Barrier, IsCancelledByClosingAndByTheDestructor) {
  for (const bool close : {false, true}) {
    Shared<Seen> seen;
    Family family(FamilyOf(2));
    family.SpawnDeaf(Counter(&*seen));
    const Peer self = family.Spawn([&](Member& me) {
      me->Barrier(kLong, seen->Callback());
      if (close) {
        me->Close(absl::ZeroDuration());
      } else {
        me.worker.reset();
      }
      me.Run();
    });
    family.ExpectExit(self, 0);
    ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; })) << close;
    EXPECT_EQ(seen->told, 1u);
    EXPECT_TRUE(seen->Is(absl::StatusCode::kCancelled));
    EXPECT_EQ(seen->missing, 1u);
    family.Wake({0, 1, 1});
  }
}

TEST(Barrier, CallbackMayDestroyTheEndpointOrThrow) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  family.Spawn(Counter(&*seen));
  const Peer self = family.Spawn([&](Member& me) {
    me->OnHandlerError([&](const HandlerError&) { ++seen->step; });
    me->Barrier(kLong, [](const BarrierReport&) { throw std::runtime_error("thrown"); });
    me->Barrier(kLong, [&](const BarrierReport&) {
      ++seen->told;
      me.worker.reset();
    });
    me.Run();
  });
  family.ExpectExit(self, 0);
  ASSERT_TRUE(family.Until([&] { return family.live.count(self.slot) == 0; }));
  EXPECT_EQ(seen->told, 1u);
  EXPECT_EQ(seen->step, 1u);
}

TEST(Barrier, WrongArgumentsAreNamed) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.SpawnDeaf(Counter(&*seen));
  family.InTurn([&] {
    EXPECT_TRUE(Says(family->Barrier(kLong, nullptr).status(), absl::StatusCode::kInvalidArgument,
                     {"callback"}));
    EXPECT_TRUE(Says(family->Barrier(absl::ZeroDuration(), seen->Callback()).status(),
                     absl::StatusCode::kInvalidArgument, {"deadline", "0"}));
    EXPECT_TRUE(Says(family->Barrier(To::Slot(7), kLong, seen->Callback()).status(),
                     absl::StatusCode::kNotFound, {"7"}));
    for (std::size_t i = 0; i < kBarriersMax; ++i)
      EXPECT_TRUE(family->Barrier(kLong, seen->Callback()).ok());
    EXPECT_TRUE(Says(family->Barrier(kLong, seen->Callback()).status(),
                     absl::StatusCode::kResourceExhausted, {"64"}));
  });
  family.Wake({0, 1, 1});
  ASSERT_TRUE(family.Until([&] { return seen->told == kBarriersMax; }));
  EXPECT_EQ(seen->ok, kBarriersMax);
}

TEST(Barrier, AfterTheMastersDeathADeadPeerIsNotWaitedFor) {
  Shared<Seen> seen;
  Household household([&] {
    Family family(FamilyOf(2));
    const Peer deaf = family.SpawnDeaf(Counter(&*seen));
    seen->pid = static_cast<std::uint64_t>(deaf.pid);
    family.Spawn([&](Member& me) {
      me->OnMasterGone([&] {
        me->Barrier(kLong, seen->Callback());
        ++seen->step;
      });
      seen->handled[0] = static_cast<std::uint64_t>(me->self().pid);
      me.Run();
    });
    family.Until([] { return false; });
  });
  ASSERT_TRUE(Eventually([&] { return seen->pid != 0 && seen->handled[0] != 0; }));
  const auto deaf = static_cast<pid_t>(seen->pid.load());
  const auto asker = static_cast<pid_t>(seen->handled[0].load());
  household.KillMaster({deaf, asker});
  ASSERT_TRUE(Eventually([&] { return seen->step == 1; }));
  EXPECT_EQ(seen->told, 0u);
  household.KillOrphan(deaf);
  ASSERT_TRUE(Eventually([&] { return seen->told == 1; }));
  EXPECT_EQ(seen->ok, 1u);
  EXPECT_EQ(seen->died, 1u);
  EXPECT_TRUE(household.EndOrphan(asker));
}

TEST(Barrier, AMasterThatClosesItsEndpointIsNotWaitedFor) {
  Shared<Seen> seen;
  Family family(FamilyOf(2));
  const Peer doomed = family.Spawn([](Member&) {});
  family.Spawn([&](Member& me) {
    me->OnLeft([&](const Peer&) { ++seen->step; });
    me->OnDamage([&me](const Damage&) { me.Check(false, "damage"); });
    me->Request(To::Master(), "kept", "", absl::InfiniteDuration(), [&](Response& response) {
      me.Check(response.outcome() == ResponseOutcome::kPeerDied, "given up");
      ++seen->handled[0];
    });
    me->Barrier(
        absl::InfiniteDuration(),
        [&](const BarrierReport& report) {
          me.Check(report.status.ok(), "nobody is missing");
          ++seen->told;
        },
        Scope::kFamily);
    me.Run();
  });
  std::vector<ResponseToken> tokens;
  family->Receive("kept", [&](Alert& alert) {
    tokens.push_back(alert.TakeResponseToken());
    family->Close(absl::ZeroDuration());
  });
  ASSERT_TRUE(family.Until([&] { return seen->handled[0] == 1 && seen->told == 1; }));
  // It is a master without a loop now.
  family.Kill(doomed);
  ASSERT_TRUE(family.Until([&] {
    EXPECT_TRUE(family->Service().ok());
    return seen->step == 1;
  })) << "no notice of the death";
}

TEST(Drain, OfAWorkerThatIsNotBeingReplacedIsRefused) {
  Shared<Seen> seen;
  Family family(FamilyOf(1));
  family.Spawn([&](Member& me) {
    me.Check(me.worker->Drain().status().code() == absl::StatusCode::kFailedPrecondition,
             "refused");
    ++seen->step;
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->step == 1; }));
}

}  // namespace
}  // namespace alertpipe::process
