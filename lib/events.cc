// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/events.h>

#include <utility>

#include "event_hub.h"

namespace alertpipe {

ScopedSubscription::ScopedSubscription(std::weak_ptr<internal::EventHub> hub, SubscriptionId id)
    : hub_(std::move(hub)), id_(id) {}

ScopedSubscription::ScopedSubscription(ScopedSubscription&& other) noexcept
    : hub_(std::move(other.hub_)), id_(std::exchange(other.id_, 0)) {}

ScopedSubscription& ScopedSubscription::operator=(ScopedSubscription&& other) noexcept {
  if (this == &other) return *this;
  ScopedSubscription old(std::move(*this));
  hub_ = std::move(other.hub_);
  id_ = std::exchange(other.id_, 0);
  return *this;
}

ScopedSubscription::~ScopedSubscription() {
  if (id_ == 0) return;
  if (const auto hub = hub_.lock()) (void)hub->Unsubscribe(id_);
}

Events::Events(std::shared_ptr<internal::EventHub> hub) : hub_(std::move(hub)) {}

Events::~Events() { hub_->End(); }

absl::StatusOr<std::unique_ptr<Events>> Events::Attach(Endpoint* endpoint, EventsOptions options) {
  if (endpoint == nullptr || endpoint->impl_ == nullptr)
    return absl::FailedPreconditionError("this endpoint is not attached to a loop");
  auto hub = internal::EventHub::Create(endpoint->impl_, std::move(options));
  if (!hub.ok()) return hub.status();
  return std::unique_ptr<Events>(new Events(*std::move(hub)));
}

absl::StatusOr<std::unique_ptr<Events>> Events::ForTesting(EventsOptions options) {
  auto hub = internal::EventHub::Create(nullptr, std::move(options));
  if (!hub.ok()) return hub.status();
  return std::unique_ptr<Events>(new Events(*std::move(hub)));
}

PublishResult Events::Publish(const Audience& audience, std::string_view source,
                              std::string_view name, std::string_view data,
                              const PublishOptions& options) {
  return hub_->Publish(audience, source, name, data, options);
}

absl::StatusOr<SubscriptionId> Events::Subscribe(std::string_view source, std::string_view name,
                                                 EventCallback on_event, GapCallback on_gap) {
  return hub_->Subscribe(source, name, std::move(on_event), std::move(on_gap));
}

Result Events::Unsubscribe(SubscriptionId id) { return hub_->Unsubscribe(id); }

absl::StatusOr<ScopedSubscription> Events::SubscribeScoped(std::string_view source,
                                                           std::string_view name,
                                                           EventCallback on_event,
                                                           GapCallback on_gap) {
  const auto id = hub_->Subscribe(source, name, std::move(on_event), std::move(on_gap));
  if (!id.ok()) return id.status();
  return ScopedSubscription(hub_, *id);
}

Result Events::Ready() { return hub_->Ready(); }

bool Events::ready() const { return hub_->ready(); }

Result Events::FetchRetained(absl::Duration deadline,
                             absl::AnyInvocable<void(const absl::Status&)> done) {
  return hub_->FetchRetained(deadline, std::move(done));
}

Result Events::Barrier(absl::Duration deadline, BarrierCallback callback) {
  return hub_->Barrier(deadline, std::move(callback));
}

PollResult Events::Poll() { return hub_->Poll(); }

void Events::OnError(absl::AnyInvocable<void(const EventError&)> hook) {
  hub_->on_error =
      hook ? std::make_shared<absl::AnyInvocable<void(const EventError&)>>(std::move(hook))
           : nullptr;
}

void Events::OnGap(GapCallback hook) {
  hub_->on_gap = hook ? std::make_shared<GapCallback>(std::move(hook)) : nullptr;
}

EventsStats Events::stats() const { return hub_->stats(); }

}  // namespace alertpipe
