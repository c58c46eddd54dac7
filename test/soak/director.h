// SPDX-License-Identifier: Apache-2.0
//
// The master of the soak: starts the family, sets the load, kills, stops and replaces workers, and
// lets everybody come to a quiet point after each round, where the account is settled.
#ifndef ALERTPIPE_TEST_SOAK_DIRECTOR_H_
#define ALERTPIPE_TEST_SOAK_DIRECTOR_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include <alertpipe/alertpipe.h>

#include "account.h"
#include "holdings.h"
#include "household.h"
#include "ledger.h"
#include "player.h"
#include "settings.h"

namespace alertpipe::soak {

// What was done, beside the account.
struct Deeds {
  std::uint64_t kills = 0;
  std::uint64_t kills_stopped = 0;   // of those that had been stopped before
  std::uint64_t kills_nonempty = 0;  // its pipe held bytes when the signal was sent, and whole
                                     // alerts when it was drained
  std::uint64_t kills_half = 0;      // it held a part of an alert whose end had not come
  std::uint64_t kills_either = 0;
  std::uint64_t drained = 0;   // alerts in the pipes of the dead
  std::uint64_t partials = 0;  // half-received alerts of the dead that survivors dropped
  std::uint64_t stops = 0;
  std::uint64_t replacements = 0;
  std::uint64_t quiets = 0;
};

class Director {
 public:
  explicit Director(const Settings& settings);
  Director(const Director&) = delete;
  Director& operator=(const Director&) = delete;
  ~Director();

  // Starts the family. Empty, or why it cannot.
  std::string Begin();
  // Rounds until the targets are reached, the time is over, or something is wrong.
  void Run();
  // Ends and reaps all workers.
  void Finish();
  // One line of JSON to stdout, and what was wrong to stderr.
  void Report() const;
  bool sound() const { return ledger_->Violations() == 0; }

 private:
  // A worker as the director sees it.
  struct Life {
    Peer peer;  // slot -1: none
    bool killed = false;
    bool stopped = false;
    bool doomed = false;  // to be killed instead of continued
    bool had_bytes = false;
    std::uint64_t kill_at = 0;  // once so many alerts have been heard in its slot
    std::uint64_t stop_ends = 0;
    std::uint64_t ticks = 0;
    std::uint64_t ticked_at = 0;
    bool hangs = false;  // and that was reported
  };

  // director.cc: rounds.
  bool Until(const std::function<bool()>& done, double seconds);
  void Turn();
  bool Wants(bool phase, std::uint64_t done, std::uint64_t target) const;
  static std::uint64_t Portion(std::uint64_t done, std::uint64_t target, std::uint64_t most);
  bool TimeIsOver() const;
  bool LeaveTheRestToReplacements() const;
  void KillRound();
  void StreamRound();
  void ReplaceRound();
  void Quiet();
  bool AllQuiet() const;
  bool CannotSettle() const;
  void NameTheRestless();
  void TakeSamples();
  void JudgeGrowth();
  void Progress();

  // replace.cc: rolling replacement.
  void ReplaceSome();
  void NoteReplaced(const RestartReport& report);
  void FillUp();

  // lives.cc: workers.
  void AdoptNew();
  bool Spawn(int slot);
  void Adopt(const Peer& peer);
  void NoteExit(const WorkerExit& exit);
  End CountExit(const Life& life, const WorkerExit& exit);
  void CheckLast(const Stats& stats, const Peer& peer);
  void KillSome();
  void StopSome(unsigned per_thousand);
  void EndStops(bool all);
  void Kill(Life* life);
  bool AllAlive() const;
  void WatchProgress();
  std::uint64_t PipeBytes(int slot);
  std::uint64_t Delivered() const;
  Life* RandomLife();

  Settings settings_;
  Material material_;
  Household household_;
  Ledger* ledger_ = nullptr;
  std::unique_ptr<Account> account_;
  std::unique_ptr<Master> master_;
  std::optional<Player> player_;
  uv_loop_t loop_;
  uv_timer_t tick_;
  std::minstd_rand random_;
  Life lives_[kSlots];
  int pipes_[kSlots];
  int missing_ = 0;  // workers that could not be forked at once
  Growth own_growth_;
  Growth keeper_growth_;
  std::size_t granted_ = 0;
  Deeds deeds_;
  bool ending_ = false;
  bool replacing_kills_ = false;  // workers are killed in this round of replacements
  int replacing_ = 0;             // calls of Replace and RestartAll that have not ended
  std::uint64_t began_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t told_ = 0;
  const char* doing_ = "";
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_DIRECTOR_H_
