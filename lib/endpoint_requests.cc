// SPDX-License-Identifier: Apache-2.0
//
// Requests as the application makes them: terms that are checked, callbacks that are called from
// the loop and never from inside the call that they were given to, and the one timer behind all
// deadlines. Which requests are open, and how they end, is the core's business (request_table.h).
#include <algorithm>
#include <memory>
#include <utility>

#include <absl/strings/str_cat.h>

#include "deadline.h"
#include "endpoint_impl.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

constexpr std::uint64_t kNanosPerMilli = 1000000;
// How often an orphan asks whether those that it waits for still live.
constexpr std::uint64_t kAskEveryNanos = 250 * kNanosPerMilli;
// How long a pipe is left alone whose read or write has failed.
constexpr std::uint64_t kRetryNanos = 10 * kNanosPerMilli;
absl::Status CheckDeadline(absl::Duration deadline, bool has_callback) {
  if (!has_callback) return absl::InvalidArgumentError("the callback is null");
  return internal::CheckDeadline(deadline);
}

}  // namespace

// ---- Request ----

SendResult EndpointImpl::Request(const To& to, std::string_view name, std::string_view data,
                                 Buffer* owned, absl::Duration deadline,
                                 ResponseCallback callback) {
  const std::size_t bytes = name.size() + (owned != nullptr ? owned->size() : data.size());
  if (absl::Status open = CheckOpen(); !open.ok()) return Refused(std::move(open), bytes);
  if (absl::Status status = CheckDeadline(deadline, callback != nullptr); !status.ok())
    return Refused(std::move(status), bytes);
  RequestTerms terms{DeadlineAt(deadline), std::move(callback)};
  core::Content content{name, data};
  content.flags = core::kHasRequestId;
  return SendContent(to, content, owned, &terms);
}

// A refusal gives the callback back.
SendResult EndpointImpl::DeliverRequest(const core::Target& target, core::Content content,
                                        Payload* payload, bool first_charge, RequestTerms* terms) {
  absl::Status status =
      core_.BeginRequest(target, terms->deadline, &terms->callback, &content.request_id);
  if (!status.ok())
    return Refused(std::move(status), content.name.size() + content.data.size(), true);
  SendResult sent = Deliver(target, content, payload, first_charge);
  if (sent.ok()) {
    core_.KeepRequest(content.request_id, target, sent.alert_id());
  } else {
    terms->callback = core_.DropRequest(content.request_id);
  }
  return sent;
}

SendResult EndpointImpl::Respond(const Peer& to, std::uint64_t request_id, std::string_view data,
                                 Buffer* owned) {
  core::Content content{{}, data};
  content.flags = core::kHasRequestId | core::kIsResponse;
  content.request_id = request_id;
  return SendContent(To(to), content, owned, nullptr);
}

void EndpointImpl::GiveUpRequest(const Peer& to, std::uint64_t request_id) {
  if (!guard_.InOwner()) return;
  CheckThread();
  LetRequestGo();
  core_.Unhandled(to, request_id);
  if (on_loop()) {
    UpdateBusy();
  } else {
    FlushSlot(to.slot, false);  // the one attempt that is left
  }
}

// ---- Gather ----

struct EndpointImpl::GatherState {
  EndpointImpl* endpoint;
  ResponseCallback each;
  GatherDone done;
  int left = 1;  // requests that have not ended, and Gather itself

  void End() {
    if (--left == 0 && done) endpoint->TellLater(std::move(done));
  }
  // Ends one, also if `each` throws.
  struct Ending {
    GatherState* state;
    ~Ending() { state->End(); }
  };
};

BroadcastResult EndpointImpl::Gather(std::string_view name, std::string_view data,
                                     absl::Duration deadline, ResponseCallback each,
                                     GatherDone done, Scope scope) {
  const std::size_t bytes = name.size() + data.size();
  if (absl::Status open = CheckOpen(); !open.ok()) return Refused(std::move(open), bytes);
  if (absl::Status status = CheckDeadline(deadline, each != nullptr); !status.ok())
    return Refused(std::move(status), bytes);
  const std::shared_ptr<GatherState> state(new GatherState{this, std::move(each), std::move(done)});
  const std::uint64_t deadline_at = DeadlineAt(deadline);
  const MakeTerms make_terms = [state, deadline_at] {
    ++state->left;
    return RequestTerms{deadline_at, [state](Response& response) {
                          const GatherState::Ending ending{state.get()};
                          state->each(response);
                        }};
  };
  core::Content content{name, data};
  content.flags = core::kHasRequestId;
  BroadcastResult result = BroadcastContent(content, nullptr, scope, &make_terms, nullptr);
  if (result.ok()) state->End();
  return result;
}

void EndpointImpl::TellRefused(ResponseCallback callback, const Peer& peer,
                               const absl::Status& refusal) {
  TellLater([callback = std::move(callback), peer, refusal]() mutable {
    Response response(peer, refusal);
    callback(response);
  });
}

// Everything that has to be told is told from the loop, also what is known within the call.
void EndpointImpl::TellLater(absl::AnyInvocable<void()> call) {
  later_.push_back(std::move(call));
  UpdateBusy();
}

// ---- Barriers ----

absl::Status EndpointImpl::Barrier(const To* to, Scope scope, absl::Duration deadline,
                                   BarrierCallback callback) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (absl::Status status = CheckDeadline(deadline, callback != nullptr); !status.ok())
    return status;
  std::vector<core::Target> targets;
  if (to == nullptr) {
    core_.SelectLiving(scope, &targets);
  } else {
    targets.emplace_back();
    if (absl::Status status = core_.Resolve(*to, &targets.back()); !status.ok()) return status;
  }
  absl::Status status = core_.BeginBarrier(targets, DeadlineAt(deadline), &callback);
  UpdateBusy();
  return status;
}

// ---- Waiting for workers ----

absl::Status EndpointImpl::WhenWorkers(int count, absl::Duration deadline,
                                       WorkersCallback callback) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (absl::Status status = CheckDeadline(deadline, callback != nullptr); !status.ok())
    return status;
  const int workers_max = core_.roster().slots() - 1;
  if (count < 0 || count > workers_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the number of workers to wait for must be 0 to ", workers_max, ", was ", count));
  }
  waits_.push_back({count, DeadlineAt(deadline), std::move(callback)});
  CheckWaits(0);
  UpdateBusy();
  return absl::OkStatus();
}

// Ends the waits that are satisfied, and those whose deadline is at `now` or before.
void EndpointImpl::CheckWaits(std::uint64_t now) {
  if (waits_.empty()) return;
  const int live = core_.CountUp();
  for (Wait& wait : waits_) {
    if (live >= wait.count) {
      EndWait(&wait, absl::OkStatus());
    } else if (wait.deadline <= now) {
      EndWait(&wait, absl::DeadlineExceededError(
                         absl::StrCat("waited for ", wait.count, " workers, ", live, " live")));
    }
  }
  waits_.erase(std::remove_if(waits_.begin(), waits_.end(),
                              [](const Wait& wait) { return wait.callback == nullptr; }),
               waits_.end());
}

void EndpointImpl::EndWait(Wait* wait, absl::Status status) {
  TellLater([callback = std::exchange(wait->callback, nullptr),
             status = std::move(status)]() mutable { callback(status); });
}

void EndpointImpl::CancelWaits() {
  for (Wait& wait : waits_) EndWait(&wait, absl::CancelledError("the endpoint was closed"));
  waits_.clear();
}

// ---- The timer ----

// One timer, for the earliest of all deadlines. It is not put off when that one is gone by the time
// it fires: most requests end before their deadline.
void EndpointImpl::ArmWake() {
  std::uint64_t next = std::min(core_.next_deadline(), retry_at_);
  if (observer_ != nullptr) next = std::min(next, observer_->deadline());
  for (const Wait& wait : waits_) next = std::min(next, wait.deadline);
  if ((orphaned_ && AnyMayVanish()) || core_.WaitsFor(kMasterSlot)) next = std::min(next, ask_at_);
  if (next >= wake_at_) return;
  const std::uint64_t now = os::MonotonicNanos();
  const std::uint64_t left = next > now ? next - now : 0;
  // A timer that could not be had is asked for again in the next turn.
  if (pump_->WakeIn(left / kNanosPerMilli + 1) == 0) wake_at_ = next;
}

void EndpointImpl::OnWake() {
  if (!guard_.InOwner()) return;
  wake_at_ = core::kNever;
  const std::uint64_t now = os::MonotonicNanos();
  core_.Expire(now);
  CheckWaits(now);
  if (now >= ask_at_) AskForReaders(now);
  if (now >= retry_at_) Retry();
  UpdateBusy();
}

void EndpointImpl::RetryLater() {
  if (retry_at_ == core::kNever) retry_at_ = os::MonotonicNanos() + kRetryNanos;
}

// Which pipes are meant is not kept: to try those as well that are merely full costs a call each.
void EndpointImpl::Retry() {
  retry_at_ = core::kNever;
  read_failed_ = false;
  for (int slot = 0; slot < core_.roster().slots(); ++slot) {
    core_.Unblocked(slot);
    if (core_.HasOutput(slot)) core_.MarkDirty(slot);
  }
}

// ---- Without a master ----

void EndpointImpl::MasterGone() {
  orphaned_ = true;
  Leaving(kMasterSlot);
}

void EndpointImpl::Leaving(int slot) {
  leaving_read_ = false;
  if (std::find(leaving_.begin(), leaving_.end(), slot) == leaving_.end()) leaving_.push_back(slot);
}

// Whether somebody waits for what a worker does, which may have died unnoticed.
bool EndpointImpl::MayVanish(int slot) const {
  return core_.MayVanish(slot) ||
         (observer_ != nullptr && slot != wiring_.self.slot && observer_->WaitsFor(slot));
}

bool EndpointImpl::AnyMayVanish() const {
  for (int slot = 1; slot < core_.roster().slots(); ++slot) {
    if (MayVanish(slot)) return true;
  }
  return false;
}

// A death shows as a pipe that nobody reads, without a write that would show it as well. That the
// master is no endpoint any more is told by nobody, whether it lives or not.
void EndpointImpl::AskForReaders(std::uint64_t now) {
  ask_at_ = now + kAskEveryNanos;
  if (core_.WaitsFor(kMasterSlot) && !core_.roster().Get(kMasterSlot).lives()) Leaving(kMasterSlot);
  if (!orphaned_) return;
  for (int slot = 1; slot < core_.roster().slots(); ++slot) {
    if (MayVanish(slot) && !core_.IsGone(slot) &&
        os::HasNoReader(wiring_.outbox_fds[static_cast<std::size_t>(slot)]))
      Leaving(slot);
  }
}

// All that they have written before they died has been handed out.
void EndpointImpl::EndLeaving() {
  for (const int slot : std::exchange(leaving_, {})) {
    // A master that lives goes on telling of deaths.
    if (slot == kMasterSlot && !orphaned_) {
      core_.MasterClosed();
    } else {
      core_.PeerGone(slot);
    }
  }
}

}  // namespace alertpipe::internal
