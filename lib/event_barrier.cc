// SPDX-License-Identifier: Apache-2.0
//
// Barriers of events. An endpoint's own barrier is passed when what was sent has arrived; an event
// may wait for long after that, for its place or for its receiver to be ready. So a barrier of
// events is a request, and each receiver answers it where it hands out events: a mark takes its
// place behind all that has come from the asker, in the book as in the queue.
#include <utility>

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "event_hub.h"

namespace alertpipe::internal {
namespace {

// What a response says.
constexpr std::string_view kPassed = "+";
constexpr std::string_view kNotPlaced = "-";

absl::Status NoMemory() { return absl::ResourceExhaustedError("no memory for a barrier's mark"); }

}  // namespace

struct EventHub::BarrierState {
  BarrierReport report;
  BarrierCallback callback;
  int left = 2;  // this process's own events, and the others' answers
  bool closed = false;
};

absl::Status EventHub::Barrier(absl::Duration deadline, BarrierCallback callback) {
  if (!callback) return absl::InvalidArgumentError("a barrier needs a callback");
  if (deadline <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a barrier's deadline must be above 0, was ", absl::FormatDuration(deadline)));
  }
  auto state = std::make_shared<BarrierState>();
  const std::weak_ptr<EventHub> weak = shared_from_this();
  if (endpoint_ == nullptr) {
    --state->left;
  } else {
    for (const auto& [slot, backlog] : backlogs_) {
      if (backlog.second.empty()) continue;
      return absl::ResourceExhaustedError(absl::StrCat(
          "events for slot ", slot, " wait here for room: OnDrained tells when there is some"));
    }
    const BroadcastResult asked = endpoint_->Gather(
        core::kEventBarrierName, {}, deadline,
        [state](Response& response) {
          state->closed = state->closed || response.outcome() == ResponseOutcome::kClosed;
          NoteAnswer(response, &state->report);
        },
        [state, weak] {
          // After Close nothing is handed out here either.
          if (state->closed) state->left = 1;
          EndBarrier(weak, state);
        },
        Scope::kOthers);
    if (!asked.ok()) return asked.status();
  }
  state->callback = std::move(callback);
  PushMark(self_, [state, weak, self = self_](bool placed) {
    if (!placed) NoteMissing(self, NoMemory(), &state->report);
    EndBarrier(weak, state);
  });
  Wake();
  if (endpoint_ == nullptr && ready_) HandOutQueue();
  return absl::OkStatus();
}

void EventHub::NoteMissing(const Peer& peer, const absl::Status& why, BarrierReport* report) {
  report->missing.push_back(peer);
  if (report->status.ok()) report->status = why;
}

// A process without events, or whose events have ended, has nothing to hand out.
void EventHub::NoteAnswer(const Response& response, BarrierReport* report) {
  switch (response.outcome()) {
    case ResponseOutcome::kUnhandled:
      return;
    case ResponseOutcome::kResponse:
      if (response.data() != kPassed) NoteMissing(response.peer(), NoMemory(), report);
      return;
    case ResponseOutcome::kPeerDied:
      report->died.push_back(response.peer());
      return;
    default:
      NoteMissing(response.peer(), response.status(), report);
  }
}

void EventHub::EndBarrier(const std::weak_ptr<EventHub>& weak,
                          const std::shared_ptr<BarrierState>& state) {
  if (--state->left != 0) return;
  const std::shared_ptr<EventHub> hub = weak.lock();
  if (hub == nullptr || hub->ended_) return;
  hub->TellBarrier(std::move(state->callback), state->report);
}

void EventHub::HandleBarrierRequest(Alert* alert) {
  auto token = std::make_shared<ResponseToken>(alert->TakeResponseToken());
  PushMark(alert->sender(),
           [token](bool placed) { (void)token->Respond(placed ? kPassed : kNotPlaced); });
  Wake();
}

// Behind all that has come from `sender`. Without memory for that: at the end of the queue.
void EventHub::PushMark(const Peer& sender, Mark mark) {
  const bool holds = book_.has_value() && book_->Holds(sender);
  core::EventRecord record;
  record.kind = core::EventKind::kMark;
  record.number = ++last_mark_;
  absl::StatusOr<Buffer> bytes = holds ? Encoded(record) : Buffer();
  if (!holds || !bytes.ok()) {
    auto call = std::make_shared<absl::AnyInvocable<void()>>(
        [mark = std::move(mark), placed = bytes.ok()]() mutable { mark(placed); });
    return queue_.PushPosted({Buffer(), sender, 0, false, std::move(call)});
  }
  marks_.emplace(record.number, std::move(mark));
  look_ = true;
  book_->Hold({0, 0, sender, *std::move(bytes)});
}

void EventHub::TakeMark(std::uint64_t number) {
  auto found = marks_.extract(number);
  if (!found.empty()) found.mapped()(true);
}

}  // namespace alertpipe::internal
