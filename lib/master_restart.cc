// SPDX-License-Identifier: Apache-2.0
//
// The replacement of live workers: the deadlines of those that are retired, and the restarts that
// are under way. A restart decides for itself what comes next (core/rolling_restart.h); here it is
// done. All of it happens where deaths are noticed and when the one timer fires, never inside the
// application's call, but for the first successor of a restart: a program that cannot start one
// hears of it at once.
#include <algorithm>
#include <string>
#include <utility>

#include <absl/strings/str_cat.h>

#include "deadline.h"
#include "master_state.h"
#include "os/clock.h"

namespace alertpipe {
namespace {

constexpr std::uint64_t kNanosPerMilli = 1000000;
// How often it is tried to ask a successor, where there are too many open barriers.
constexpr std::uint64_t kAskEveryNanos = 20 * kNanosPerMilli;

}  // namespace

// ---- Retire ----

absl::Status Master::State::CheckRunning(int slot) const {
  if (absl::Status status = CheckSlot(slot); !status.ok()) return status;
  const core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
  if (life.reserved()) {
    return absl::FailedPreconditionError(
        absl::StrCat("slot ", slot, " is reserved and has no worker yet"));
  }
  if (!life.running())
    return absl::FailedPreconditionError(absl::StrCat("slot ", slot, " has no live worker"));
  if (!life.draining()) return absl::OkStatus();
  const std::string by =
      life.successor() == 0 ? "" : absl::StrCat(", replaced by slot ", life.successor());
  return absl::FailedPreconditionError(
      absl::StrCat(ToString(PeerIn(slot)), " is retired already", by));
}

absl::Status Master::State::Retire(int slot, const RetireOptions& options) {
  if (absl::Status status = CheckRunning(slot); !status.ok()) return status;
  if (absl::Status status = internal::CheckDeadline(options.deadline); !status.ok()) return status;
  if (const int successor = options.successor; successor != 0) {
    if (absl::Status status = CheckSlot(successor); !status.ok()) return status;
    if (successor == slot) {
      return absl::InvalidArgumentError(
          absl::StrCat("the worker in slot ", slot, " cannot be its own successor"));
    }
    if (!places[static_cast<std::size_t>(successor)].life.word().takes_alerts()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "slot ", successor, ", which is to replace slot ", slot, ", has no worker that stays"));
    }
  }
  for (const std::unique_ptr<Restart>& restart : restarts_)
    restart->machine.RetiredByProgram(PeerIn(slot));
  RetireNow(slot, options.successor, options.deadline);
  ArmDeadlines();
  impl->Wake();
  return absl::OkStatus();
}

void Master::State::RetireNow(int slot, int successor, absl::Duration deadline) {
  Place& place = places[static_cast<std::size_t>(slot)];
  place.retired = true;
  // A process of the program's own is not ours to kill.
  if (!place.life.reaped_elsewhere()) place.kill_at = internal::DeadlineAt(deadline);
  place.life.Retire(successor);
  (void)Drive(slot);
}

void Master::State::KillLate() {
  const std::uint64_t now = os::MonotonicNanos();
  for (int slot = 1; slot < family->slots(); ++slot) {
    const Place& place = places[static_cast<std::size_t>(slot)];
    if (place.life.running() && place.kill_at <= now) KillNow(slot);
  }
}

void Master::State::KillNow(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  place.kill_at = core::kNever;
  place.life.Kill();
  (void)Drive(slot);
}

void Master::State::Kill(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  int error = watch_.has_value() ? watch_->Kill(static_cast<uint64_t>(slot)) : ENOENT;
  if (error != 0) error = os::KillChild(static_cast<pid_t>(place.life.word().pid));
  place.killed = error == 0;
  impl->diagnostics().Note(Diagnostic::Kind::kKilled, PeerIn(slot)).error = error;
}

// ---- Restarts ----

// Names the restart that a worker takes part in, if any.
absl::Status Master::State::CheckNoRestart(int slot) const {
  for (const std::unique_ptr<Restart>& restart : restarts_) {
    if (restart->all)
      return absl::FailedPreconditionError("all workers are being replaced already");
    if (!restart->machine.involves(PeerIn(slot))) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(ToString(PeerIn(slot)), " takes part in another replacement already"));
  }
  return absl::OkStatus();
}

absl::Status Master::State::CheckReplaceable(int slot) const {
  const Place& place = places[static_cast<std::size_t>(slot)];
  if (!place.life.reaped_elsewhere()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      ToString(PeerIn(slot)), " was forked by the program, so there is no function to run in a ",
      "successor: start one, then Retire it"));
}

absl::Status Master::State::Replace(int slot, absl::Duration deadline, RestartDone done) {
  if (absl::Status status = CheckRunning(slot); !status.ok()) return status;
  if (absl::Status status = internal::CheckDeadline(deadline); !status.ok()) return status;
  if (absl::Status status = CheckNoRestart(slot); !status.ok()) return status;
  if (absl::Status status = CheckReplaceable(slot); !status.ok()) return status;
  return Begin(Restart{core::RollingRestart({PeerIn(slot)}), false, deadline, std::move(done)});
}

absl::Status Master::State::RestartAll(absl::Duration deadline, RestartDone done) {
  if (absl::Status status = internal::CheckDeadline(deadline); !status.ok()) return status;
  if (!restarts_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(restarts_.front()->all ? "all workers are" : "a worker is",
                     " being replaced already: wait for the end of that"));
  }
  std::vector<Peer> workers;
  for (int slot = 1; slot < family->slots(); ++slot) {
    const core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
    if (!life.word().takes_alerts()) continue;
    if (absl::Status status = CheckReplaceable(slot); !status.ok()) return status;
    workers.push_back(PeerIn(slot));
  }
  return Begin(Restart{core::RollingRestart(workers), true, deadline, std::move(done)});
}

// Starts the first successor.
absl::Status Master::State::Begin(Restart restart) {
  auto begun = std::make_unique<Restart>(std::move(restart));
  if (begun->machine.step() == core::RollingRestart::Step::kStart) {
    StartSuccessor(begun.get());
    if (const absl::Status& status = begun->machine.report().status; !status.ok()) return status;
    AskSuccessor(begun.get());
  }
  restarts_.push_back(std::move(begun));
  ArmDeadlines();
  return absl::OkStatus();
}

void Master::State::StepRestarts() {
  if (!impl->on_loop()) return;
  for (const std::unique_ptr<Restart>& restart : restarts_) {
    while (Step(restart.get())) {
    }
  }
  const auto finished = [this](const std::unique_ptr<Restart>& restart) {
    if (restart->machine.step() != core::RollingRestart::Step::kFinished) return false;
    if (restart->done == nullptr) return true;
    impl->TellLater([done = std::move(restart->done),
                     report = restart->machine.report()]() mutable { done(report); });
    return true;
  };
  restarts_.erase(std::remove_if(restarts_.begin(), restarts_.end(), finished), restarts_.end());
  ArmDeadlines();
  impl->Wake();
}

// False when there is nothing to do for now.
bool Master::State::Step(Restart* restart) {
  using Step = core::RollingRestart::Step;
  core::RollingRestart& machine = restart->machine;
  switch (machine.step()) {
    case Step::kStart:
      StartSuccessor(restart);
      return true;
    case Step::kRetire:
      RetireNow(machine.old_worker().slot, machine.successor().slot, restart->deadline);
      machine.Done();
      return true;
    case Step::kKill:
      KillNow(machine.successor().slot);
      machine.Done();
      return true;
    case Step::kWait:
      if (!machine.asking()) return false;
      AskSuccessor(restart);
      return !machine.asking();
    case Step::kFinished:
      break;
  }
  return false;
}

void Master::State::StartSuccessor(Restart* restart) {
  core::RollingRestart& machine = restart->machine;
  const absl::StatusOr<int> slot = FreeSlot();
  if (!slot.ok()) return machine.StartFailed(slot.status());
  const Place& old = places[static_cast<std::size_t>(machine.old_worker().slot)];
  const absl::StatusOr<Peer> started = Start(*slot, old.main);
  if (!started.ok()) return machine.StartFailed(started.status());
  restart->asked = false;
  restart->ask_by = internal::DeadlineAt(restart->deadline);
  machine.Started(*started);
}

// It is there when it has attached and its loop runs: then it acknowledges a barrier.
void Master::State::AskSuccessor(Restart* restart) {
  if (restart->asked) return;
  const Peer successor = restart->machine.successor();
  const To to(successor);
  const absl::Status asked =
      impl->Barrier(&to, Scope::kWorkers, restart->deadline,
                    [weak = weak_from_this(), successor](const BarrierReport& report) {
                      if (const std::shared_ptr<State> state = weak.lock())
                        state->HearSuccessor(successor, report);
                    });
  restart->asked = asked.ok();
  if (!asked.ok() && os::MonotonicNanos() >= restart->ask_by) restart->machine.NotReady(successor);
}

void Master::State::HearSuccessor(const Peer& successor, const BarrierReport& report) {
  // Of one that has died the restart hears otherwise, and of a master that is closed as well.
  const bool ready = report.status.ok() && report.died.empty();
  for (const std::unique_ptr<Restart>& restart : restarts_) {
    if (ready) restart->machine.Ready(successor);
    if (absl::IsDeadlineExceeded(report.status)) restart->machine.NotReady(successor);
  }
  // The rest is not for the middle of a callback.
  ArmDeadlines();
}

// A worker has ended: what that means to those who replace it or others by it.
void Master::State::NoteInRestarts(WorkerExit* exit) {
  for (const std::unique_ptr<Restart>& restart : restarts_) {
    core::RollingRestart& machine = restart->machine;
    if (machine.is_leaving(exit->worker)) exit->successor = machine.successor().slot;
    exit->unproven = exit->unproven || machine.is_unproven(exit->worker);
    machine.Exited(exit->worker, exit->killed_at_deadline);
  }
}

// The endpoint is closed.
void Master::State::CancelRestarts() {
  for (const std::unique_ptr<Restart>& restart : std::exchange(restarts_, {})) {
    restart->machine.Cancel(absl::CancelledError("the master's endpoint was closed"));
    if (restart->done == nullptr) continue;
    impl->TellLater([done = std::move(restart->done),
                     report = restart->machine.report()]() mutable { done(report); });
  }
}

// ---- The timer ----

// One, for the earliest of all deadlines, and for what restarts have to do soon.
void Master::State::ArmDeadlines() {
  if (!impl->on_loop()) return;
  const std::uint64_t now = os::MonotonicNanos();
  std::uint64_t next = core::kNever;
  for (const Place& place : places) {
    if (place.life.running()) next = std::min(next, place.kill_at);
  }
  for (const std::unique_ptr<Restart>& restart : restarts_) {
    if (restart->machine.step() != core::RollingRestart::Step::kWait) next = now;
    if (restart->machine.asking() && !restart->asked)
      next = std::min({next, restart->ask_by, now + kAskEveryNanos});
  }
  // Not put off: what fires too early looks again.
  if (next >= deadlines_at_) return;
  deadlines_.Close();
  deadlines_at_ = core::kNever;
  const std::uint64_t left = next > now ? next - now : 0;
  const auto on_time = [this] {
    deadlines_at_ = core::kNever;
    OnChildEvent();
  };
  // A timer that could not be had is asked for again when anything else happens.
  const std::uint64_t left_ms = left == 0 ? 0 : left / kNanosPerMilli + 1;
  if (deadlines_.Start(impl->loop(), left_ms, 0, on_time) != 0) return;
  deadlines_.SetRef(false);
  deadlines_at_ = next;
}

}  // namespace alertpipe
