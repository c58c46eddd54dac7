// SPDX-License-Identifier: Apache-2.0
#include "sim/lives.h"

#include <algorithm>
#include <utility>

#include <absl/strings/str_cat.h>

#include "sim/world.h"

namespace alertpipe::sim {

using LifeStep = core::SlotLife::Step;

bool Lives::Quiet() const {
  if (restart_.has_value()) return false;
  for (const Slot& slot : slots_) {
    if (slot.life.step() != LifeStep::kNone || slot.life.reserved() || slot.ended) return false;
  }
  return true;
}

bool Lives::Step() {
  if (driving_ != 0) {
    Drive(driving_);
    return true;
  }
  if (StepRestart()) return true;
  const int slots = static_cast<int>(slots_.size());
  const int first = world_->random().Pick(1, slots - 1);
  for (int i = 0; i < slots - 1; ++i) {
    if (Begin(1 + (first - 1 + i) % (slots - 1))) return true;
  }
  return false;
}

// Whether there was something to begin at `slot`.
bool Lives::Begin(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (slot.life.running() && slot.ended) {
    slot.ended = false;
    slot.life.Died();
    driving_ = at;
    return true;
  }
  if (slot.life.reserved()) return GoOnReserved(at);
  if (slot.life.running()) return GoOnRunning(at);
  if (!slot.life.idle() || !world_->active() || !world_->random().Chance(6)) return false;
  const auto is_idle = [](const Slot& each) { return each.life.idle(); };
  // The master's own place is idle, too.
  if (std::count_if(slots_.begin(), slots_.end(), is_idle) - 1 <= world_->plan().spares)
    return false;
  if (world_->random().Chance(world_->plan().own_fork)) {
    slot.life.Reserve();
    ++world_->census().reserved;
  } else {
    slot.life.Start();
  }
  driving_ = at;
  return true;
}

// The program has a slot for a child of its own: it forks, and says so later, or gives it up.
bool Lives::GoOnReserved(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (slot.child == 0) {
    if (!world_->active() || world_->random().Chance(4)) {
      ++world_->census().reserved_cancelled;
      slot.life.ForkFailed();
      driving_ = at;
      return true;
    }
    if (!world_->random().Chance(2)) return false;
    slot.child = world_->StartProcess(at, slot.life.word().generation);
    return true;
  }
  if (world_->active() && !world_->random().Chance(4)) return false;
  slot.life.Forked(slot.child);
  slot.child = 0;
  driving_ = at;
  return true;
}

// Retires a worker now and then.
bool Lives::GoOnRunning(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (slot.life.draining()) return GoOnRetired(at);
  if (!world_->Fault(world_->plan().retire)) return false;
  if (restart_.has_value()) restart_->RetiredByProgram(PeerIn(at));
  Retire(at, PickSuccessor(at));
  return true;
}

void Lives::Retire(int at, int successor) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  slot.life.Retire(successor);
  const std::uint32_t deadline = world_->plan().retire_deadline;
  slot.kill_at = deadline == 0 || slot.life.reaped_elsewhere()
                     ? 0
                     : world_->now() + world_->random().Below(deadline);
  ++world_->census().retired;
  driving_ = at;
}

// A worker that stays, or 0.
int Lives::PickSuccessor(int at) {
  const int slot = world_->random().Pick(0, static_cast<int>(slots_.size()) - 1);
  const core::SlotLife& life = slots_[static_cast<std::size_t>(slot)].life;
  return slot != at && life.running() && !life.draining() ? slot : 0;
}

// It leaves by itself once faults are over, but for victims of a hostile relative: they may wait
// for what was damaged.
bool Lives::GoOnRetired(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (world_->seat(at).process == nullptr) return false;
  if (world_->active() ? slot.kill_at == 0 || slot.kill_at > world_->now() : !world_->tainted())
    return false;
  slot.kill_at = 0;
  if (slot.life.reaped_elsewhere()) {
    // The process of a program that forks on its own is that program's to end.
    world_->Kill(at);
    return true;
  }
  slot.killed = true;
  slot.life.Kill();
  driving_ = at;
  return true;
}

void Lives::Published(int at) {
  const core::SlotLife& life = slots_[static_cast<std::size_t>(at)].life;
  world_->Publish(at, life.word());
}

void Lives::Drive(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  const core::RosterWord word = slot.life.word();
  Process* master = world_->seat(kMasterSlot).process.get();
  if (world_->tracing()) {
    world_->Trace(absl::StrCat("life of slot ", at, " generation ", word.generation, ": step ",
                               static_cast<int>(slot.life.step())));
  }
  switch (slot.life.step()) {
    case LifeStep::kNone:
      driving_ = 0;
      return;
    case LifeStep::kPublishStarting:
      if (world_->plan().publish != 0 && !std::exchange(slot.announced, true))
        return world_->Announce(at);
      slot.announced = false;
      world_->seat(at).page->Reset(word.generation);
      world_->board().StartReader(at);
      world_->PublishSuccessor(at, 0);
      Published(at);
      break;
    case LifeStep::kFork:
      Fork(at);
      return;
    case LifeStep::kPublishDraining:
      world_->PublishSuccessor(at, slot.life.successor());
      Published(at);
      break;
    case LifeStep::kTellDraining:
      world_->board().Draining(at, word.generation, slot.life.successor());
      master->NoticesChanged();
      break;
    case LifeStep::kKill:
      world_->Kill(at);
      break;
    case LifeStep::kPublishUp:
    case LifeStep::kPublishDown:
      Published(at);
      break;
    case LifeStep::kTellJoined:
      world_->board().Joined(at, word.generation, word.pid);
      if (!master->attached()) master->core().PeerJoined(at, word.generation, word.pid);
      master->NoticesChanged();
      break;
    case LifeStep::kReap:
      world_->Reaped(word.pid);
      break;
    case LifeStep::kDrain:
      if (world_->breaks(Canary::kLateDrain)) {
        slot.drain_owed = true;
      } else {
        world_->Drain(at, word.generation);
      }
      break;
    case LifeStep::kTellDied:
      if (!world_->breaks(Canary::kNoDeathNotice)) {
        world_->board().Died(at, word.generation);
        if (!master->attached()) master->core().PeerDied(at, word.generation);
        master->NoticesChanged();
      }
      break;
  }
  const bool died = slot.life.step() == LifeStep::kTellDied;
  slot.life.Done();
  if (slot.life.step() != LifeStep::kNone) return;
  driving_ = 0;
  if (died) EndDrive(at);
  if (starting_ == at) EndStart(at);
}

// A worker has ended, or never began.
void Lives::EndDrive(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (restart_.has_value() && slot.life.forked()) restart_->Exited(PeerIn(at), slot.killed);
  slot.killed = false;
  slot.kill_at = 0;
}

void Lives::Fork(int at) {
  Slot& slot = slots_[static_cast<std::size_t>(at)];
  if (slot.drain_owed) {
    slot.drain_owed = false;
    world_->Drain(at, slot.life.word().generation - 1);
  }
  if (world_->Fault(world_->plan().fork_fails)) {
    ++world_->census().forks_failed;
    slot.life.ForkFailed();
    return;
  }
  slot.life.Forked(world_->StartProcess(at, slot.life.word().generation));
}

}  // namespace alertpipe::sim
