// SPDX-License-Identifier: Apache-2.0
//
// Rolling restarts as a master carries them out: what comes next is core::RollingRestart's
// decision; here successors are started in spare slots, asked whether they are there, and killed if
// they do not say so, and old workers are retired.
#include <absl/strings/str_cat.h>

#include "sim/lives.h"
#include "sim/world.h"

namespace alertpipe::sim {

using Restart = core::RollingRestart;

Peer Lives::PeerIn(int slot) const {
  const core::RosterWord word = slots_[static_cast<std::size_t>(slot)].life.word();
  return {static_cast<pid_t>(word.pid), slot, word.generation};
}

// Of one worker or of all.
bool Lives::BeginRestart() {
  if (!world_->Fault(world_->plan().restart)) return false;
  std::vector<Peer> olds;
  for (std::size_t at = 1; at < slots_.size(); ++at) {
    const core::SlotLife& life = slots_[at].life;
    if (life.running() && !life.draining()) olds.push_back(PeerIn(static_cast<int>(at)));
  }
  if (olds.empty()) return false;
  if (world_->random().Chance(2))
    olds = {olds[world_->random().Below(static_cast<std::uint32_t>(olds.size()))]};
  restart_.emplace(olds);
  restart_deadline_ = 100 + world_->random().Below(3000);
  ++world_->census().restarts;
  return true;
}

bool Lives::StepRestart() {
  if (!world_->seat(kMasterSlot).process->attached()) return false;
  if (!restart_.has_value()) return BeginRestart();
  switch (restart_->step()) {
    case Restart::Step::kWait:
      return restart_->asking() && !asked_ && AskSuccessor();
    case Restart::Step::kStart:
      StartSuccessor();
      return true;
    case Restart::Step::kRetire:
      Retire(restart_->old_worker().slot, restart_->successor().slot);
      restart_->Done();
      return true;
    case Restart::Step::kKill: {
      driving_ = restart_->successor().slot;
      slots_[static_cast<std::size_t>(driving_)].life.Kill();
      restart_->Done();
      return true;
    }
    case Restart::Step::kFinished:
      EndRestart();
      return true;
  }
  return false;
}

void Lives::StartSuccessor() {
  for (std::size_t at = 1; at < slots_.size(); ++at) {
    if (!slots_[at].life.idle()) continue;
    starting_ = driving_ = static_cast<int>(at);
    slots_[at].life.Start();
    return;
  }
  restart_->StartFailed(absl::ResourceExhaustedError("all slots are taken"));
}

// The successor runs, or could not be forked.
void Lives::EndStart(int at) {
  starting_ = 0;
  asked_ = false;
  if (slots_[static_cast<std::size_t>(at)].life.running()) {
    restart_->Started(PeerIn(at));
  } else {
    restart_->StartFailed(absl::ResourceExhaustedError("no fork"));
  }
}

bool Lives::AskSuccessor() {
  const Peer successor = restart_->successor();
  asked_ = world_->seat(kMasterSlot)
               .process->Ask(successor, world_->now() + restart_deadline_,
                             [this, successor](const BarrierReport& report) {
                               HearSuccessor(successor, report);
                             });
  return asked_;
}

void Lives::HearSuccessor(const Peer& successor, const BarrierReport& report) {
  if (!restart_.has_value()) return;
  if (report.status.ok() && report.died.empty()) restart_->Ready(successor);
  if (!absl::IsDeadlineExceeded(report.status)) return;
  ++world_->census().successors_not_ready;
  restart_->NotReady(successor);
}

void Lives::EndRestart() {
  const RestartReport report = restart_->report();
  restart_.reset();
  Census& census = world_->census();
  ++(report.status.ok() ? census.restarts_ok : census.restarts_failed);
  census.replaced += report.replaced.size();
  for (const Replacement& replacement : report.replaced) {
    if (!world_->ledger().Lives(Of(replacement.old_worker))) continue;
    throw Violation(absl::StrCat("a restart says that ", ToString(Of(replacement.old_worker)),
                                 " was replaced: it lives"));
  }
  if (report.status.ok() && !report.remaining.empty())
    throw Violation("a restart has replaced all and names some that remain");
}

}  // namespace alertpipe::sim
