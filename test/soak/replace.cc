// SPDX-License-Identifier: Apache-2.0
//
// Rolling replacement under load: one or two workers, or all in turn; in every other round others
// are killed meanwhile, and the old and the new worker as well.
#include <algorithm>
#include <string>

#include "director.h"

namespace alertpipe::soak {
namespace {

constexpr std::uint64_t kReplacementsPerRound = 40;

}  // namespace

void Director::ReplaceRound() {
  doing_ = "replacing";
  const std::uint64_t until =
      deeds_.replacements +
      Portion(deeds_.replacements, settings_.replacements, kReplacementsPerRound);
  replacing_kills_ = !replacing_kills_;
  ledger_->mode.Set(static_cast<std::uint64_t>(Mode::kPaced));
  Until(
      [this, until] {
        ReplaceSome();
        if (replacing_kills_ && random_() % 8 == 0) KillSome();
        StopSome(20);
        return deeds_.replacements >= until || TimeIsOver();
      },
      settings_.round_seconds);
  // Stopped workers hold a replacement up.
  const bool ended = Until(
      [this] {
        EndStops(true);
        return replacing_ == 0 && AllAlive();
      },
      2 * settings_.patience_seconds);
  if (!ended) ledger_->Complain(Violation::kHung, "a replacement does not end");
  FillUp();
  Quiet();
}

void Director::ReplaceSome() {
  if (replacing_ > 0 || missing_ > 0) return;
  const absl::Duration deadline = absl::Seconds(settings_.patience_seconds);
  const auto done = [this](const RestartReport& report) { NoteReplaced(report); };
  if (random_() % 3 == 0) {
    if (master_->RestartAll(deadline, done).ok()) ++replacing_;
    return;
  }
  for (int i = 0; i < 2; ++i) {
    const Life* life = RandomLife();
    if (life != nullptr && account_->HasRoom(life->peer.slot) &&
        master_->Replace(life->peer.slot, deadline, done).ok()) {
      ++replacing_;
    }
  }
}

void Director::NoteReplaced(const RestartReport& report) {
  --replacing_;
  for (const Replacement& one : report.replaced) deeds_.replacements += !one.killed_at_deadline;
  const bool killed = replacing_kills_ && report.status.code() == absl::StatusCode::kUnavailable;
  if (!report.status.ok() && !killed && !ending_)
    ledger_->Complain(Violation::kBroken, "a replacement: " + report.status.ToString());
}

// A successor that was killed may have left fewer workers than there were.
void Director::FillUp() {
  AdoptNew();
  auto live = std::count_if(std::begin(lives_), std::end(lives_),
                            [](const Life& life) { return life.peer.slot >= 0; });
  for (; live < settings_.workers; ++live) {
    if (!Spawn(-1)) ++missing_;
  }
}

}  // namespace alertpipe::soak
