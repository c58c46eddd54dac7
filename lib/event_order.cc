// SPDX-License-Identifier: Apache-2.0
//
// The one order at work: at the end of each turn what was published ordered in it has been written
// to all whose pipes had room, gets its places in the ring, and everybody is told to look.
#include <absl/time/time.h>

#include "event_hub.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

constexpr int kClaimStepsMax = 4096;

std::uint64_t Nanos(absl::Duration duration) {
  return static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(duration));
}

}  // namespace

// Claims places for a batch as soon as it has left, or nobody is waited for any longer.
void EventHub::StepOrder() {
  if (!ordered_ready()) return;
  const core::Endpoint& core = endpoint_->core();
  publisher_->Close();
  if (!publisher_->HasLeft(core)) {
    const std::uint64_t now = os::MonotonicNanos();
    if (!waiting_) {
      waiting_ = true;
      wait_until_ = now + Nanos(options_.order_patience);
    }
    if (now < wait_until_) return;
    publisher_->StopWaiting(core);
  }
  waiting_ = false;
  wait_until_ = core::kNever;
  // Others can only be faster so often, unless one of them means harm: then it goes on next turn.
  for (int steps = 0; steps < kClaimStepsMax && publisher_->Step(); ++steps) {
  }
  if (publisher_->closed()) return;
  owes_claims_ = true;
  for (char& owed : claim_owed_) owed = 1;
  look_ = true;
}

// Whoever does not hear of it in time looks at the ring when something else comes, or when this
// process dies.
void EventHub::TellClaimed() {
  owes_claims_ = false;
  core::EventRecord record;
  record.kind = core::EventKind::kClaimed;
  record.number = publisher_->claimed();
  char bytes[core::EventRecord::kBytesMax];
  const std::string_view data(bytes, record.EncodeHead(bytes));
  std::vector<core::Target> targets;
  endpoint_->core().SelectLiving(Scope::kOthers, &targets);
  for (const core::Target& target : targets) {
    char& owed = claim_owed_[static_cast<std::size_t>(target.slot)];
    if (owed == 0) continue;
    const Peer peer{static_cast<pid_t>(target.word.pid), target.slot, target.word.generation};
    const SendResult sent = endpoint_->Send(To(peer), core::kEventAlertName, data, nullptr);
    // One whose queue is full is told when that is empty.
    owed = absl::IsResourceExhausted(sent.status()) ? 1 : 0;
    if (owed != 0) RetryLater();
  }
}

// Takes out of the book what has got its place.
void EventHub::StepBook() {
  look_ = false;
  const core::Inbox& inbox = endpoint_->core().inbox();
  if (inbox.found_empty() && !inbox.pending() && !endpoint_->read_failed())
    book_->HasRead(inbox.reads());
  book_->Look(inbox.reads());
  core::OrderBook::Item item;
  for (;;) {
    switch (book_->Next(&item)) {
      case core::OrderBook::Release::kNothing:
        // One that is stopped after it has claimed a place tells nobody to look.
        look_at_ = book_->held() == 0 ? core::kNever
                                      : os::MonotonicNanos() + Nanos(options_.order_patience);
        return;
      case core::OrderBook::Release::kEvent:
        queue_.PushPosted({std::move(item.data), item.publisher, item.place, false, nullptr});
        break;
      case core::OrderBook::Release::kLate: {
        ++stats_.late;
        core::EventRecord record;
        (void)record.Decode(item.data.view());
        absl::StatusOr<Buffer> gap = Encoded(core::EventRecord::Gap(record.source, record.name, 1));
        if (!gap.ok()) {
          TellLater({item.publisher, record.source, record.name, 1});
          break;
        }
        queue_.PushPosted({*std::move(gap), item.publisher, 0, false, nullptr});
        break;
      }
      case core::OrderBook::Release::kWithdrawn:
        ++stats_.withdrawn;
        break;
    }
  }
}

}  // namespace alertpipe::internal
