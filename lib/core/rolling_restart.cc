// SPDX-License-Identifier: Apache-2.0
#include "core/rolling_restart.h"

#include <absl/strings/str_cat.h>

#include "core/check.h"

namespace alertpipe::core {

RollingRestart::RollingRestart(const std::vector<Peer>& old_workers) {
  for (const Peer& peer : old_workers) olds_.push_back({peer, false, false});
  Next();
}

RollingRestart::Step RollingRestart::step() const {
  switch (phase_) {
    case Phase::kStarting:
      return Step::kStart;
    case Phase::kRetiring:
      return Step::kRetire;
    case Phase::kKilling:
      return Step::kKill;
    case Phase::kFinished:
      return Step::kFinished;
    case Phase::kAsking:
    case Phase::kLeaving:
    case Phase::kKilled:
      break;
  }
  return Step::kWait;
}

bool RollingRestart::involves(const Peer& peer) const {
  if (phase_ == Phase::kFinished) return false;
  return peer == old_worker() || (phase_ != Phase::kStarting && peer == successor_);
}

bool RollingRestart::is_unproven(const Peer& peer) const {
  return peer == successor_ && (phase_ == Phase::kAsking || phase_ == Phase::kRetiring ||
                                phase_ == Phase::kKilling || phase_ == Phase::kKilled);
}

bool RollingRestart::is_leaving(const Peer& peer) const {
  return phase_ != Phase::kFinished && phase_ != Phase::kStarting && peer == old_worker();
}

// "the worker in slot 1 (...), to be replaced by the worker in slot 5 (...)"
std::string RollingRestart::Both() const {
  return absl::StrCat(ToString(old_worker()), ", to be replaced by ", ToString(successor_));
}

// The first one from here on that is still to be replaced.
void RollingRestart::Next() {
  while (at_ < olds_.size() && olds_[at_].passed_over) ++at_;
  if (at_ == olds_.size()) return Finish(absl::OkStatus());
  successor_ = Peer();
  phase_ = Phase::kStarting;
}

void RollingRestart::Finish(const absl::Status& status) {
  phase_ = Phase::kFinished;
  report_.status = status;
  if (status.ok()) return;
  for (std::size_t at = at_; at < olds_.size(); ++at) {
    if (!olds_[at].ended) report_.remaining.push_back(olds_[at].peer);
  }
}

// ---- Answers ----

void RollingRestart::Started(const Peer& successor) {
  ALERTPIPE_CHECK(phase_ == Phase::kStarting, "Started out of turn");
  successor_ = successor;
  phase_ = Phase::kAsking;
}

void RollingRestart::StartFailed(const absl::Status& status) {
  ALERTPIPE_CHECK(phase_ == Phase::kStarting, "StartFailed out of turn");
  Finish(absl::Status(status.code(), absl::StrCat("no successor of ", ToString(old_worker()),
                                                  " could be started: ", status.message())));
}

void RollingRestart::Done() {
  if (phase_ == Phase::kRetiring) {
    phase_ = Phase::kLeaving;
    return;
  }
  ALERTPIPE_CHECK(phase_ == Phase::kKilling, "Done without a step");
  phase_ = Phase::kKilled;
}

// ---- Inputs ----

void RollingRestart::Ready(const Peer& successor) {
  if (phase_ != Phase::kAsking || successor != successor_) return;
  phase_ = Phase::kRetiring;
  if (olds_[at_].ended) OldExited(false);
}

void RollingRestart::NotReady(const Peer& successor) {
  if (phase_ != Phase::kAsking || successor != successor_) return;
  trouble_ = absl::DeadlineExceededError(
      absl::StrCat(Both(), ": the latter did not answer by the deadline and was killed"));
  phase_ = Phase::kKilling;
}

void RollingRestart::Exited(const Peer& worker, bool killed_at_deadline) {
  if (phase_ == Phase::kFinished) return;
  for (Old& old : olds_) {
    if (old.peer == worker) old.passed_over = old.ended = true;
  }
  if (worker == old_worker()) return OldExited(killed_at_deadline);
  if (phase_ != Phase::kStarting && worker == successor_) SuccessorExited();
}

void RollingRestart::OldExited(bool killed_at_deadline) {
  // By itself: its successor has to answer all the same, before the next one's turn comes.
  if (phase_ == Phase::kStarting) return Next();
  if (phase_ != Phase::kRetiring && phase_ != Phase::kLeaving) return;
  report_.replaced.push_back({old_worker(), successor_, killed_at_deadline});
  if (!trouble_.ok()) return Finish(trouble_);
  Next();
}

void RollingRestart::SuccessorExited() {
  if (phase_ == Phase::kLeaving) {
    // The old one cannot be called back, but there is no going on with the others either.
    if (trouble_.ok()) {
      trouble_ =
          absl::UnavailableError(absl::StrCat(Both(), ": the latter ended before the former had"));
    }
    return;
  }
  if (!trouble_.ok()) return Finish(trouble_);
  Finish(absl::UnavailableError(absl::StrCat(Both(), ": the latter ended before it took over")));
}

void RollingRestart::RetiredByProgram(const Peer& worker) {
  if (phase_ == Phase::kFinished) return;
  const absl::Status why =
      absl::CancelledError(absl::StrCat(ToString(worker), " was retired by the program meanwhile"));
  const bool is_successor = phase_ != Phase::kStarting && worker == successor_;
  for (Old& old : olds_) {
    if (old.peer == worker) old.passed_over = true;
  }
  if (worker != old_worker() && !is_successor) return;
  if (phase_ == Phase::kStarting) return Next();
  if (phase_ == Phase::kAsking || phase_ == Phase::kRetiring) return Finish(why);
  if (trouble_.ok()) trouble_ = why;
}

void RollingRestart::Cancel(const absl::Status& why) {
  if (phase_ != Phase::kFinished) Finish(why);
}

}  // namespace alertpipe::core
