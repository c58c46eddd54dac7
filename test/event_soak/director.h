// SPDX-License-Identifier: Apache-2.0
//
// The master of the event soak: starts the family, sets the load, kills and stops workers, and lets
// everybody come to a quiet point after each round, where the account is settled.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_DIRECTOR_H_
#define ALERTPIPE_TEST_EVENT_SOAK_DIRECTOR_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include <alertpipe/alertpipe.h>

#include "account.h"
#include "books.h"
#include "settings.h"
#include "soak/holdings.h"

namespace alertpipe::event_soak {

// What was done, beside the account.
struct Deeds {
  std::uint64_t kills = 0;
  std::uint64_t kills_doing[kDoings] = {};  // by what the victim was in the midst of
  std::uint64_t kills_stopped = 0;          // it had been stopped before
  std::uint64_t kills_young = 0;            // it had not called Ready
  std::uint64_t stops = 0;
  std::uint64_t stops_doing[kDoings] = {};
  std::uint64_t stops_long = 0;     // of a whole second
  std::uint64_t stops_watched = 0;  // for longer than news may take
  std::uint64_t quiets = 0;
  std::uint64_t order_events = 0;  // published ordered, by phase
  std::uint64_t speed_events = 0;
  std::uint64_t races = 0;         // keys that all published at once, and one heard
  std::uint64_t races_killed = 0;  // the same with kills
  std::uint64_t races_kills = 0;
  std::uint64_t races_unheard = 0;   // of these, keys that died with somebody
  std::uint64_t oldest_news_ns = 0;  // of workers that could run
};

class Director {
 public:
  explicit Director(const Settings& settings);
  Director(const Director&) = delete;
  Director& operator=(const Director&) = delete;
  ~Director();

  // Starts the family. Empty, or why it cannot.
  std::string Begin();
  // All phases, until something is wrong.
  void Run();
  // Ends and reaps all workers.
  void Finish();
  // The figures to stdout, and what was wrong to stderr.
  void Report() const;
  bool sound() const { return books_->Violations() == 0 && missed_.empty(); }

 private:
  // A worker as the director sees it.
  struct Life {
    Peer peer;  // slot -1: none
    bool killed = false;
    bool stopped = false;
    bool doomed = false;  // to be killed at kill_at
    std::uint64_t kill_at = 0;
    std::uint64_t runs_since = 0;
    std::uint64_t stop_ends = 0;
    std::uint64_t ticks = 0;
    std::uint64_t ticked_at = 0;
    bool hangs = false;  // and that was reported
  };

  // director.cc: phases and quiet points.
  bool Until(const std::function<bool()>& done, double seconds);
  void Turn();
  bool TimeIsOver(double share) const;
  void LoadPhase(const char* name, int publishers, std::uint64_t target, double share,
                 std::uint64_t* published);
  void LoadRound(std::uint64_t events, bool kills, double share);
  void StallRound();
  void RacePhase(std::uint64_t from, std::uint64_t to, bool kills);
  bool AllRaced(std::uint64_t to) const;
  void JudgeRaces(std::uint64_t from, std::uint64_t to, bool kills);
  bool Quiet();
  bool Announce(const Peer& peer);
  bool AllQuiet() const;
  bool CannotSettle() const;
  void NameTheRestless();
  void Progress();

  // lives.cc: workers.
  bool Spawn(int slot);
  void Adopt(const Peer& peer);
  void NoteExit(const WorkerExit& exit);
  bool AllAlive() const;
  Life* RandomLife();
  void Aim(const Life& life);
  void Doom(Life* life, unsigned ms);
  void KillSome(unsigned every_ms);
  void StopSome(unsigned every_ms);
  void KillOne();
  void StopOne();
  bool Stop(Life* life, std::uint64_t for_ns);
  void Kill(Life* life);
  void EndStops(bool all);
  void KillTheDoomed(bool all);
  void WatchProgress();
  void WatchNews();
  bool HasNewsFor(const Life& life, std::uint64_t now) const;
  std::uint64_t PublishedNow() const;

  Settings settings_;
  Books* books_ = nullptr;
  std::unique_ptr<Account> account_;
  std::unique_ptr<Master> master_;
  uv_loop_t loop_;
  uv_timer_t tick_;
  std::mt19937 random_;
  Life lives_[kSlots];
  int missing_ = 0;  // workers that could not be forked at once
  std::uint64_t next_kill_ = 0;
  std::uint64_t next_stop_ = 0;
  soak::Growth keeper_growth_;
  Deeds deeds_;
  std::string missed_;  // targets that were not reached
  bool kills_ = false;  // in this round
  bool ending_ = false;
  std::uint64_t load_since_ = 0;  // 0: there is none
  std::uint64_t began_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t told_ = 0;
  const char* doing_ = "";
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_DIRECTOR_H_
