// SPDX-License-Identifier: Apache-2.0
//
// What has come: into the order book, if it has to wait there, or to the subscriptions.
#include <cxxabi.h>

#include <exception>
#include <utility>

#include "event_hub.h"

namespace alertpipe::internal {

absl::StatusOr<Buffer> Encoded(const core::EventRecord& head) {
  absl::StatusOr<Buffer> bytes = Buffer::Allocate(head.HeadBytes());
  if (bytes.ok()) head.EncodeHead(bytes->data());
  return bytes;
}

// ---- In ----

void EventHub::Handle(Alert* alert) {
  const std::shared_ptr<EventHub> alive = shared_from_this();
  core::EventRecord record;
  const Peer sender = alert->sender();
  if (!record.Decode(alert->data()) || record.kind == core::EventKind::kKept ||
      record.kind == core::EventKind::kMark) {
    endpoint_->diagnostics().Note(Diagnostic::Kind::kDamagedRecord, sender).value =
        alert->data().size();
    return;
  }
  if (record.kind == core::EventKind::kClaimed) {
    book_->Claimed(sender, record.number);
    look_ = true;
    return;
  }
  if (!record.ordered && !book_->Holds(sender)) {
    // Nothing has to be kept: the alert's own bytes will do.
    if (ready_ && queue_.empty() && !dispatching_)
      return HandOutNow(alert->data(), sender, 0, false);
    return HandOut({Buffer::Copy(alert->data()).value_or(Buffer()), sender, 0, false, nullptr});
  }
  // What finds no room is missing at its place.
  absl::StatusOr<Buffer> data = absl::ResourceExhaustedError("held_bytes_max");
  if (MayHold(alert->data().size())) data = alert->TakeData();
  if (!data.ok()) {
    Gap gap;
    gap.publisher = sender;
    gap.source = record.source;
    gap.name = record.name;
    gap.count = record.stands_for();
    return TellGap(gap);
  }
  look_ = true;
  book_->Hold({record.ordered ? record.number : 0, 0, sender, *std::move(data)});
}

// ---- Out ----

void EventHub::HandOut(Item item) {
  if (item.record.size() != 0 && (ready_ || MayHold(item.record.size())))
    return queue_.PushPosted(std::move(item));
  Gap gap;
  gap.publisher = item.publisher;
  core::EventRecord record;
  if (record.Decode(item.record.view())) {
    gap.source = record.source;
    gap.name = record.name;
  }
  gap.count = record.stands_for();
  TellGap(gap);
}

// Behind all that has come from `publisher` before.
void EventHub::PushGap(const Peer& publisher, std::string_view source, std::string_view name,
                       std::uint64_t count) {
  absl::StatusOr<Buffer> bytes = Encoded(core::EventRecord::Gap(source, name, count));
  if (!bytes.ok()) return TellLater({publisher, source, name, count});
  if (book_.has_value() && book_->Holds(publisher))
    return book_->Hold({0, 0, publisher, *std::move(bytes)});
  queue_.PushPosted({*std::move(bytes), publisher, 0, false, nullptr});
}

// Bounded by what is there now: what callbacks publish has its turn later.
void EventHub::HandOutQueue() {
  if (dispatching_ || !ready_) return;
  const std::shared_ptr<EventHub> alive = shared_from_this();
  Item item;
  int left = endpoint_ == nullptr ? -1 : endpoint_->alerts_per_turn_max();
  // A callback may have forked: the rest is not the child's.
  while (left-- != 0 && !ended_ && (endpoint_ == nullptr || endpoint_->in_owner()) &&
         queue_.Pop(&item)) {
    HandOutNow(item);
  }
}

void EventHub::HandOutNow(const Item& item) {
  if (item.call != nullptr) return (*item.call)();
  HandOutNow(item.record.view(), item.publisher, item.place, item.replayed);
}

void EventHub::HandOutNow(std::string_view bytes, const Peer& publisher, std::uint64_t place,
                          bool replayed) {
  core::EventRecord record;
  if (!record.Decode(bytes)) return;
  if (record.kind == core::EventKind::kMark) return TakeMark(record.number);
  if (record.kind == core::EventKind::kGap) {
    Gap gap;
    gap.publisher = publisher;
    gap.source = record.source;
    gap.name = record.name;
    gap.count = record.count;
    return TellGap(gap);
  }
  if (record.retained && !Retain(record, publisher, place) && replayed) return;
  if (record.kind == core::EventKind::kKept) return;
  Dispatch(record, publisher, place, replayed);
}

void EventHub::Dispatch(const core::EventRecord& record, const Peer& publisher, std::uint64_t place,
                        bool replayed) {
  const Event event{record.source, record.name, record.data, publisher, place, replayed};
  const bool outer = std::exchange(dispatching_, true);
  ++stats_.handled;
  const std::size_t called = subscriptions_.ForEach(
      record.source, record.name, [&](core::SubscriptionTable::Subscription& one) {
        Guarded(publisher, record, [&] { one.on_event(event); });
      });
  if (called == 0) ++stats_.unhandled;
  dispatching_ = outer;
}

void EventHub::TellGap(const Gap& gap) {
  const std::shared_ptr<EventHub> alive = shared_from_this();
  if (!ready_) return KeepGap(gap);
  stats_.gaps += gap.count;
  const bool outer = std::exchange(dispatching_, true);
  core::EventRecord record;
  record.source = gap.source;
  record.name = gap.name;
  const auto tell = [&](core::SubscriptionTable::Subscription& one) {
    if (one.on_gap) Guarded(gap.publisher, record, [&] { one.on_gap(gap); });
  };
  if (gap.source.empty()) {
    subscriptions_.ForAll(tell);
  } else {
    subscriptions_.ForEach(gap.source, gap.name, tell);
  }
  if (const Shared<GapCallback> hook = on_gap)
    Guarded(gap.publisher, record, [&] { (*hook)(gap); });
  dispatching_ = outer;
}

// Until Ready nobody listens, and nothing that comes later finds room: so a gap then stands behind
// all that is held of its publisher.
void EventHub::KeepGap(const Gap& gap) {
  const bool named = early_gaps_.size() < kEarlyGapsMax;
  const std::string source(named ? gap.source : std::string_view());
  const std::string name(named ? gap.name : std::string_view());
  EarlyGap& kept = early_gaps_[{gap.publisher.slot, gap.publisher.generation, source, name}];
  kept.publisher = gap.publisher;
  kept.count += gap.count;
}

// Behind all that is held, for want of memory for a place among it.
void EventHub::TellLater(const Gap& gap) {
  KeepGap(gap);
  if (ready_) QueueEarlyGaps();
}

void EventHub::QueueEarlyGaps() {
  auto call = std::make_shared<absl::AnyInvocable<void()>>([this] { TellEarlyGaps(); });
  queue_.PushPosted({Buffer(), self_, 0, false, std::move(call)});
}

void EventHub::TellEarlyGaps() {
  const auto gaps = std::exchange(early_gaps_, {});
  for (const auto& [key, kept] : gaps)
    TellGap({kept.publisher, std::get<2>(key), std::get<3>(key), kept.count});
}

// Calls a callback; what it throws is reported, and the others are called.
template <typename Call>
void EventHub::Guarded(const Peer& publisher, const core::EventRecord& record, Call call) {
  try {
    call();
  } catch (abi::__forced_unwind&) {
    throw;  // a cancelled thread, not an error
  } catch (...) {
    ++stats_.callback_errors;
    if (const auto hook = on_error) {
      const EventError error{publisher, record.source, record.name, std::current_exception()};
      [&]() noexcept { (*hook)(error); }();
    } else if (endpoint_ != nullptr) {
      const std::type_info* type = abi::__cxa_current_exception_type();
      endpoint_->diagnostics()
          .Note(Diagnostic::Kind::kHandlerThrew, publisher, 1, record.name)
          .exception = type != nullptr ? type->name() : "an unknown exception";
    }
  }
}

void EventHub::TellBarrier(BarrierCallback call, const BarrierReport& report) {
  core::EventRecord record;
  record.source = kOwnEventSource;
  Guarded(self_, record, [&] { call(report); });
}

// The library's own events about others: here only, since everybody hears of it.
void EventHub::TellAbout(std::string_view name, const Peer& peer) {
  core::EventRecord record;
  record.source = kOwnEventSource;
  record.name = name;
  absl::StatusOr<Buffer> bytes = Encoded(record);
  if (!bytes.ok()) return TellLater({peer, record.source, record.name, 1});
  // What has come from it before is handed out before.
  if (book_->Holds(peer)) return book_->Hold({0, 0, peer, *std::move(bytes)});
  HandOut({*std::move(bytes), peer, 0, false, nullptr});
}

}  // namespace alertpipe::internal
