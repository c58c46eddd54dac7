// SPDX-License-Identifier: Apache-2.0
//
// Publications: whom they are for, what the rules say, and what becomes of those for whom there is
// no room.
#include <algorithm>
#include <functional>
#include <utility>

#include <absl/strings/str_cat.h>

#include "event_hub.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

// Each time somebody else has claimed another key: so often only if one of them means harm.
constexpr int kClaimsMax = 10000;
// Until memory may be there again.
constexpr std::uint64_t kRetryNanos = 10000000;

absl::Status CheckName(absl::string_view what, std::string_view name) {
  if (name.empty() || name.size() > kEventNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the name of ", what, " must have 1 to ", kEventNameBytesMax, " bytes, has ", name.size()));
  }
  if (name == kAny) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name of ", what, " cannot be \"*\": that means any"));
  }
  return absl::OkStatus();
}

}  // namespace

struct EventHub::Draft {
  core::EventRecord record;
  const EventRule* rule = nullptr;
  std::string_view key;
  std::string_view message;  // the record, encoded
};

absl::Status EventHub::CheckPublish(std::string_view source, std::string_view name,
                                    std::string_view data, const PublishOptions& options) const {
  if (endpoint_ != nullptr) {
    if (absl::Status open = endpoint_->CheckOpen(); !open.ok()) return open;
  }
  if (absl::Status status = CheckName("a source", source); !status.ok()) return status;
  if (absl::Status status = CheckName("an event", name); !status.ok()) return status;
  if (options.key.size() > kEventNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "PublishOptions::key can have ", kEventNameBytesMax, " bytes, has ", options.key.size()));
  }
  if (endpoint_ != nullptr) {
    const std::size_t bytes = core::EventRecord::kBytesMax + data.size();
    if (absl::Status status = endpoint_->core().CheckContent(core::kEventAlertName, bytes);
        !status.ok())
      return status;
  }
  if (options_.data_bytes_max != 0 && data.size() > options_.data_bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("event data length cannot exceed ", options_.data_bytes_max,
                     " bytes (EventsOptions::data_bytes_max), was ", data.size()));
  }
  return absl::OkStatus();
}

// The most particular rule that fits.
const EventRule& EventHub::RuleFor(std::string_view source, std::string_view name) const {
  static const auto* const none = new EventRule();
  const EventRule* best = none;
  int best_fit = -1;
  for (const EventRule& rule : options_.rules) {
    if ((rule.source != kAny && rule.source != source) || (rule.name != kAny && rule.name != name))
      continue;
    const int fit = (rule.source != kAny ? 1 : 0) + (rule.name != kAny ? 1 : 0);
    if (fit > best_fit) best = &rule;
    best_fit = std::max(best_fit, fit);
  }
  return *best;
}

PublishResult EventHub::Publish(const Audience& audience, std::string_view source,
                                std::string_view name, std::string_view data,
                                const PublishOptions& options) {
  const std::shared_ptr<EventHub> alive = shared_from_this();
  absl::Status status = CheckPublish(source, name, data, options);
  if (status.ok() && source == kOwnEventSource) {
    status = absl::InvalidArgumentError(
        absl::StrCat("the source \"", std::string(kOwnEventSource), "\" is the library's own"));
  }
  if (!status.ok()) {
    ++stats_.refused;
    return status;
  }
  Draft draft;
  draft.rule = &RuleFor(source, name);
  draft.key = options.key;
  draft.record.source = source;
  draft.record.name = name;
  draft.record.data = data;
  draft.record.retained = options.retain;
  if (audience.kind() == Audience::Kind::kLocal) draft.record.retained = false;
  if (draft.record.retained) {
    draft.record.time_ns = os::MonotonicNanos();
    if (absl::Status room = CheckRetain(draft.record); !room.ok()) {
      ++stats_.refused;
      return room;
    }
  }
  PublishResult result;
  switch (audience.kind()) {
    case Audience::Kind::kAll:
    case Audience::Kind::kOthers:
      result = PublishToMany(&draft, audience.kind() == Audience::Kind::kOthers);
      break;
    case Audience::Kind::kLocal:
      result = PublishHere(&draft, true);
      break;
    case Audience::Kind::kOne:
      result = PublishToOne(&draft, audience.to());
      break;
    case Audience::Kind::kUnique:
      result = PublishUnique(&draft, audience.key());
      break;
  }
  if (!result.duplicate) ++(result.ok() ? stats_.published : stats_.refused);
  Wake();
  if (endpoint_ == nullptr && ready_) HandOutQueue();
  return result;
}

namespace {

// The record as it travels.
std::string_view Compose(const core::EventRecord& record, std::string* into) {
  into->resize(record.HeadBytes());
  record.EncodeHead(into->data());
  into->append(record.data);
  return *into;
}

}  // namespace

// ---- To this process ----

bool EventHub::IsSelf(const To& to) const {
  switch (to.kind()) {
    case To::Kind::kPid:
      return to.pid() == self_.pid;
    case To::Kind::kSlot:
      return to.slot() == self_.slot;
    case To::Kind::kPeer:
      return to.slot() == self_.slot && to.generation() == self_.generation;
    case To::Kind::kAnyWorker:
      break;
  }
  return false;
}

// False when memory is short.
bool EventHub::KeepOwn(const Draft& draft, bool local) {
  absl::StatusOr<Buffer> copy = Buffer::Copy(draft.message);
  if (!copy.ok()) return false;
  const core::EventRecord& record = draft.record;
  if (local) {
    queue_.PushLocal({*std::move(copy), Peer(), 0, false, nullptr});
  } else if (book_.has_value() && (record.ordered || book_->Holds(self_))) {
    book_->Hold({record.number, 0, self_, *std::move(copy)});
  } else {
    const std::uint64_t place = record.ordered ? ++testing_place_ : 0;
    queue_.PushPosted({*std::move(copy), self_, place, false, nullptr});
  }
  return true;
}

// What others get, and this process only keeps: in its place, if it has one.
void EventHub::KeepForRetention(Draft* draft) {
  draft->record.kind = core::EventKind::kKept;
  draft->message = Compose(draft->record, &scratch_);
  if (!MayHold(draft->message.size()) || !KeepOwn(*draft, false)) ++stats_.unretained;
}

PublishResult EventHub::PublishHere(Draft* draft, bool local) {
  draft->message = Compose(draft->record, &scratch_);
  if (!MayHold(draft->message.size())) {
    return absl::ResourceExhaustedError(
        absl::StrCat("events that wait here are full: EventsOptions::held_bytes_max is ",
                     options_.held_bytes_max, " bytes, ", stats().held_bytes,
                     " are held, the event needs ", draft->message.size(), " more"));
  }
  if (!KeepOwn(*draft, local)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for an event of ", draft->message.size(), " bytes"));
  }
  PublishResult result;
  result.accepted = 1;
  return result;
}

// ---- To others ----

PublishResult EventHub::PublishToOne(Draft* draft, const To& to) {
  if (IsSelf(to)) return PublishHere(draft, false);
  if (endpoint_ == nullptr) {
    return absl::NotFoundError("there is no other process: these Events are for testing");
  }
  core::Target target;
  if (absl::Status status = endpoint_->core().Resolve(to, &target); !status.ok()) return status;
  draft->message = Compose(draft->record, &scratch_);
  const Peer peer{static_cast<pid_t>(target.word.pid), target.slot, target.word.generation};
  PublishResult result;
  SendTo(peer, *draft, &result);
  if (result.accepted == 0 && result.gaps == 0 && !result.refused.empty())
    return result.refused.front().status;
  return result;
}

PublishResult EventHub::PublishToMany(Draft* draft, bool others_only) {
  draft->record.ordered = draft->rule->ordered;
  if (endpoint_ == nullptr) {
    draft->record.number = 1;
    return others_only ? PublishResult() : PublishHere(draft, false);
  }
  if (absl::Status may = endpoint_->core().CheckMaySend(); !may.ok()) return may;
  if (draft->record.ordered) draft->record.number = publisher_->Number();
  draft->message = Compose(draft->record, &scratch_);
  PublishResult result;
  if (backlogs_.empty()) {
    accepted_.clear();
    BroadcastResult sent =
        endpoint_->Broadcast(core::kEventAlertName, draft->message, Scope::kOthers,
                             draft->record.ordered ? &accepted_ : nullptr);
    if (!sent.ok()) return sent.status();
    result.accepted = sent.accepted;
    for (const EndpointImpl::Accepted& one : accepted_)
      publisher_->Sent(one.slot, one.generation, one.alert_id);
    for (const Refusal& refusal : sent.refused)
      Overflowed(refusal.peer, *draft, refusal.status, &result);
  } else {
    std::vector<core::Target> targets;
    endpoint_->core().Select(Scope::kOthers, &targets);
    for (const core::Target& target : targets)
      SendTo({static_cast<pid_t>(target.word.pid), target.slot, target.word.generation}, *draft,
             &result);
  }
  if (others_only) {
    if (draft->record.retained) KeepForRetention(draft);
    return result;
  }
  if (MayHold(draft->message.size()) && KeepOwn(*draft, false)) {
    ++result.accepted;
  } else {
    Overflowed(self_, *draft, absl::ResourceExhaustedError("events that wait here are full"),
               &result);
  }
  return result;
}

void EventHub::SendTo(const Peer& peer, const Draft& draft, PublishResult* result) {
  EventBacklog* backlog = BacklogOf(peer);
  if (backlog != nullptr) {
    // What waits there came first.
    FlushBacklog(peer);
    backlog = BacklogOf(peer);
  }
  if (backlog != nullptr) {
    return Overflowed(peer, draft, absl::ResourceExhaustedError("earlier events wait"), result);
  }
  const SendResult sent = endpoint_->Send(To(peer), core::kEventAlertName, draft.message, nullptr);
  if (!sent.ok()) return Overflowed(peer, draft, sent.status(), result);
  ++result->accepted;
  if (draft.record.ordered) publisher_->Sent(peer.slot, peer.generation, sent.alert_id());
}

// ---- No room ----

EventBacklog* EventHub::BacklogOf(const Peer& peer) {
  const auto found = backlogs_.find(peer.slot);
  if (found == backlogs_.end() || found->second.first != peer.generation) return nullptr;
  return &found->second.second;
}

void EventHub::Overflowed(const Peer& peer, const Draft& draft, const absl::Status& why,
                          PublishResult* result) {
  const Overflow overflow = draft.rule->overflow;
  const bool full = absl::IsResourceExhausted(why);
  if (!full || (overflow == Overflow::kRefuse && !draft.record.ordered)) {
    result->refused.push_back({peer, why});
    return;
  }
  if (peer == self_) {
    ++result->gaps;
    return PushGap(self_, draft.record.source, draft.record.name, 1);
  }
  auto& [generation, backlog] = backlogs_[peer.slot];
  if (generation != peer.generation) {
    backlog_bytes_ -= backlog.bytes();
    backlog = EventBacklog();
    generation = peer.generation;
  }
  const std::size_t before = backlog.bytes();
  if (overflow == Overflow::kCoalesce && MayHold(draft.message.size())) {
    if (backlog.PutValue(draft.record.source, draft.record.name, draft.key,
                         std::string(draft.message)))
      ++stats_.coalesced;
    ++result->accepted;
    ++result->waiting;
  } else {
    backlog.AddGap(draft.record.source, draft.record.name, 1);
    ++result->gaps;
    if (overflow == Overflow::kRefuse) result->refused.push_back({peer, why});
  }
  backlog_bytes_ += backlog.bytes() - before;
  RetryLater();
}

// Nothing was queued for anybody, so memory was short: no queue that empties will tell when to try
// again.
void EventHub::RetryLater() {
  if (endpoint_->core().AllWritten()) retry_at_ = os::MonotonicNanos() + kRetryNanos;
}

void EventHub::FlushBacklog(const Peer& peer) {
  EventBacklog* backlog = BacklogOf(peer);
  while (backlog != nullptr && !backlog->empty()) {
    const EventBacklog::Entry& entry = backlog->front();
    std::string bytes;
    if (entry.is_gap)
      Compose(core::EventRecord::Gap(entry.source, entry.name, entry.missed), &bytes);
    const std::string& message = entry.is_gap ? bytes : entry.record;
    const SendResult sent = endpoint_->Send(To(peer), core::kEventAlertName, message, nullptr);
    if (absl::IsResourceExhausted(sent.status())) return RetryLater();
    if (absl::IsFailedPrecondition(sent.status())) return;
    // A value that fits into no queue is missing there for good.
    const bool lost = absl::IsInvalidArgument(sent.status()) && !entry.is_gap;
    if (lost) backlog->AddGap(std::string(entry.source), std::string(entry.name), 1);
    backlog_bytes_ -= backlog->bytes();
    backlog->PopFront();
    backlog_bytes_ += backlog->bytes();
  }
  if (backlog != nullptr) backlogs_.erase(peer.slot);
}

void EventHub::OnDrained(const Peer& peer) {
  if (backlogs_.count(peer.slot) > 0) flush_backlogs_ = true;
  if (claim_owed_[static_cast<std::size_t>(peer.slot)] != 0 && publisher_->claimed() > 0)
    owes_claims_ = true;
}

// What the receiver could not take is missing there.
bool EventHub::OnUndelivered(const Undelivered& undelivered) {
  if (undelivered.name != core::kEventAlertName) return false;
  const bool lives = undelivered.reason == UndeliveredReason::kReceiverFull ||
                     undelivered.reason == UndeliveredReason::kReceiverMemory;
  core::EventRecord record;
  if (!lives) return true;
  if (undelivered.has_data) (void)record.Decode(undelivered.data);
  auto& [generation, backlog] = backlogs_[undelivered.peer.slot];
  if (generation > undelivered.peer.generation) return true;  // its successor has come
  if (generation != undelivered.peer.generation) {
    backlog_bytes_ -= backlog.bytes();
    backlog = EventBacklog();
    generation = undelivered.peer.generation;
  }
  backlog.AddGap(record.source, record.name, record.stands_for());
  flush_backlogs_ = true;
  return true;
}

// ---- One of many ----

PublishResult EventHub::PublishUnique(Draft* draft, std::string_view key) {
  if (key.empty() || key.size() > kUniqueKeyBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a unique key must have 1 to ",
                                                   kUniqueKeyBytesMax, " bytes, has ", key.size()));
  }
  if (endpoint_ != nullptr) {
    if (absl::Status may = endpoint_->core().CheckMaySend(); !may.ok()) return may;
  }
  core::UniqueTable::Claim claim;
  claim.key = key;
  core::UniqueTable::Verdict verdict = core::UniqueTable::Verdict::kAgain;
  for (int i = 0; i < kClaimsMax && verdict == core::UniqueTable::Verdict::kAgain; ++i) {
    unique_.Open(&claim);
    verdict = unique_.Try(&claim, os::MonotonicNanos(), unique_timeout_ns_);
  }
  PublishResult result;
  if (verdict == core::UniqueTable::Verdict::kTaken) {
    result.duplicate = true;
    ++stats_.duplicates;
    return result;
  }
  if (verdict == core::UniqueTable::Verdict::kAgain) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "others have changed the table of unique keys ", kClaimsMax, " times meanwhile"));
  }
  if (verdict == core::UniqueTable::Verdict::kFull) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the table of unique keys is full: all of this process's ",
        endpoint_ == nullptr ? 0 : endpoint_->core().roster().settings().unique_keys_max,
        " (EventSettings::unique_keys_max) are taken"));
  }
  if (endpoint_ == nullptr) return PublishHere(draft, false);
  std::vector<core::Target> targets;
  endpoint_->core().Select(Scope::kWorkers, &targets);
  absl::Status last = absl::UnavailableError("there is no live worker to choose from");
  draft->message = Compose(draft->record, &scratch_);
  const std::size_t first = std::hash<std::string_view>()(key);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const core::Target& target = targets[(first + i) % targets.size()];
    const Peer peer{static_cast<pid_t>(target.word.pid), target.slot, target.word.generation};
    if (peer == self_) {
      result = PublishHere(draft, false);
    } else {
      // What waits for it came first.
      if (BacklogOf(peer) != nullptr) FlushBacklog(peer);
      if (BacklogOf(peer) != nullptr) continue;
      const SendResult sent =
          endpoint_->Send(To(peer), core::kEventAlertName, draft->message, nullptr);
      result = sent.ok() ? PublishResult() : PublishResult(sent.status());
      result.accepted = sent.ok() ? 1 : 0;
    }
    if (result.ok()) return result;
    last = result.status();
  }
  unique_.Release(claim);
  return last;
}

// An event of the library's own, to all.
void EventHub::PublishOwn(std::string_view name) {
  static const auto* const rule =
      new EventRule{std::string(kAny), std::string(kAny), false, Overflow::kGap};
  Draft draft;
  draft.rule = rule;
  draft.record.source = kOwnEventSource;
  draft.record.name = name;
  (void)PublishToMany(&draft, false);
}

}  // namespace alertpipe::internal
