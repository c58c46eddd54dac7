// SPDX-License-Identifier: Apache-2.0
//
// A worker that its master replaces, as its loop sees it: told, draining (the rounds are the
// core's, endpoint_barrier.cc), closed.
#include <utility>

#include <absl/strings/str_cat.h>

#include "endpoint_impl.h"

namespace alertpipe::internal {

absl::Status EndpointImpl::Drain(Endpoint::CloseHook done) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (!core_.told_to_drain())
    return absl::FailedPreconditionError("this worker is not being replaced");
  if (core_.draining()) return absl::FailedPreconditionError("this worker drains already");
  drain_done_ = std::move(done);
  BeginDrain();
  return absl::OkStatus();
}

void EndpointImpl::BeginDrain() {
  if (observer_ != nullptr) observer_->OnDraining();
  core_.BeginDrain();
  pump_->KeepAlive();
  UpdateBusy();
}

void EndpointImpl::StepDrain() {
  if (!core_.draining() || state_ != State::kOpen) return;
  core_.StepDrain(requests_held_ > 0);
  if (!core_.drained() || ObserverHasWork()) return;
  undelivered_before_close_ = core_.page().alerts_undelivered.Get();
  close_done_ = std::exchange(drain_done_, nullptr);
  close_deadline_passed_ = true;
  state_ = State::kClosing;
}

}  // namespace alertpipe::internal
