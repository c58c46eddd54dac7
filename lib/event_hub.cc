// SPDX-License-Identifier: Apache-2.0
#include "event_hub.h"

#include <algorithm>
#include <utility>

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "os/calls.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

// Of a process that tests its handlers.
constexpr int kTestingSlot = 1;
constexpr std::uint32_t kTestingKeysMax = 1024;
constexpr std::uint64_t kTestingTimeoutNs = 5000000000;
// Of claims before the end, should a hostile relative be faster each time.
constexpr int kLastStepsMax = 4096;

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

absl::Status CheckRule(const EventRule& rule) {
  for (const std::string* name : {&rule.source, &rule.name}) {
    if (!name->empty() && name->size() <= kEventNameBytesMax) continue;
    return absl::InvalidArgumentError(absl::StrCat("names in an EventRule must have 1 to ",
                                                   kEventNameBytesMax, " bytes, one has ",
                                                   name->size()));
  }
  if (rule.source == kAny && rule.name != kAny) {
    return absl::InvalidArgumentError(
        absl::StrCat("an EventRule for any source is for any event, not \"", rule.name, "\""));
  }
  if (rule.ordered && rule.overflow == Overflow::kCoalesce) {
    return absl::InvalidArgumentError(
        absl::StrCat("events of \"", rule.source, "\", \"", rule.name,
                     "\" cannot be ordered and coalesce: what is replaced loses its place"));
  }
  return absl::OkStatus();
}

}  // namespace

EventHub::EventHub(std::shared_ptr<EndpointImpl> endpoint, EventsOptions options)
    : endpoint_(std::move(endpoint)), options_(std::move(options)) {}

EventHub::~EventHub() = default;

absl::StatusOr<std::shared_ptr<EventHub>> EventHub::Create(std::shared_ptr<EndpointImpl> endpoint,
                                                           EventsOptions options) {
  for (const EventRule& rule : options.rules) {
    if (absl::Status status = CheckRule(rule); !status.ok()) return status;
  }
  if (options.order_patience < absl::ZeroDuration() || options.order_patience > absl::Hours(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("EventsOptions::order_patience must be 0 to 1h, was ",
                     absl::FormatDuration(options.order_patience)));
  }
  std::shared_ptr<EventHub> hub(new EventHub(std::move(endpoint), std::move(options)));
  EndpointImpl* impl = hub->endpoint_.get();
  if (impl == nullptr) {
    hub->self_ = {os::calls().getpid(), kTestingSlot, 1};
    const std::size_t bytes = core::UniqueTable::Bytes(2, kTestingKeysMax);
    hub->testing_memory_ = std::make_unique<char[]>(bytes);
    hub->unique_ = core::UniqueTable(hub->testing_memory_.get(), 2, kTestingKeysMax, kTestingSlot);
    hub->unique_timeout_ns_ = kTestingTimeoutNs;
    return hub;
  }
  if (absl::Status open = impl->CheckOpen(); !open.ok()) return open;
  if (impl->was_observed()) {
    return absl::FailedPreconditionError(
        "this endpoint has its Events already, or had them: events are numbered once");
  }
  const Wiring& wiring = impl->wiring();
  if (!wiring.events.valid()) {
    return absl::FailedPreconditionError(
        "this family has no events: MasterOptions::events is not set");
  }
  hub->self_ = wiring.self;
  const core::FamilySettings& settings = wiring.roster.settings();
  std::uint64_t& retained_max = hub->options_.retained_bytes_max;
  retained_max =
      std::min({retained_max, settings.alert_bytes_max, settings.queued_bytes_per_peer_max / 2});
  const int slots = wiring.roster.slots();
  hub->claim_owed_.resize(static_cast<std::size_t>(slots));
  hub->publisher_.emplace(wiring.events.ring(), hub->self_, slots);
  // The master gets what it publishes itself, and that is still to come.
  const std::uint64_t start = hub->self_.is_master() ? wiring.events.ring().Settle()
                                                     : wiring.events.StartOf(hub->self_.slot);
  hub->book_.emplace(wiring.events.ring(), hub->self_, slots, start);
  hub->unique_ = wiring.events.unique(hub->self_.slot);
  hub->unique_timeout_ns_ = settings.unique_timeout_ns;
  EventHub* raw = hub.get();
  impl->handlers().Set(core::kEventAlertName, [raw](Alert& alert) { raw->Handle(&alert); });
  impl->handlers().Set(core::kRetainedRequestName,
                       [raw](Alert& alert) { raw->HandleRetainedRequest(&alert); });
  impl->handlers().Set(core::kEventBarrierName,
                       [raw](Alert& alert) { raw->HandleBarrierRequest(&alert); });
  impl->Observe(raw);
  return hub;
}

// ---- Subscriptions ----

absl::StatusOr<SubscriptionId> EventHub::Subscribe(std::string_view source, std::string_view name,
                                                   EventCallback callback, GapCallback on_missed) {
  if (!callback) return absl::InvalidArgumentError("a subscription needs a callback");
  for (const std::string_view one : {source, name}) {
    if (!one.empty() && one.size() <= kEventNameBytesMax) continue;
    return absl::InvalidArgumentError(absl::StrCat("names of sources and events must have 1 to ",
                                                   kEventNameBytesMax, " bytes, one has ",
                                                   one.size()));
  }
  if (source == kAny && name != kAny) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a subscription to any source is one to any event, not to \"", View(name), "\""));
  }
  return subscriptions_.Add(source, name, std::move(callback), std::move(on_missed));
}

absl::Status EventHub::Unsubscribe(SubscriptionId id) {
  if (subscriptions_.Remove(id)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no subscription ", id));
}

// ---- Life ----

absl::Status EventHub::Ready() {
  if (endpoint_ != nullptr) {
    if (absl::Status open = endpoint_->CheckOpen(); !open.ok()) return open;
  }
  if (ready_) return absl::FailedPreconditionError("Ready has been called before");
  ready_ = true;
  if (!early_gaps_.empty()) QueueEarlyGaps();
  PublishOwn(kStartedEvent);
  Wake();
  if (endpoint_ == nullptr) HandOutQueue();
  return absl::OkStatus();
}

PollResult EventHub::Poll() {
  if (dispatching_ || (endpoint_ != nullptr && endpoint_->handling()))
    return PollResult::kRecursive;
  const std::shared_ptr<EventHub> alive = shared_from_this();
  if (endpoint_ == nullptr) {
    HandOutQueue();
  } else {
    endpoint_->Poll();
  }
  return PollResult::kDone;
}

void EventHub::OnClosing() {
  if (!std::exchange(stopped_, true) && ready_) PublishOwn(kStoppingEvent);
  if (!publisher_->pending()) return;
  ClaimRest();
  for (char& owed : claim_owed_) owed = 1;
  TellClaimed();
}

// What has been written and is not claimed yet: nobody is waited for any more.
void EventHub::ClaimRest() {
  const core::Endpoint& core = endpoint_->core();
  for (int steps = 0; steps < kLastStepsMax && publisher_->pending(); ++steps) {
    publisher_->Close();
    if (!publisher_->HasLeft(core)) publisher_->StopWaiting(core);
    (void)publisher_->Step();
  }
}

// The loop may be gone: nothing is sent. This process's death makes others look.
void EventHub::OnLastWords() { ClaimRest(); }

void EventHub::End() {
  const std::shared_ptr<EventHub> alive = shared_from_this();
  if (endpoint_ != nullptr) endpoint_->Observe(nullptr);
  if (endpoint_ != nullptr && endpoint_->in_owner()) {
    if (endpoint_->IsOpen()) OnClosing();
    endpoint_->handlers().Remove(core::kEventAlertName);
    endpoint_->handlers().Remove(core::kRetainedRequestName);
    endpoint_->handlers().Remove(core::kEventBarrierName);
    endpoint_->WithholdEvents();
  }
  ended_ = true;
  subscriptions_.Clear();
  queue_.Clear();
  marks_.clear();
  on_error.reset();
  on_gap.reset();
}

void EventHub::Wake() {
  if (endpoint_ != nullptr) endpoint_->Wake();
}

void EventHub::OnDraining() {
  if (!std::exchange(stopped_, true) && ready_) PublishOwn(kStoppingEvent);
}

void EventHub::OnJoined(const Peer& peer) { TellAbout(kJoinedEvent, peer); }

void EventHub::OnLeft(const Peer& peer) { TellAbout(kLeftEvent, peer); }

void EventHub::OnDied(const Peer& last) {
  book_->PublisherDied(last.slot, last.generation);
  look_ = true;
  const auto found = backlogs_.find(last.slot);
  if (found == backlogs_.end() || found->second.first > last.generation) return;
  backlog_bytes_ -= found->second.second.bytes();
  backlogs_.erase(found);
}

EventsStats EventHub::stats() const {
  EventsStats stats = stats_;
  stats.held_bytes =
      queue_.bytes() + backlog_bytes_ + (book_.has_value() ? book_->held_bytes() : 0);
  return stats;
}

bool EventHub::MayHold(std::size_t bytes) const {
  return stats().held_bytes + bytes <= options_.held_bytes_max;
}

// ---- Turns ----

bool EventHub::HasWork() const {
  return WantsTurn() || ordered_ready() || book_->held() > 0 || book_->wants_read() ||
         retry_at_ != core::kNever;
}

bool EventHub::WantsTurn() const {
  const bool queued = ready_ ? !queue_.empty() : false;
  return queued || look_ || flush_backlogs_ || owes_claims_ || (ordered_ready() && !waiting_);
}

void EventHub::OnTurn() {
  const std::shared_ptr<EventHub> alive = shared_from_this();
  if (retry_at_ != core::kNever && retry_at_ <= os::MonotonicNanos()) {
    retry_at_ = core::kNever;
    flush_backlogs_ = true;
    if (publisher_->claimed() > 0) owes_claims_ = true;
  }
  if (std::exchange(flush_backlogs_, false)) {
    std::vector<Peer> peers;
    for (const auto& [slot, backlog] : backlogs_) peers.push_back({0, slot, backlog.first});
    for (const Peer& peer : peers) FlushBacklog(peer);
  }
  StepOrder();
  if (owes_claims_) TellClaimed();
  StepBook();
  if (ready_ && !ended_) HandOutQueue();
}

}  // namespace alertpipe::internal
