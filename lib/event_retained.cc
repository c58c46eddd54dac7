// SPDX-License-Identifier: Apache-2.0
//
// Last values: everybody keeps those that it has heard, so that anybody can tell a newcomer. Which
// of two is the later one all decide alike: by place if they are ordered, else by the time of
// publication, which all read from one clock.
//
// A response to a request for them is a run of
//   u32 slot | u32 generation | u64 place | u32 bytes | the record
#include <utility>

#include <absl/strings/str_cat.h>

#include "core/bytes.h"
#include "event_hub.h"

namespace alertpipe::internal {
namespace {

constexpr std::size_t kValueHeadBytes = 4 + 4 + 8 + 4;

std::size_t BytesOf(const core::EventRecord& record) {
  return kValueHeadBytes + record.HeadBytes() + record.data.size();
}
std::size_t BytesOf(const std::string& record) { return kValueHeadBytes + record.size(); }

}  // namespace

// Whoever publishes finds out: everybody else has kept the same values, or fewer.
absl::Status EventHub::CheckRetain(const core::EventRecord& record) const {
  const auto kept = retained_.find({std::string(record.source), std::string(record.name)});
  const std::size_t freed = kept == retained_.end() ? 0 : BytesOf(kept->second.record);
  const std::size_t others = retained_bytes_ - freed;
  if (others + BytesOf(record) <= options_.retained_bytes_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "retained values are full: they may take ", options_.retained_bytes_max,
      " bytes (EventsOptions::retained_bytes_max; at most MasterOptions::alert_bytes_max, and half "
      "of queued_bytes_per_peer_max), ",
      others, " are kept of other events, this one needs ", BytesOf(record)));
}

// False if what is kept is as late, or later.
bool EventHub::Retain(const core::EventRecord& record, const Peer& publisher, std::uint64_t place) {
  auto kept = retained_.find({std::string(record.source), std::string(record.name)});
  if (kept != retained_.end()) {
    const Retained& old = kept->second;
    const bool later = place != old.place ? place > old.place : record.time_ns > old.time_ns;
    if (!later) return false;
  }
  const bool room = CheckRetain(record).ok();
  // An old value must not pass for the last.
  if (kept != retained_.end()) {
    retained_bytes_ -= BytesOf(kept->second.record);
    if (!room) retained_.erase(kept);
  }
  if (!room) {
    ++stats_.unretained;
    return true;
  }
  core::EventRecord value = record;
  value.kind = core::EventKind::kEvent;
  std::string bytes(value.HeadBytes(), '\0');
  value.EncodeHead(bytes.data());
  bytes.append(value.data);
  retained_bytes_ += BytesOf(bytes);
  retained_[{std::string(record.source), std::string(record.name)}] = {std::move(bytes), publisher,
                                                                       place, record.time_ns};
  return true;
}

void EventHub::HandleRetainedRequest(Alert* alert) {
  std::string values;
  values.reserve(retained_bytes_);
  for (const auto& [name, kept] : retained_) {
    char head[kValueHeadBytes];
    core::Store<std::uint32_t>(head, static_cast<std::uint32_t>(kept.publisher.slot));
    core::Store<std::uint32_t>(head + 4, kept.publisher.generation);
    core::Store<std::uint64_t>(head + 8, kept.place);
    core::Store<std::uint32_t>(head + 16, static_cast<std::uint32_t>(kept.record.size()));
    values.append(head, sizeof head).append(kept.record);
  }
  (void)alert->Respond(Buffer(std::move(values)));
}

absl::Status EventHub::FetchRetained(absl::Duration deadline,
                                     absl::AnyInvocable<void(const absl::Status&)> done) {
  if (endpoint_ == nullptr) return absl::UnavailableError("there is nobody to ask");
  struct Answers {
    std::vector<std::string> values;
    absl::Status failed = absl::UnavailableError("there is nobody to ask");
    absl::AnyInvocable<void(const absl::Status&)> done;
  };
  auto answers = std::make_shared<Answers>();
  answers->done = std::move(done);
  const std::weak_ptr<EventHub> weak = shared_from_this();
  const Peer self = self_;
  const BroadcastResult asked = endpoint_->Gather(
      core::kRetainedRequestName, {}, deadline,
      [answers, self](Response& response) {
        if (response.peer() == self) return;
        if (response.ok()) {
          answers->values.emplace_back(response.data());
        } else if (response.outcome() == ResponseOutcome::kDeadline) {
          answers->failed = response.status();
        }
      },
      [answers, weak] {
        const std::shared_ptr<EventHub> hub = weak.lock();
        if (hub == nullptr) return;
        for (const std::string& values : answers->values) hub->Replay(values);
        if (!answers->done) return;
        // Behind the last of them.
        auto call = std::make_shared<absl::AnyInvocable<void()>>([answers] {
          answers->done(answers->values.empty() ? answers->failed : absl::OkStatus());
        });
        hub->queue_.PushPosted({Buffer(), hub->self_, 0, false, std::move(call)});
        hub->Wake();
      },
      Scope::kFamily);
  return asked.status();
}

// What somebody else has kept, and nothing later has been heard of here.
void EventHub::Replay(std::string_view values) {
  while (values.size() >= kValueHeadBytes) {
    Peer publisher;
    publisher.slot = static_cast<int>(core::Load<std::uint32_t>(values.data()));
    publisher.generation = core::Load<std::uint32_t>(values.data() + 4);
    const auto place = core::Load<std::uint64_t>(values.data() + 8);
    const std::size_t bytes = core::Load<std::uint32_t>(values.data() + 16);
    values.remove_prefix(kValueHeadBytes);
    if (bytes > values.size()) return;
    const std::string_view value = values.substr(0, bytes);
    values.remove_prefix(bytes);
    core::EventRecord record;
    if (!record.Decode(value) || record.kind != core::EventKind::kEvent || !record.retained)
      continue;
    absl::StatusOr<Buffer> copy = Buffer::Copy(value);
    if (copy.ok()) {
      HandOut({*std::move(copy), publisher, place, true, nullptr});
    } else {
      TellLater({publisher, record.source, record.name, 1});
    }
  }
}

}  // namespace alertpipe::internal
