// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/supervisor.h>

#include <string_view>
#include <utility>

#include <absl/strings/str_cat.h>

#include "endpoint_impl.h"
#include "supervisor_state.h"

namespace alertpipe {
namespace {

absl::Status CheckCount(const char* name, int value, int least, int most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("SupervisorOptions::", name, " must be ", least, " to ", most, ", was ", value));
}

absl::Status CheckDuration(const char* name, absl::Duration value) {
  if (value >= absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "SupervisorOptions::", name, " must not be negative, was ", absl::FormatDuration(value)));
}

absl::Status Check(const SupervisorOptions& options) {
  const struct {
    const char* name;
    absl::Duration value;
  } durations[] = {
      {"backoff_min", options.backoff_min},     {"backoff_max", options.backoff_max},
      {"stable_after", options.stable_after},   {"deaths_window", options.deaths_window},
      {"stop_deadline", options.stop_deadline}, {"restart_deadline", options.restart_deadline},
  };
  if (absl::Status status = CheckCount("workers", options.workers, 1, kWorkersMax); !status.ok())
    return status;
  if (absl::Status status =
          CheckCount("spare_slots", options.spare_slots, 0, kWorkersMax - options.workers);
      !status.ok())
    return status;
  constexpr int kDeathsMax = 1000000;
  if (absl::Status status = CheckCount("young_deaths_max", options.young_deaths_max, 0, kDeathsMax);
      !status.ok())
    return status;
  if (!options.worker_main)
    return absl::InvalidArgumentError("SupervisorOptions::worker_main must be set");
  for (const auto& duration : durations) {
    if (absl::Status status = CheckDuration(duration.name, duration.value); !status.ok())
      return status;
  }
  if (options.restart_deadline == absl::ZeroDuration())
    return absl::InvalidArgumentError("SupervisorOptions::restart_deadline must be above 0");
  if (options.backoff_max < options.backoff_min) {
    return absl::InvalidArgumentError(
        absl::StrCat("SupervisorOptions::backoff_max must be at least backoff_min, ",
                     absl::FormatDuration(options.backoff_min), ", was ",
                     absl::FormatDuration(options.backoff_max)));
  }
  return absl::OkStatus();
}

}  // namespace

Supervisor::Supervisor(std::shared_ptr<State> state) : state_(std::move(state)) {}

Supervisor::~Supervisor() {
  if (state_->in_owner()) {
    state_->Shutdown();
  } else {
    internal::LeakReference(std::move(state_));
  }
}

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(uv_loop_s* loop,
                                                               SupervisorOptions options) {
  if (loop == nullptr) return absl::InvalidArgumentError("the supervisor needs a loop");
  if (absl::Status status = Check(options); !status.ok()) return status;
  options.master.workers_max = options.workers + options.spare_slots;
  absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(options.master);
  if (!master.ok()) return master.status();
  if (absl::Status status = (*master)->Attach(loop, options.attach); !status.ok()) return status;
  auto state = std::make_shared<State>(loop, std::move(options), *std::move(master));
  return std::unique_ptr<Supervisor>(new Supervisor(std::move(state)));
}

absl::Status Supervisor::Start() { return state_->Start(); }
Result Supervisor::RestartAll() { return state_->RestartAll(); }
Result Supervisor::Stop() { return state_->Stop(state_->options().stop_deadline); }
Result Supervisor::Stop(absl::Duration deadline) { return state_->Stop(deadline); }
Master* Supervisor::master() const { return state_->master(); }
uv_loop_s* Supervisor::loop() const { return state_->loop(); }
bool Supervisor::stopped() const { return state_->stopped(); }
SupervisorResult Supervisor::result() const { return state_->result(); }

}  // namespace alertpipe
