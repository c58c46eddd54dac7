// SPDX-License-Identifier: Apache-2.0
//
// The order of the steps is the promise: any other loses or misdelivers.
#include "core/slot_life.h"

#include <gtest/gtest.h>

#include <vector>

namespace alertpipe::core {
namespace {

using Step = SlotLife::Step;

struct Taken {
  Step step;
  RosterWord word;
};

bool operator==(const Taken& a, const Taken& b) { return a.step == b.step && a.word == b.word; }

// Carries steps out until one needs an answer or none is left.
std::vector<Taken> Take(SlotLife* life) {
  std::vector<Taken> taken;
  while (life->step() != Step::kNone) {
    taken.push_back({life->step(), life->word()});
    if (life->step() == Step::kFork) break;
    life->Done();
  }
  return taken;
}

void StartUp(SlotLife* life, std::uint32_t pid) {
  life->Start();
  Take(life);
  life->Forked(pid);
  Take(life);
}

TEST(SlotLife, AFreeSlotIsIdle) {
  const SlotLife life;
  EXPECT_TRUE(life.idle());
  EXPECT_FALSE(life.running());
  EXPECT_EQ(life.step(), Step::kNone);
  EXPECT_TRUE(life.word() == (RosterWord{0, 0, SlotState::kFree}));
}

TEST(SlotLife, StartPublishesBeforeTheForkAndThePidAfterIt) {
  SlotLife life;
  life.Start();
  EXPECT_FALSE(life.idle());
  EXPECT_FALSE(life.running());
  const RosterWord starting{1, 0, SlotState::kStarting};
  EXPECT_TRUE(Take(&life) ==
              (std::vector<Taken>{{Step::kPublishStarting, starting}, {Step::kFork, starting}}));
  life.Forked(77);
  const RosterWord up{1, 77, SlotState::kUp};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishUp, up}, {Step::kTellJoined, up}}));
  EXPECT_TRUE(life.running());
  EXPECT_FALSE(life.idle());
}

TEST(SlotLife, DeathIsPublishedThenReapedThenDrainedThenTold) {
  SlotLife life;
  StartUp(&life, 77);
  life.Died();
  EXPECT_FALSE(life.running());
  EXPECT_FALSE(life.idle());
  const RosterWord down{1, 77, SlotState::kDown};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishDown, down},
                                                 {Step::kReap, down},
                                                 {Step::kDrain, down},
                                                 {Step::kTellDied, down}}));
  EXPECT_TRUE(life.idle());
}

TEST(SlotLife, AFailedForkSpendsItsGenerationAndIsDrained) {
  SlotLife life;
  life.Start();
  Take(&life);
  life.ForkFailed();
  const RosterWord down{1, 0, SlotState::kDown};
  EXPECT_TRUE(Take(&life) ==
              (std::vector<Taken>{
                  {Step::kPublishDown, down}, {Step::kDrain, down}, {Step::kTellDied, down}}));
  EXPECT_TRUE(life.idle());
  life.Start();
  EXPECT_TRUE(life.word() == (RosterWord{2, 0, SlotState::kStarting}));
}

TEST(SlotLife, EveryWorkerHasAGenerationOfItsOwn) {
  SlotLife life;
  for (std::uint32_t generation = 1; generation <= 100; ++generation) {
    StartUp(&life, 1000 + generation);
    EXPECT_TRUE(life.word() == (RosterWord{generation, 1000 + generation, SlotState::kUp}));
    life.Died();
    EXPECT_EQ(Take(&life).size(), 4u) << "a reaped life is reaped again";
    EXPECT_TRUE(life.idle());
  }
}

TEST(SlotLife, AFailedForkAfterALifeReapsNothing) {
  SlotLife life;
  StartUp(&life, 77);
  life.Died();
  Take(&life);
  life.Start();
  Take(&life);
  life.ForkFailed();
  for (const Taken& taken : Take(&life)) EXPECT_NE(taken.step, Step::kReap);
}

// ---- Retired ----

TEST(SlotLife, RetiredItIsPublishedThenToldAndRunsOn) {
  SlotLife life;
  StartUp(&life, 77);
  EXPECT_FALSE(life.draining());
  EXPECT_EQ(life.successor(), 0);
  life.Retire(5);
  EXPECT_FALSE(life.running()) << "not before it is told";
  const RosterWord draining{1, 77, SlotState::kDraining};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishDraining, draining},
                                                 {Step::kTellDraining, draining}}));
  EXPECT_TRUE(life.running());
  EXPECT_TRUE(life.draining());
  EXPECT_EQ(life.successor(), 5);
  EXPECT_FALSE(life.idle());
}

TEST(SlotLife, ARetiredOneDiesAsAnyOther) {
  SlotLife life;
  StartUp(&life, 77);
  life.Retire(5);
  Take(&life);
  life.Died();
  const RosterWord down{1, 77, SlotState::kDown};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishDown, down},
                                                 {Step::kReap, down},
                                                 {Step::kDrain, down},
                                                 {Step::kTellDied, down}}));
  EXPECT_TRUE(life.idle());
  EXPECT_FALSE(life.draining());
}

TEST(SlotLife, TheNextOneHasNoSuccessorYet) {
  SlotLife life;
  StartUp(&life, 77);
  life.Retire(5);
  Take(&life);
  life.Died();
  Take(&life);
  StartUp(&life, 78);
  EXPECT_EQ(life.successor(), 0);
  EXPECT_FALSE(life.draining());
  life.Retire(0);
  EXPECT_EQ(Take(&life).size(), 2u);
  EXPECT_TRUE(life.draining()) << "nobody follows, and it is draining all the same";
  EXPECT_EQ(life.successor(), 0);
}

TEST(SlotLife, KilledItRunsUntilItsDeathIsKnown) {
  for (const bool retired : {false, true}) {
    SlotLife life;
    StartUp(&life, 77);
    if (retired) {
      life.Retire(5);
      Take(&life);
    }
    const RosterWord word = life.word();
    life.Kill();
    EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kKill, word}}));
    EXPECT_TRUE(life.running());
    EXPECT_EQ(life.draining(), retired);
    life.Died();
    EXPECT_EQ(Take(&life).size(), 4u) << "down, reap, drain, tell";
    EXPECT_TRUE(life.idle());
  }
}

// ---- Forked by the program ----

TEST(SlotLife, AReservedSlotWaitsForItsProcess) {
  SlotLife life;
  life.Reserve();
  const RosterWord starting{1, 0, SlotState::kStarting};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishStarting, starting}}));
  EXPECT_TRUE(life.reserved());
  EXPECT_FALSE(life.idle());
  EXPECT_FALSE(life.running());
  EXPECT_FALSE(life.forked());
  life.Forked(77);
  const RosterWord up{1, 77, SlotState::kUp};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishUp, up}, {Step::kTellJoined, up}}));
  EXPECT_TRUE(life.running());
  EXPECT_TRUE(life.forked());
  EXPECT_FALSE(life.reserved());
}

TEST(SlotLife, WhoReapedElsewhereIsNotReapedAgain) {
  SlotLife life;
  life.Reserve();
  Take(&life);
  life.Forked(77);
  Take(&life);
  EXPECT_TRUE(life.reaped_elsewhere());
  life.Died();
  const RosterWord down{1, 77, SlotState::kDown};
  EXPECT_TRUE(Take(&life) ==
              (std::vector<Taken>{
                  {Step::kPublishDown, down}, {Step::kDrain, down}, {Step::kTellDied, down}}));
  EXPECT_TRUE(life.idle());
  EXPECT_TRUE(life.forked()) << "the dead one was a process";
}

TEST(SlotLife, AReservationGivenUpSpendsItsGeneration) {
  SlotLife life;
  StartUp(&life, 77);
  life.Died();
  Take(&life);
  life.Reserve();
  Take(&life);
  life.ForkFailed();
  const RosterWord down{2, 0, SlotState::kDown};
  EXPECT_TRUE(Take(&life) ==
              (std::vector<Taken>{
                  {Step::kPublishDown, down}, {Step::kDrain, down}, {Step::kTellDied, down}}));
  EXPECT_TRUE(life.idle());
  EXPECT_FALSE(life.forked());
  life.Reserve();
  EXPECT_TRUE(life.word() == (RosterWord{3, 0, SlotState::kStarting}));
}

TEST(SlotLife, StartedAfterAReservationIsReapedHere) {
  SlotLife life;
  life.Reserve();
  Take(&life);
  life.ForkFailed();
  Take(&life);
  StartUp(&life, 78);
  EXPECT_FALSE(life.reaped_elsewhere());
  life.Died();
  EXPECT_EQ(Take(&life).size(), 4u) << "down, reap, drain, tell";
}

TEST(SlotLife, WhoIsReapedElsewhereCanBeRetired) {
  SlotLife life;
  life.Reserve();
  Take(&life);
  life.Forked(77);
  Take(&life);
  life.Retire(2);
  const RosterWord draining{1, 77, SlotState::kDraining};
  EXPECT_TRUE(Take(&life) == (std::vector<Taken>{{Step::kPublishDraining, draining},
                                                 {Step::kTellDraining, draining}}));
  life.Died();
  EXPECT_EQ(Take(&life).size(), 3u) << "down, drain, tell";
  EXPECT_TRUE(life.idle());
}

TEST(SlotLifeDeathTest, WhoIsReapedElsewhereIsNeverKilled) {
  SlotLife life;
  life.Reserve();
  Take(&life);
  life.Forked(77);
  Take(&life);
  EXPECT_DEATH(life.Kill(), "not ours");
  life.Retire(2);
  Take(&life);
  EXPECT_DEATH(life.Kill(), "not ours");
}

TEST(SlotLifeDeathTest, OnlyWhoRunsIsRetiredOrKilledAndRetiredOnce) {
  SlotLife idle;
  EXPECT_DEATH(idle.Retire(0), "does not run");
  EXPECT_DEATH(idle.Kill(), "not ours");
  SlotLife reserved;
  reserved.Reserve();
  Take(&reserved);
  EXPECT_DEATH(reserved.Retire(0), "does not run");
  SlotLife running;
  StartUp(&running, 1);
  running.Retire(2);
  EXPECT_DEATH(running.Died(), "does not run") << "not before it is told";
  EXPECT_DEATH(running.Kill(), "not ours");
  Take(&running);
  EXPECT_DEATH(running.Retire(3), "twice");
  running.Died();
  Take(&running);
  EXPECT_DEATH(running.Retire(2), "does not run");
  EXPECT_DEATH(running.Kill(), "not ours");
}

TEST(SlotLifeDeathTest, AReservationIsDecidedOnce) {
  SlotLife life;
  life.Reserve();
  EXPECT_DEATH(life.Forked(1), "out of turn") << "not announced yet";
  Take(&life);
  EXPECT_DEATH(life.Reserve(), "in use");
  EXPECT_DEATH(life.Start(), "in use");
  EXPECT_DEATH(life.Died(), "does not run");
  EXPECT_DEATH(life.Done(), "without a step");
  life.Forked(1);
  EXPECT_DEATH(life.ForkFailed(), "out of turn");
  Take(&life);
  EXPECT_DEATH(life.Forked(1), "out of turn");
}

TEST(SlotLifeDeathTest, WrongInputsEndTheProgram) {
  SlotLife idle;
  EXPECT_DEATH(idle.Died(), "does not run");
  EXPECT_DEATH(idle.Done(), "without a step");
  EXPECT_DEATH(idle.Forked(1), "out of turn");
  EXPECT_DEATH(idle.ForkFailed(), "out of turn");
  SlotLife starting;
  starting.Start();
  EXPECT_DEATH(starting.Start(), "in use");
  EXPECT_DEATH(starting.Died(), "does not run");
  starting.Done();
  EXPECT_DEATH(starting.Done(), "without a step");
  SlotLife running;
  StartUp(&running, 1);
  EXPECT_DEATH(running.Start(), "in use");
}

}  // namespace
}  // namespace alertpipe::core
