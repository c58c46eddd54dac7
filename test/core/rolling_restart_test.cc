// SPDX-License-Identifier: Apache-2.0
//
// What is decided, and in particular what must never be: nobody is retired whose successor has not
// answered, and never are two on their way at the same time.
#include "core/rolling_restart.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace alertpipe::core {
namespace {

using Step = RollingRestart::Step;

// Workers in slots 1, 2, ... and successors of a later generation.
const Peer kOld1{101, 1, 1};
const Peer kOld2{102, 2, 1};
const Peer kNew1{201, 3, 1};
const Peer kNew2{202, 1, 2};
const Peer kStranger{300, 7, 4};

std::string Message(const RollingRestart& restart) {
  return std::string(restart.report().status.message());
}

bool Names(const RollingRestart& restart, const Peer& peer) {
  return Message(restart).find(ToString(peer)) != std::string::npos;
}

// Up to the retirement of the current old worker.
void TakeOver(RollingRestart* restart, const Peer& successor) {
  ASSERT_EQ(restart->step(), Step::kStart);
  restart->Started(successor);
  ASSERT_EQ(restart->step(), Step::kWait);
  ASSERT_TRUE(restart->asking());
  restart->Ready(successor);
  ASSERT_EQ(restart->step(), Step::kRetire);
  ASSERT_EQ(restart->successor(), successor);
  restart->Done();
  ASSERT_EQ(restart->step(), Step::kWait);
  ASSERT_FALSE(restart->asking());
}

TEST(RollingRestart, WithNobodyThereItHasFinished) {
  const RollingRestart restart({});
  EXPECT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(restart.report().status.ok());
  EXPECT_TRUE(restart.report().replaced.empty());
  EXPECT_TRUE(restart.report().remaining.empty());
  EXPECT_FALSE(restart.involves(kOld1));
}

TEST(RollingRestart, ReplacesOneAfterTheOther) {
  RollingRestart restart({kOld1, kOld2});
  EXPECT_EQ(restart.old_worker(), kOld1);
  TakeOver(&restart, kNew1);
  restart.Exited(kOld1, false);
  EXPECT_EQ(restart.old_worker(), kOld2);
  TakeOver(&restart, kNew2);
  restart.Exited(kOld2, true);
  ASSERT_EQ(restart.step(), Step::kFinished);
  const RestartReport& report = restart.report();
  EXPECT_TRUE(report.status.ok());
  ASSERT_EQ(report.replaced.size(), 2u);
  EXPECT_EQ(report.replaced[0].old_worker, kOld1);
  EXPECT_EQ(report.replaced[0].successor, kNew1);
  EXPECT_FALSE(report.replaced[0].killed_at_deadline);
  EXPECT_EQ(report.replaced[1].old_worker, kOld2);
  EXPECT_EQ(report.replaced[1].successor, kNew2);
  EXPECT_TRUE(report.replaced[1].killed_at_deadline);
  EXPECT_TRUE(report.remaining.empty());
}

TEST(RollingRestart, OnlyTheAnswerOfTheSuccessorCounts) {
  RollingRestart restart({kOld1});
  restart.Ready(kNew1);
  EXPECT_EQ(restart.step(), Step::kStart) << "not even started";
  restart.Started(kNew1);
  restart.Ready(kStranger);
  restart.Ready({kNew1.pid, kNew1.slot, kNew1.generation + 1});
  restart.NotReady(kStranger);
  restart.Exited(kStranger, false);
  restart.RetiredByProgram(kStranger);
  EXPECT_TRUE(restart.asking());
  restart.Ready(kNew1);
  EXPECT_EQ(restart.step(), Step::kRetire);
  restart.NotReady(kNew1);
  restart.Ready(kNew1);
  EXPECT_EQ(restart.step(), Step::kRetire) << "answered once and for all";
}

TEST(RollingRestart, WhoTakesPartIsKnown) {
  RollingRestart restart({kOld1, kOld2});
  EXPECT_TRUE(restart.involves(kOld1));
  EXPECT_FALSE(restart.involves(kOld2)) << "its turn has not come";
  EXPECT_FALSE(restart.involves(Peer()));
  EXPECT_FALSE(restart.is_leaving(kOld1)) << "no successor yet";
  restart.Started(kNew1);
  EXPECT_TRUE(restart.involves(kNew1));
  EXPECT_TRUE(restart.is_unproven(kNew1));
  EXPECT_FALSE(restart.is_unproven(kOld1));
  EXPECT_TRUE(restart.is_leaving(kOld1));
  EXPECT_FALSE(restart.is_leaving(kNew1));
  restart.Ready(kNew1);
  EXPECT_TRUE(restart.is_unproven(kNew1)) << "the old one has not been told";
  restart.Done();
  EXPECT_FALSE(restart.is_unproven(kNew1)) << "it has taken over";
  EXPECT_TRUE(restart.is_leaving(kOld1));
  restart.Exited(kOld1, false);
  EXPECT_FALSE(restart.involves(kNew1)) << "a worker like others now";
  EXPECT_FALSE(restart.is_leaving(kOld1));
}

// ---- The successor fails: the old worker stays ----

TEST(RollingRestart, ASuccessorThatCannotBeStartedEndsIt) {
  RollingRestart restart({kOld1, kOld2});
  restart.StartFailed(absl::ResourceExhaustedError("all slots are taken"));
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsResourceExhausted(restart.report().status));
  EXPECT_TRUE(Names(restart, kOld1));
  EXPECT_NE(Message(restart).find("all slots are taken"), std::string::npos);
  EXPECT_TRUE(restart.report().replaced.empty());
  EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld1, kOld2}));
}

TEST(RollingRestart, ASuccessorThatEndsBeforeItAnswersEndsIt) {
  RollingRestart restart({kOld1});
  restart.Started(kNew1);
  restart.Exited(kNew1, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsUnavailable(restart.report().status));
  EXPECT_TRUE(Names(restart, kOld1));
  EXPECT_TRUE(Names(restart, kNew1));
  EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld1}));
}

TEST(RollingRestart, ASuccessorThatEndsAsItHasAnsweredEndsIt) {
  RollingRestart restart({kOld1});
  restart.Started(kNew1);
  restart.Ready(kNew1);
  restart.Exited(kNew1, false);
  ASSERT_EQ(restart.step(), Step::kFinished) << "the old one is not retired";
  EXPECT_TRUE(absl::IsUnavailable(restart.report().status));
}

TEST(RollingRestart, ASuccessorThatDoesNotAnswerIsKilledFirst) {
  RollingRestart restart({kOld1, kOld2});
  restart.Started(kNew1);
  restart.NotReady(kNew1);
  ASSERT_EQ(restart.step(), Step::kKill);
  EXPECT_TRUE(restart.is_unproven(kNew1));
  restart.Ready(kNew1);
  ASSERT_EQ(restart.step(), Step::kKill) << "too late";
  restart.Done();
  ASSERT_EQ(restart.step(), Step::kWait) << "its slot is not free yet";
  restart.Ready(kNew1);
  restart.RetiredByProgram(kOld2);
  restart.Exited(kNew1, true);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsDeadlineExceeded(restart.report().status));
  EXPECT_TRUE(Names(restart, kNew1));
  EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld1, kOld2}));
}

TEST(RollingRestart, ASuccessorThatEndsLaterStopsItBehindTheOldOne) {
  RollingRestart restart({kOld1, kOld2});
  TakeOver(&restart, kNew1);
  restart.Exited(kNew1, false);
  EXPECT_EQ(restart.step(), Step::kWait) << "the old one is on its way";
  restart.Exited(kOld1, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsUnavailable(restart.report().status));
  EXPECT_TRUE(Names(restart, kNew1));
  EXPECT_EQ(restart.report().replaced.size(), 1u);
  EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld2}));
}

// ---- Old workers that die by themselves ----

TEST(RollingRestart, AnOldOneThatDiesWhileItsSuccessorStartsIsReplacedAllTheSame) {
  RollingRestart restart({kOld1, kOld2});
  restart.Started(kNew1);
  restart.Exited(kOld1, false);
  EXPECT_TRUE(restart.asking()) << "the next one's turn comes when this one is proven";
  restart.Ready(kNew1);
  ASSERT_EQ(restart.step(), Step::kStart) << "nobody is there to be retired";
  EXPECT_EQ(restart.old_worker(), kOld2);
  TakeOver(&restart, kNew2);
  restart.Exited(kOld2, false);
  EXPECT_TRUE(restart.report().status.ok());
  EXPECT_EQ(restart.report().replaced.size(), 2u);
}

TEST(RollingRestart, AnOldOneThatDiesAsItIsToBeRetired) {
  RollingRestart restart({kOld1});
  restart.Started(kNew1);
  restart.Ready(kNew1);
  restart.Exited(kOld1, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(restart.report().status.ok());
  EXPECT_EQ(restart.report().replaced.size(), 1u);
}

TEST(RollingRestart, BothDie) {
  RollingRestart restart({kOld1});
  restart.Started(kNew1);
  restart.Exited(kOld1, false);
  restart.Exited(kNew1, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsUnavailable(restart.report().status));
  EXPECT_TRUE(restart.report().remaining.empty()) << "it does not live";
}

TEST(RollingRestart, WhoDiesOrIsRetiredBeforeItsTurnIsPassedOver) {
  const Peer third{103, 4, 1};
  RollingRestart restart({kOld1, kOld2, third});
  restart.Exited(kOld2, false);
  EXPECT_EQ(restart.old_worker(), kOld1);
  restart.RetiredByProgram(kOld1);
  EXPECT_EQ(restart.step(), Step::kStart);
  EXPECT_EQ(restart.old_worker(), third);
  restart.Exited(third, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(restart.report().status.ok());
  EXPECT_TRUE(restart.report().replaced.empty());
}

// ---- The program decides otherwise ----

TEST(RollingRestart, RetiringEitherOfTheTwoEndsIt) {
  for (const Peer& retired : {kOld1, kNew1}) {
    for (const bool answered : {false, true}) {
      RollingRestart restart({kOld1, kOld2});
      restart.Started(kNew1);
      if (answered) restart.Ready(kNew1);
      restart.RetiredByProgram(retired);
      ASSERT_EQ(restart.step(), Step::kFinished);
      EXPECT_TRUE(absl::IsCancelled(restart.report().status));
      EXPECT_TRUE(Names(restart, retired));
      EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld1, kOld2}));
    }
  }
}

TEST(RollingRestart, RetiringTheSuccessorLaterEndsItBehindTheOldOne) {
  RollingRestart restart({kOld1, kOld2});
  TakeOver(&restart, kNew1);
  restart.RetiredByProgram(kNew1);
  EXPECT_EQ(restart.step(), Step::kWait);
  restart.Exited(kOld1, false);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_TRUE(absl::IsCancelled(restart.report().status));
  EXPECT_EQ(restart.report().replaced.size(), 1u);
}

TEST(RollingRestart, CancelledOnce) {
  RollingRestart restart({kOld1});
  restart.Started(kNew1);
  restart.Cancel(absl::CancelledError("closed"));
  restart.Cancel(absl::InternalError("again"));
  restart.Exited(kOld1, false);
  restart.Ready(kNew1);
  ASSERT_EQ(restart.step(), Step::kFinished);
  EXPECT_EQ(restart.report().status, absl::CancelledError("closed"));
  EXPECT_EQ(restart.report().remaining, (std::vector<Peer>{kOld1}));
  RollingRestart finished({});
  finished.Cancel(absl::CancelledError("closed"));
  EXPECT_TRUE(finished.report().status.ok());
}

TEST(RollingRestartDeathTest, AnswersOutOfTurn) {
  RollingRestart restart({kOld1});
  EXPECT_DEATH(restart.Done(), "without a step");
  restart.Started(kNew1);
  EXPECT_DEATH(restart.Started(kNew1), "out of turn");
  EXPECT_DEATH(restart.StartFailed(absl::InternalError("")), "out of turn");
  EXPECT_DEATH(restart.Done(), "without a step");
}

// ---- Everything at once ----

// A world of workers that live and die at random around a restart. It checks what the driver relies
// on, and what the report says.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    const int workers = static_cast<int>(Below(4));
    for (int slot = 1; slot <= workers; ++slot) olds_.push_back({100 + slot, slot, 1});
    for (const Peer& peer : olds_) live_.insert(Key(peer));
  }

  void Run() {
    RollingRestart restart(olds_);
    for (int round = 0; round < 1000; ++round) {
      if (restart.step() == Step::kFinished) return CheckReport(restart.report());
      if (Below(3) == 0) {
        Carry(&restart);
      } else {
        Disturb(&restart);
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
    FAIL() << "no end";
  }

 private:
  using Id = std::pair<int, std::uint32_t>;
  static Id Key(const Peer& peer) { return {peer.slot, peer.generation}; }
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }
  bool Lives(const Peer& peer) const { return live_.count(Key(peer)) != 0; }

  void Carry(RollingRestart* restart) {
    switch (restart->step()) {
      case Step::kStart: {
        ASSERT_TRUE(Lives(restart->old_worker())) << "a successor of somebody dead";
        ASSERT_EQ(retired_.count(Key(restart->old_worker())), 0u);
        if (Below(20) == 0) {
          failed_ = true;
          return restart->StartFailed(absl::ResourceExhaustedError("no slot"));
        }
        const Peer successor{500, 50, ++generation_};
        live_.insert(Key(successor));
        answered_ = false;
        return restart->Started(successor);
      }
      case Step::kRetire:
        ASSERT_TRUE(answered_) << "retired without a successor";
        ASSERT_TRUE(Lives(restart->old_worker()));
        ASSERT_TRUE(Lives(restart->successor()));
        ASSERT_EQ(retired_.count(Key(restart->successor())), 0u);
        for (const Id& id : retired_by_restart_)
          ASSERT_EQ(live_.count(id), 0u) << "two on their way";
        retired_.insert(Key(restart->old_worker()));
        retired_by_restart_.insert(Key(restart->old_worker()));
        return restart->Done();
      case Step::kKill:
        ASSERT_TRUE(Lives(restart->successor()));
        ASSERT_FALSE(answered_);
        failed_ = true;
        return restart->Done();
      case Step::kWait:
        if (restart->asking()) {
          if (Below(8) == 0) return restart->NotReady(restart->successor());
          answered_ = true;
          return restart->Ready(restart->successor());
        }
        // Who was retired or killed ends.
        if (Lives(restart->old_worker()) && retired_.count(Key(restart->old_worker())) != 0)
          return Die(restart, restart->old_worker());
        return Die(restart, restart->successor());
      case Step::kFinished:
        break;
    }
  }

  void Disturb(RollingRestart* restart) {
    std::vector<Peer> all = olds_;
    if (restart->successor().slot >= 0) all.push_back(restart->successor());
    all.push_back(kStranger);
    const Peer peer = all[Below(all.size())];
    switch (Below(24)) {
      case 0:
        return Die(restart, peer);
      case 1:
        if (!Lives(peer) || !retired_.insert(Key(peer)).second) return;
        return restart->RetiredByProgram(peer);
      case 2:
        if (peer != restart->successor()) restart->Ready(peer);
        return;
      case 3:
        if (peer != restart->successor()) restart->NotReady(peer);
        return;
      case 4:
        if (Below(10) == 0) {
          failed_ = true;
          restart->Cancel(absl::CancelledError("closed"));
        }
        return;
      default:
        return;
    }
  }

  void Die(RollingRestart* restart, const Peer& peer) {
    if (live_.erase(Key(peer)) != 0) restart->Exited(peer, false);
  }

  void CheckReport(const RestartReport& report) {
    std::set<Id> replaced;
    for (const Replacement& each : report.replaced) {
      EXPECT_TRUE(replaced.insert(Key(each.old_worker)).second) << "twice";
      EXPECT_FALSE(Lives(each.old_worker));
    }
    for (const Peer& peer : report.remaining) EXPECT_TRUE(Lives(peer)) << ToString(peer);
    EXPECT_EQ(report.status.ok(), report.status.message().empty());
    if (failed_) {
      EXPECT_FALSE(report.status.ok());
    }
    if (!report.status.ok()) {
      for (const Peer& old : olds_) {
        if (!Lives(old)) continue;
        const auto& rest = report.remaining;
        EXPECT_TRUE(std::find(rest.begin(), rest.end(), old) != rest.end() ||
                    retired_.count(Key(old)) != 0)
            << ToString(old) << " is nowhere";
      }
      return;
    }
    EXPECT_TRUE(report.remaining.empty());
    for (const Peer& old : olds_) {
      EXPECT_TRUE(!Lives(old) || retired_.count(Key(old)) != 0) << ToString(old) << " was left out";
    }
  }

  std::mt19937_64 random_;
  std::vector<Peer> olds_;
  std::set<Id> live_;
  std::set<Id> retired_;  // by anybody
  std::set<Id> retired_by_restart_;
  std::uint32_t generation_ = 0;
  bool answered_ = false;
  bool failed_ = false;
};

TEST(RollingRestart, KeepsItsRulesWhateverHappens) {
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    World(seed).Run();
    if (::testing::Test::HasFailure()) {
      FAIL() << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace alertpipe::core
