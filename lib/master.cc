// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/master.h>

#include <utility>

#include <absl/strings/str_cat.h>

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
  for (std::size_t slot = 1; slot < state_->places.size(); ++slot) {
    if (state_->places[slot].life.idle())
      return state_->Start(static_cast<int>(slot), std::move(main));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "all slots are taken: MasterOptions::workers_max is ", state_->places.size() - 1));
}

absl::StatusOr<Peer> Master::Respawn(int slot) {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  const int slots = static_cast<int>(state_->places.size());
  if (slot < 1 || slot >= slots) {
    return absl::NotFoundError(
        absl::StrCat("there is no slot ", slot, " for a worker: slots are 1 to ", slots - 1));
  }
  State::Place& place = state_->places[static_cast<std::size_t>(slot)];
  if (!place.main)
    return absl::NotFoundError(absl::StrCat("slot ", slot, " never had a worker: use Spawn"));
  if (!place.life.idle()) {
    return absl::FailedPreconditionError(absl::StrCat("the worker in slot ", slot, " (pid ",
                                                      place.life.word().pid, ", generation ",
                                                      place.life.word().generation, ") lives"));
  }
  return state_->Start(slot, place.main);
}

void Master::OnExit(ExitHook hook) {
  state_->on_exit = hook ? std::make_shared<ExitHook>(std::move(hook)) : nullptr;
}

absl::StatusOr<int> Master::Service() {
  if (absl::Status status = impl_->CheckOwner(); !status.ok()) return status;
  const std::shared_ptr<State> state = state_;  // a hook may destroy the master
  const int found = state->Reap();
  if (state->impl->on_loop()) {
    state->impl->Wake();
  } else {
    state->impl->ServiceDetached();
  }
  state->TellExits();
  return found;
}

std::size_t Master::pipe_capacity() const { return state_->family->pipe_capacity_min(); }

std::optional<Stats> Master::LastStats(int slot) const {
  if (slot < 1 || slot >= static_cast<int>(state_->places.size())) return std::nullopt;
  return state_->places[static_cast<std::size_t>(slot)].last_stats;
}

}  // namespace alertpipe
