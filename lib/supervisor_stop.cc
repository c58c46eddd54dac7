// SPDX-License-Identifier: Apache-2.0
//
// The end: workers are retired without successors, and what is left at the deadline is killed. The
// deadline is kept here and not by the master, because it can be brought forward.
#include <signal.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <absl/strings/str_cat.h>

#include "os/process.h"
#include "supervisor_state.h"
#include "supervisor_time.h"

namespace alertpipe {
namespace {

// One wish to end often comes as two signals: from the terminal and from a parent that passes it
// on, or to the process and to its group.
constexpr std::uint64_t kSameWishMs = 500;
// At the deadline: how long workers have to show that they are not stuck, and then to end.
constexpr std::uint64_t kAnswerMs = 1000;
constexpr std::uint64_t kLastCallMs = 1000;

int Badness(SupervisorResult result) {
  switch (result) {
    case SupervisorResult::kStopped:
    case SupervisorResult::kNotStarted:
      return 0;
    case SupervisorResult::kWorkerFailed:
      return 1;
    case SupervisorResult::kKilled:
      return 2;
    case SupervisorResult::kCrashLoop:
      return 3;
  }
  return 0;
}

}  // namespace

void Supervisor::State::Worsen(SupervisorResult result) {
  if (Badness(result) > Badness(result_)) result_ = result;
}

void Supervisor::State::OnSignal(int number) {
  if (!in_owner()) return;
  if (number == SIGHUP) return (void)RestartAll();
  const std::uint64_t now_ms = internal::NowMs();
  if (stop_signal_ms_ == 0) {
    stop_signal_ms_ = now_ms;
    (void)Stop(options_.stop_deadline);
  } else if (now_ms - stop_signal_ms_ >= kSameWishMs) {
    (void)Stop(absl::ZeroDuration());
  }
}

absl::Status Supervisor::State::Stop(absl::Duration deadline) {
  if (absl::Status status = CheckOwner(); !status.ok()) return status;
  if (deadline < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("the deadline of a stop must not be negative, ",
                                                   "was ", absl::FormatDuration(deadline)));
  }
  if (phase_ == Phase::kCreated)
    return absl::FailedPreconditionError("the supervisor was not started");
  if (phase_ == Phase::kStopped) return absl::FailedPreconditionError("the supervisor has stopped");
  const std::shared_ptr<State> alive = shared_from_this();
  if (phase_ == Phase::kRunning) {
    BeginStop(deadline);
  } else if (!closing_) {
    SetDeadline(deadline);
  }
  return absl::OkStatus();
}

void Supervisor::State::BeginStop(absl::Duration deadline, const absl::Status& why) {
  phase_ = Phase::kStopping;
  vacancies_.clear();
  vacancy_timer_.Close();
  round_.clear();
  round_wanted_ = false;
  SetDeadline(deadline);
  Event event;
  event.kind = Event::Kind::kStopping;
  event.delay = deadline;
  event.result = result_;
  event.status = why;
  Emit(event);
  if (gone_) return;
  // One that drains already, because it was being replaced, goes on with that.
  for (const auto& [slot, life] : lives_) (void)master_->Retire(slot, {});
  MaybeFinish();
}

void Supervisor::State::SetDeadline(absl::Duration deadline) {
  const std::uint64_t delay_ms = internal::ToMs(deadline);
  if (delay_ms == internal::kNeverMs) return;
  const std::uint64_t now_ms = internal::NowMs();
  if (now_ms + delay_ms >= deadline_ms_) return;
  deadline_ms_ = now_ms + delay_ms;
  kill_now_ = delay_ms == 0;
  StartDeadlineTimer(delay_ms);
}

void Supervisor::State::StartDeadlineTimer(std::uint64_t delay_ms) {
  uv_update_time(loop_);
  deadline_timer_.Start(loop_, delay_ms, 0, [this] {
    if (!in_owner()) return;
    const std::shared_ptr<State> alive = shared_from_this();
    if (kill_now_) {
      Kill(master_->Workers());
    } else {
      LastCall();
    }
  });
}

// The deadline has passed. A worker that drains waits for all others, so one that is stopped or
// stuck holds up those that are about to end in order: it has to go first.
void Supervisor::State::LastCall() {
  kill_now_ = true;
  deadline_ms_ = internal::NowMs() + kAnswerMs + kLastCallMs;
  const auto answered = [weak = weak_from_this()](const BarrierReport& report) {
    const std::shared_ptr<State> state = weak.lock();
    if (state == nullptr || state->gone_ || state->phase_ != Phase::kStopping) return;
    state->Kill(report.missing);
    // Nobody is waiting for anybody: they just do not end.
    if (!state->gone_ && report.missing.empty()) state->StartDeadlineTimer(0);
  };
  const Result asked = master_->Barrier(absl::Milliseconds(kAnswerMs), answered);
  StartDeadlineTimer(asked.ok() ? kAnswerMs + kLastCallMs : 0);
}

void Supervisor::State::Kill(const std::vector<Peer>& workers) {
  for (const Peer& worker : workers) {
    // A pid that was reaped is nobody's, even if that has not been told yet.
    const std::vector<Peer> alive = master_->Workers();
    if (!IsLife(worker) || std::find(alive.begin(), alive.end(), worker) == alive.end()) continue;
    (void)os::KillChild(worker.pid);
    Event event;
    event.kind = Event::Kind::kKilling;
    event.worker = worker;
    Emit(event);
    if (gone_) return;
  }
}

void Supervisor::State::NoteEnd(const WorkerExit& exit) {
  if (exit.signal == SIGKILL) {
    Worsen(SupervisorResult::kKilled);
  } else if (exit.signal != 0 || exit.exit_code != 0) {
    Worsen(SupervisorResult::kWorkerFailed);
  }
}

void Supervisor::State::MaybeFinish() {
  const bool over = phase_ == Phase::kStopping || (phase_ == Phase::kRunning && wanted_ == 0);
  if (!over || closing_ || !lives_.empty() || !vacancies_.empty()) return;
  phase_ = Phase::kStopping;
  closing_ = true;
  CloseHandles();
  const Result closing =
      master_->Close(absl::ZeroDuration(), [weak = weak_from_this()](const CloseReport&) {
        if (const std::shared_ptr<State> state = weak.lock()) state->Finish();
      });
  if (!closing.ok()) Finish();  // the program has closed it
}

void Supervisor::State::Finish() {
  if (gone_) return;
  phase_ = Phase::kStopped;
  Event event;
  event.kind = Event::Kind::kStopped;
  event.result = result_;
  Emit(event);
}

void Supervisor::State::CloseHandles() {
  for (uv::Signal& signal : signals_) signal.Close();
  vacancy_timer_.Close();
  deadline_timer_.Close();
}

void Supervisor::State::Shutdown() {
  gone_ = true;
  CloseHandles();
  master_.reset();
}

}  // namespace alertpipe
