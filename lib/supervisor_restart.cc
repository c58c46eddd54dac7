// SPDX-License-Identifier: Apache-2.0
//
// A restart goes round the workers that live when it begins, and replaces one after the other. The
// master does the exchange; here is who is next, and what becomes of it all.
#include <algorithm>
#include <memory>
#include <vector>

#include "supervisor_state.h"
#include "supervisor_time.h"

namespace alertpipe {
namespace {

bool Contains(const std::vector<Peer>& peers, const Peer& peer) {
  return std::find(peers.begin(), peers.end(), peer) != peers.end();
}

}  // namespace

absl::Status Supervisor::State::RestartAll() {
  if (absl::Status status = CheckOwner(); !status.ok()) return status;
  if (phase_ == Phase::kCreated)
    return absl::FailedPreconditionError("the supervisor was not started");
  if (phase_ != Phase::kRunning)
    return absl::FailedPreconditionError("the supervisor is stopping, or has stopped");
  if (options_.spare_slots == 0)
    return absl::FailedPreconditionError("a restart needs a spare slot, spare_slots is 0");
  const std::shared_ptr<State> alive = shared_from_this();
  if (round_under_way_) {
    round_wanted_ = true;
  } else {
    BeginRound();
  }
  return absl::OkStatus();
}

void Supervisor::State::BeginRound() {
  round_under_way_ = true;
  round_wanted_ = false;
  round_.clear();
  for (const auto& [slot, life] : lives_) round_.push_back(life.worker);
  Event event;
  event.kind = Event::Kind::kRestartBegun;
  Emit(event);
  if (!gone_ && phase_ == Phase::kRunning) ReplaceNext();
}

void Supervisor::State::ReplaceNext() {
  const std::vector<Peer> before = master_->Workers();
  // Who has died meanwhile has, or will have, a successor that is new enough.
  while (!round_.empty() && (!Contains(before, round_.front()) || IsDraining(round_.front())))
    round_.pop_front();
  if (round_.empty()) return EndRound(absl::OkStatus());
  const Peer old = round_.front();
  round_.pop_front();
  const auto done = [weak = weak_from_this()](const RestartReport& report) {
    if (const std::shared_ptr<State> state = weak.lock()) state->OnReplaced(report.status);
  };
  const absl::Status status =
      Shielded([&] { return master_->Replace(old.slot, options_.restart_deadline, done); });
  if (!status.ok()) return EndRound(status);
  replacing_ = Replacing{old, Peer()};
  AdoptSuccessor(before);
}

// Replace does not say whom it has started: it is the one that was not there before.
void Supervisor::State::AdoptSuccessor(const std::vector<Peer>& before) {
  for (const Peer& worker : master_->Workers()) {
    if (Contains(before, worker)) continue;
    replacing_->successor = worker;
    lives_[worker.slot] = {worker, internal::NowMs(), 0};
    Event event;
    event.kind = Event::Kind::kStarted;
    event.worker = worker;
    return Emit(event);
  }
}

void Supervisor::State::OnReplaced(const absl::Status& status) {
  if (gone_) return;
  Event event;
  event.kind = Event::Kind::kReplaced;
  event.worker = replacing_->old;
  event.successor = replacing_->successor;
  replacing_.reset();
  if (status.ok()) Emit(event);
  if (gone_) return;
  if (!status.ok() || phase_ != Phase::kRunning) return EndRound(status);
  ReplaceNext();
}

void Supervisor::State::EndRound(const absl::Status& status) {
  round_under_way_ = false;
  round_.clear();
  Event event;
  event.kind = Event::Kind::kRestartEnded;
  event.status = status;
  Emit(event);
  if (!gone_ && phase_ == Phase::kRunning && round_wanted_) BeginRound();
}

}  // namespace alertpipe
