// SPDX-License-Identifier: Apache-2.0
#include "supervisor_state.h"

#include <signal.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <absl/strings/str_cat.h>

#include "os/calls.h"
#include "os/process.h"
#include "supervisor_time.h"

namespace alertpipe {
namespace {

constexpr int kYoungDeathsPerWorker = 5;
constexpr std::uint64_t kDelayMaxMs = std::uint64_t{365} * 24 * 3600 * 1000;

core::RespawnLimits LimitsOf(const SupervisorOptions& options) {
  core::RespawnLimits limits;
  // Times that can be added to others.
  limits.delay_min_ms = std::min(internal::ToMs(options.backoff_min), kDelayMaxMs);
  limits.delay_max_ms = std::min(internal::ToMs(options.backoff_max), kDelayMaxMs);
  limits.young_ms = internal::ToMs(options.stable_after);
  limits.deaths_window_ms = internal::ToMs(options.deaths_window);
  limits.young_deaths_max = static_cast<std::size_t>(options.young_deaths_max > 0
                                                         ? options.young_deaths_max
                                                         : kYoungDeathsPerWorker * options.workers);
  return limits;
}

}  // namespace

Supervisor::State::State(uv_loop_t* loop, SupervisorOptions options, std::unique_ptr<Master> master)
    : options_(std::move(options)),
      loop_(loop),
      owner_(os::calls().getpid()),
      master_(std::move(master)),
      policy_(LimitsOf(options_)),
      wanted_(options_.workers) {
  master_->OnExit([this](const WorkerExit& exit) { OnExit(exit); });
}

bool Supervisor::State::in_owner() const { return os::calls().getpid() == owner_; }

absl::Status Supervisor::State::CheckOwner() const {
  if (in_owner()) return absl::OkStatus();
  return absl::FailedPreconditionError("this supervisor belongs to the parent process");
}

void Supervisor::State::Emit(const Event& event) {
  if (options_.on_event) options_.on_event(event);
}

// ---- Starting and replacing the dead ------------------------------------------------------------

absl::Status Supervisor::State::Start() {
  if (absl::Status status = CheckOwner(); !status.ok()) return status;
  if (phase_ != Phase::kCreated)
    return absl::FailedPreconditionError("the supervisor was started before");
  if (options_.watch_signals) {
    if (absl::Status status = WatchSignals(); !status.ok()) return status;
  }
  phase_ = Phase::kRunning;
  vacancies_.assign(static_cast<std::size_t>(wanted_), Vacancy{0, internal::NowMs()});
  const std::shared_ptr<State> alive = shared_from_this();
  FillVacancies();
  return absl::OkStatus();
}

absl::Status Supervisor::State::WatchSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    const int number = kSignals[i];
    const int error = signals_[i].Start(loop_, number, [this, number] { OnSignal(number); });
    if (error != 0) {
      for (uv::Signal& signal : signals_) signal.Close();
      return absl::InternalError(
          absl::StrCat("libuv cannot watch signal ", number, ": ", uv_strerror(error)));
    }
    signals_[i].SetRef(false);
  }
  return absl::OkStatus();
}

// Starts a worker for each place whose time has come.
void Supervisor::State::FillVacancies() {
  while (!gone_ && phase_ == Phase::kRunning && !vacancies_.empty()) {
    const auto next =
        std::min_element(vacancies_.begin(), vacancies_.end(),
                         [](const Vacancy& a, const Vacancy& b) { return a.due_ms < b.due_ms; });
    if (next->due_ms > internal::NowMs()) break;
    const Vacancy vacancy = *next;
    vacancies_.erase(next);
    Fill(vacancy);
  }
  if (!gone_) ScheduleVacancies();
}

Master::WorkerMain Supervisor::State::WorkerMain() {
  return [this](Slot slot) {
    EnterWorker();
    return options_.worker_main(std::move(slot));
  };
}

// A worker that goes on with the master's loop must not find timers of ours in it.
void Supervisor::State::EnterWorker() {
  vacancy_timer_.Stop();
  deadline_timer_.Stop();
  if (!options_.shield_workers) return;
  os::MuteSignals(kSignals.data(), kSignals.size());
  if (masked_) os::SetSignalMask(mask_before_);
}

void Supervisor::State::Fill(const Vacancy& vacancy) {
  const absl::StatusOr<Peer> worker = Shielded([&] { return master_->Spawn(WorkerMain()); });
  Event event;
  if (worker.ok()) {
    lives_[worker->slot] = {*worker, internal::NowMs(), vacancy.failures};
    event.kind = Event::Kind::kStarted;
    event.worker = *worker;
  } else {
    const core::RespawnPolicy::Decision decision = policy_.ForkFailed(vacancy.failures);
    // Not at once even if there is no backoff: the loop has to turn.
    const std::uint64_t delay_ms = std::max<std::uint64_t>(decision.delay_ms, 1);
    vacancies_.push_back({decision.failures, internal::NowMs() + delay_ms});
    event.kind = Event::Kind::kForkFailed;
    event.status = worker.status();
    event.delay = absl::Milliseconds(delay_ms);
  }
  Emit(event);
}

void Supervisor::State::ScheduleVacancies() {
  vacancy_timer_.Close();
  if (phase_ != Phase::kRunning || vacancies_.empty()) return;
  std::uint64_t due_ms = internal::kNeverMs;
  for (const Vacancy& vacancy : vacancies_) due_ms = std::min(due_ms, vacancy.due_ms);
  const std::uint64_t now_ms = internal::NowMs();
  uv_update_time(loop_);
  vacancy_timer_.Start(loop_, due_ms > now_ms ? due_ms - now_ms : 0, 0, [this] {
    if (!in_owner()) return;
    const std::shared_ptr<State> alive = shared_from_this();
    FillVacancies();
  });
}

void Supervisor::State::OnExit(const WorkerExit& exit) {
  if (!in_owner() || phase_ == Phase::kStopped) return;
  const std::shared_ptr<State> alive = shared_from_this();
  Event event;
  event.kind = Event::Kind::kExited;
  event.worker = exit.worker;
  event.exit = exit;
  if (!IsLife(exit.worker)) return Emit(event);  // the program's own
  const Life life = lives_[exit.worker.slot];
  lives_.erase(exit.worker.slot);
  if (phase_ == Phase::kStopping) {
    NoteEnd(exit);
  } else if (Filled() < wanted_) {
    Decide(life, &event);
  }
  Emit(event);
  if (gone_) return;
  if (event.next == Event::Next::kStop && phase_ == Phase::kRunning) {
    Worsen(SupervisorResult::kCrashLoop);
    BeginStop(options_.stop_deadline, event.status);
  } else {
    FillVacancies();
  }
  if (!gone_) MaybeFinish();
}

void Supervisor::State::Decide(const Life& life, Event* event) {
  const WorkerExit& exit = event->exit;
  const std::uint64_t now_ms = internal::NowMs();
  if (exit.retired) {  // by the program: it wants a new one in its place
    vacancies_.push_back({life.failures, now_ms});
    event->next = Event::Next::kRespawn;
    return;
  }
  if (!options_.respawn_after_success && exit.known && exit.signal == 0 && exit.exit_code == 0) {
    --wanted_;
    event->next = Event::Next::kLeave;
    return;
  }
  const core::RespawnPolicy::Decision decision =
      policy_.Died(life.failures, now_ms - life.started_ms, now_ms);
  if (decision.crash_loop) {
    event->next = Event::Next::kStop;
    event->status = CrashLoop();
    return;
  }
  vacancies_.push_back({decision.failures, now_ms + decision.delay_ms});
  event->next = Event::Next::kRespawn;
  event->delay = absl::Milliseconds(decision.delay_ms);
}

absl::Status Supervisor::State::CrashLoop() const {
  return absl::UnavailableError(absl::StrCat(
      "crash loop: ", policy_.young_deaths(), " workers have died within ",
      absl::FormatDuration(options_.deaths_window), " before they were ",
      absl::FormatDuration(options_.stable_after), " old, SupervisorOptions::young_deaths_max is ",
      policy_.limits().young_deaths_max));
}

int Supervisor::State::Filled() const {
  std::size_t filled = vacancies_.size();
  for (const auto& [slot, life] : lives_) filled += IsDraining(life.worker) ? 0 : 1;
  // Two in one place, until the old one drains.
  if (replacing_.has_value() && IsLife(replacing_->old) && IsLife(replacing_->successor) &&
      !IsDraining(replacing_->old))
    --filled;
  return static_cast<int>(filled);
}

bool Supervisor::State::IsLife(const Peer& worker) const {
  const auto found = lives_.find(worker.slot);
  return found != lives_.end() && found->second.worker == worker;
}

bool Supervisor::State::IsDraining(const Peer& worker) const {
  const std::optional<SlotStats> slot = master_->StatsOf(worker.slot);
  return slot.has_value() && slot->state == SlotState::kDraining;
}

}  // namespace alertpipe
