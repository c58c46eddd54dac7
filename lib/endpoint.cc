// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/endpoint.h>

#include <utility>

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include "endpoint_impl.h"

namespace alertpipe {
namespace {

absl::Status NotAttached() {
  return absl::FailedPreconditionError("this endpoint is not attached to a loop");
}

template <typename Hook>
void SetHook(internal::EndpointImpl* impl, std::shared_ptr<Hook> internal::EndpointImpl::*place,
             Hook hook) {
  if (impl == nullptr) return;
  impl->CheckThread();
  impl->*place = hook ? std::make_shared<Hook>(std::move(hook)) : nullptr;
}

}  // namespace

std::string_view ToString(UndeliveredReason reason) {
  switch (reason) {
    case UndeliveredReason::kPeerDied:
      return "the receiver died";
    case UndeliveredReason::kReceiverFull:
      return "the receiver's budget for incomplete alerts is used up";
    case UndeliveredReason::kReceiverMemory:
      return "the receiver had no memory for it";
    case UndeliveredReason::kClosed:
      return "the sender was closed";
  }
  return "unknown";
}

Endpoint::Endpoint() = default;

Endpoint::~Endpoint() {
  if (impl_ != nullptr) impl_->Shutdown();
}

SendResult Endpoint::Send(To to, std::string_view name, std::string_view data) {
  return impl_ == nullptr ? SendResult(NotAttached()) : impl_->Send(to, name, data, nullptr);
}

SendResult Endpoint::SendOwned(To to, std::string_view name, Buffer data) {
  return impl_ == nullptr ? SendResult(NotAttached()) : impl_->Send(to, name, {}, &data);
}

BroadcastResult Endpoint::Broadcast(std::string_view name, std::string_view data, Scope scope) {
  return impl_ == nullptr ? BroadcastResult(NotAttached())
                          : impl_->Broadcast(name, data, nullptr, scope);
}

BroadcastResult Endpoint::BroadcastOwned(std::string_view name, Buffer data, Scope scope) {
  return impl_ == nullptr ? BroadcastResult(NotAttached())
                          : impl_->Broadcast(name, {}, &data, scope);
}

Result Endpoint::Flush() { return impl_ == nullptr ? NotAttached() : impl_->Flush(); }

SendResult Endpoint::Request(To to, std::string_view name, std::string_view data,
                             absl::Duration deadline, ResponseCallback callback) {
  if (impl_ == nullptr) return NotAttached();
  return impl_->Request(to, name, data, nullptr, deadline, std::move(callback));
}

SendResult Endpoint::RequestOwned(To to, std::string_view name, Buffer data,
                                  absl::Duration deadline, ResponseCallback callback) {
  if (impl_ == nullptr) return NotAttached();
  return impl_->Request(to, name, {}, &data, deadline, std::move(callback));
}

BroadcastResult Endpoint::Gather(std::string_view name, std::string_view data,
                                 absl::Duration deadline, ResponseCallback each, GatherDone done,
                                 Scope scope) {
  if (impl_ == nullptr) return BroadcastResult(NotAttached());
  return impl_->Gather(name, data, deadline, std::move(each), std::move(done), scope);
}

Result Endpoint::WhenWorkers(int count, absl::Duration deadline, WorkersCallback callback) {
  if (impl_ == nullptr) return NotAttached();
  return impl_->WhenWorkers(count, deadline, std::move(callback));
}

Result Endpoint::Barrier(absl::Duration deadline, BarrierCallback callback, Scope scope) {
  if (impl_ == nullptr) return NotAttached();
  return impl_->Barrier(nullptr, scope, deadline, std::move(callback));
}

Result Endpoint::Barrier(To to, absl::Duration deadline, BarrierCallback callback) {
  if (impl_ == nullptr) return NotAttached();
  return impl_->Barrier(&to, Scope::kOthers, deadline, std::move(callback));
}

std::size_t Endpoint::QueuedBytes() const {
  return impl_ == nullptr ? 0 : impl_->core().meter().queued_bytes();
}

std::size_t Endpoint::QueuedBytes(int slot) const {
  if (impl_ == nullptr || !impl_->core().roster().has(slot)) return 0;
  return impl_->core().queued_bytes(slot);
}

Result Endpoint::Receive(std::string_view name, Handler handler) {
  if (impl_ == nullptr) return NotAttached();
  if (absl::Status status = impl_->CheckHandlerName(name); !status.ok()) return status;
  impl_->handlers().Set(name, std::move(handler));
  return Result();
}

namespace {

template <typename Handlers>
Result ReceiveAll(internal::EndpointImpl* impl, const Handlers& handlers) {
  if (impl == nullptr) return NotAttached();
  for (const NamedHandler& entry : handlers) {
    if (absl::Status status = impl->CheckHandlerName(entry.name); !status.ok()) return status;
  }
  for (const NamedHandler& entry : handlers)
    impl->handlers().Set(entry.name, std::move(entry.handler));
  return Result();
}

}  // namespace

Result Endpoint::Receive(std::initializer_list<NamedHandler> handlers) {
  return ReceiveAll(impl_.get(), handlers);
}

Result Endpoint::Receive(const std::vector<NamedHandler>& handlers) {
  return ReceiveAll(impl_.get(), handlers);
}

Result Endpoint::ReceiveDefault(Handler handler) {
  if (impl_ == nullptr) return NotAttached();
  if (absl::Status status = impl_->CheckHandlerName({}); !status.ok()) return status;
  impl_->handlers().SetDefault(std::move(handler));
  return Result();
}

Result Endpoint::Remove(std::string_view name) {
  if (impl_ == nullptr) return NotAttached();
  if (absl::Status status = impl_->CheckHandlerName(name); !status.ok()) return status;
  if (impl_->handlers().Remove(name)) return Result();
  return absl::NotFoundError(absl::StrCat(
      "no handler for \"", absl::CHexEscape(absl::string_view(name.data(), name.size())), "\""));
}

void Endpoint::OnUndelivered(UndeliveredHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_undelivered, std::move(hook));
}
void Endpoint::OnHandlerError(HandlerErrorHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_handler_error, std::move(hook));
}
void Endpoint::OnDrained(PeerHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_drained, std::move(hook));
}
void Endpoint::OnJoined(PeerHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_joined, std::move(hook));
}
void Endpoint::OnLeft(PeerHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_left, std::move(hook));
}
void Endpoint::OnDamage(DamageHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_damage, std::move(hook));
}

void Endpoint::OnDiagnostic(DiagnosticHook hook) {
  SetHook(impl_.get(), &internal::EndpointImpl::on_diagnostic, std::move(hook));
}

Peer Endpoint::self() const { return impl_ == nullptr ? Peer() : impl_->core().self(); }

Peer Endpoint::master() const {
  if (impl_ == nullptr) return Peer();
  const core::RosterWord word = impl_->core().roster().Get(kMasterSlot);
  return {static_cast<pid_t>(word.pid), kMasterSlot, word.generation};
}

std::vector<Peer> Endpoint::Workers() const {
  return impl_ == nullptr ? std::vector<Peer>() : impl_->Workers();
}

Stats Endpoint::stats() const {
  // The counters of the master are not mapped in its workers.
  return impl_ == nullptr || !impl_->in_owner() ? Stats() : impl_->core().page().Snapshot();
}

Result Endpoint::Close(absl::Duration deadline, CloseHook done) {
  return impl_ == nullptr ? NotAttached() : impl_->Close(deadline, std::move(done));
}

}  // namespace alertpipe
