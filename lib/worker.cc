// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/slot.h>
#include <alertpipe/worker.h>

#include <utility>

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include "child_side.h"
#include "endpoint_impl.h"
#include "family.h"
#include "os/calls.h"
#include "os/sigpipe.h"

namespace alertpipe {
namespace {

// How often a worker without pidfds asks whether its master lives.
constexpr uint64_t kLifelineCheckMs = 300;

}  // namespace

namespace internal {

std::weak_ptr<EndpointImpl>& CurrentWorker() {
  static auto* current = new std::weak_ptr<EndpointImpl>();
  return *current;
}

}  // namespace internal

Slot::Slot(std::unique_ptr<internal::ChildSide> side) : side_(std::move(side)) {}
Slot::Slot(Slot&&) noexcept = default;
Slot& Slot::operator=(Slot&&) noexcept = default;
Slot::~Slot() = default;

int Slot::number() const { return side_ == nullptr ? -1 : side_->slot; }
std::uint32_t Slot::generation() const { return side_ == nullptr ? 0 : side_->generation; }

Worker::Worker() = default;
Worker::~Worker() = default;

absl::StatusOr<std::unique_ptr<Worker>> Worker::Attach(Slot slot, uv_loop_s* loop,
                                                       AttachOptions options) {
  const std::unique_ptr<internal::ChildSide> side = std::move(slot.side_);
  if (side == nullptr) return absl::FailedPreconditionError("this slot was moved from");
  const absl::StatusOr<internal::Family*> entered = side->enter(loop);
  if (!entered.ok()) return entered.status();
  internal::Family* family = *entered;
  family->MakePrivate(side->slot);
  // Where a write can raise SIGPIPE, for the rest of the process: a peer can die at any time after
  // the master has.
  static auto* sigpipe = new os::SigpipeIgnore(family->kernel());
  (void)sigpipe;

  internal::Wiring wiring;
  wiring.roster = family->roster();
  wiring.self = {os::calls().getpid(), side->slot, side->generation};
  wiring.page = family->counters(side->slot);
  wiring.kernel = family->kernel();
  wiring.inbox_fd = family->inbox_fd(side->slot);
  wiring.outbox_fds = family->outbox_fds();
  wiring.events = family->events();
  auto impl = internal::EndpointImpl::Create(std::move(wiring));
  if (!impl.ok()) return impl.status();
  if (absl::Status status = (*impl)->Attach(loop, options); !status.ok()) return status;
  std::unique_ptr<Worker> worker(new Worker());
  worker->impl_ = *impl;
  internal::CurrentWorker() = *impl;

  os::Lifeline* lifeline = &family->lifeline();
  absl::Status status =
      (*impl)->WatchLifeline(lifeline->fd(), lifeline->by_pidfd() ? 0 : kLifelineCheckMs,
                             [lifeline] { return lifeline->MasterGone(); });
  if (!status.ok()) return status;
  return worker;
}

void Worker::OnDraining(DrainingHook hook) {
  impl_->on_draining = hook ? std::make_shared<PeerHook>(std::move(hook)) : nullptr;
}

Result Worker::Drain(CloseHook done) { return impl_->Drain(std::move(done)); }

void Worker::OnMasterGone(absl::AnyInvocable<void()> hook) {
  impl_->on_master_gone =
      hook ? std::make_shared<absl::AnyInvocable<void()>>(std::move(hook)) : nullptr;
}

}  // namespace alertpipe
