// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/master.h>

#include <utility>

#include <absl/strings/str_cat.h>

#include "core/slot_stats.h"
#include "master_state.h"

namespace alertpipe {

Master::Master() = default;

Master::~Master() {
  // A forked process has only a copy of the master: nothing of it may be closed or freed there.
  if (state_ == nullptr) return;
  if (state_->impl->in_owner()) {
    state_->Shutdown();
    return;
  }
  internal::LeakReference(std::move(state_));
  internal::LeakReference(std::move(impl_));
}

absl::StatusOr<std::unique_ptr<Master>> Master::Create(const MasterOptions& options) {
  auto state = State::Create(options);
  if (!state.ok()) return state.status();
  std::unique_ptr<Master> master(new Master());
  master->state_ = *std::move(state);
  master->impl_ = master->state_->impl;
  return master;
}

absl::Status Master::Attach(uv_loop_s* loop, AttachOptions options) {
  return state_->Attach(loop, options);
}

absl::StatusOr<Peer> Master::Spawn(WorkerMain main) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  if (!main) return absl::InvalidArgumentError("Spawn needs a function to run in the worker");
  const absl::StatusOr<int> slot = state_->FreeSlot();
  if (!slot.ok()) return slot.status();
  return state_->Start(*slot, std::move(main));
}

absl::StatusOr<Slot> Master::Reserve() {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  const absl::StatusOr<int> slot = state_->FreeSlot();
  if (!slot.ok()) return slot.status();
  return state_->Reserve(*slot);
}

absl::StatusOr<Peer> Master::Confirm(int slot, pid_t pid) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  if (absl::Status status = state_->CheckSlot(slot); !status.ok()) return status;
  return state_->Confirm(slot, pid);
}

absl::Status Master::Cancel(int slot) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  if (absl::Status status = state_->CheckSlot(slot); !status.ok()) return status;
  return state_->Cancel(slot);
}

absl::StatusOr<WorkerExit> Master::ReportExit(pid_t pid, int wait_status) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  const std::shared_ptr<State> state = state_;  // a hook may destroy the master
  absl::StatusOr<WorkerExit> exit = state->ReportExit(pid, wait_status);
  if (exit.ok()) {
    state->TellExits();
    state->StepRestarts();
  }
  return exit;
}

absl::StatusOr<Peer> Master::Respawn(int slot) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  if (absl::Status status = state_->CheckSlot(slot); !status.ok()) return status;
  State::Place& place = state_->places[static_cast<std::size_t>(slot)];
  const core::RosterWord word = place.life.word();
  if (place.life.reserved())
    return absl::FailedPreconditionError(absl::StrCat("slot ", slot, " is reserved"));
  if (!place.life.idle()) {
    return absl::FailedPreconditionError(absl::StrCat("the worker in slot ", slot, " (pid ",
                                                      word.pid, ", generation ", word.generation,
                                                      ") lives"));
  }
  if (place.life.reaped_elsewhere()) {
    return absl::FailedPreconditionError(
        absl::StrCat("slot ", slot, " was last reserved for a process that the program forks on ",
                     "its own: there is no function to run, use Reserve"));
  }
  if (!place.main)
    return absl::NotFoundError(absl::StrCat("slot ", slot, " never had a worker: use Spawn"));
  return state_->Start(slot, place.main);
}

void Master::OnExit(ExitHook hook) {
  state_->on_exit = hook ? std::make_shared<ExitHook>(std::move(hook)) : nullptr;
}

absl::StatusOr<int> Master::Service() {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  const std::shared_ptr<State> state = state_;  // a hook may destroy the master
  const int found = state->Reap();
  state->KillLate();
  if (state->impl->on_loop()) {
    state->impl->Wake();
  } else {
    state->impl->ServiceDetached();
  }
  state->TellExits();
  state->StepRestarts();
  return found;
}

absl::Status Master::Retire(int slot, const RetireOptions& options) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  return state_->Retire(slot, options);
}

absl::Status Master::Replace(int slot, absl::Duration deadline, ReplaceDone done) {
  if (absl::Status status = impl_->CheckOpen(); !status.ok()) return status;
  return state_->Replace(slot, deadline, std::move(done));
}

absl::Status Master::RestartAll(absl::Duration deadline, RestartDone done) {
  if (absl::Status status = impl_->CheckOpen(); !status.ok()) return status;
  return state_->RestartAll(deadline, std::move(done));
}

std::size_t Master::pipe_capacity() const { return state_->family->pipe_capacity_min(); }

std::optional<SlotStats> Master::StatsOf(int slot) const {
  // The counters of others are not mapped in a child.
  if (!impl_->in_owner() || !state_->family->roster().has(slot)) return std::nullopt;
  const core::Roster roster = state_->family->roster();
  return core::ReadSlot(roster, *state_->family->counters(slot), roster.archived(slot), slot);
}

}  // namespace alertpipe
