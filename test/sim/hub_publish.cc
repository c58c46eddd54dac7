// SPDX-License-Identifier: Apache-2.0
//
// The publishing half: events to everybody, gaps for those who had no room, and the claim.
#include <algorithm>
#include <string>
#include <utility>

#include <absl/strings/str_cat.h>

#include "sim/contents.h"
#include "sim/hub.h"
#include "sim/process.h"
#include "sim/world.h"

namespace alertpipe::sim {
namespace {

// Small enough for a claim to be left to the next turn now and then.
constexpr std::uint32_t kClaimStepsMax = 12;

Peer PeerOf(const core::Target& target) {
  return {static_cast<pid_t>(target.word.pid), target.slot, target.word.generation};
}

}  // namespace

// The source is the serial, by which the ledger knows the alert.
std::string Hub::Compose(core::EventRecord record, std::uint64_t serial, std::size_t bytes) {
  const std::string_view source(reinterpret_cast<const char*>(&serial), Contents::kSerialBytes);
  record.source = source;
  record.name = "e";
  std::string text(record.HeadBytes() + bytes, '\0');
  const std::size_t head = record.EncodeHead(text.data());
  if (bytes > 0) Contents::Data(serial, false, text.data() + head, bytes);
  return text;
}

// ---- An event

void Hub::Publish(bool probe) {
  if (!core().CheckMaySend().ok()) return;
  Random& random = world_->random();
  others_only_ = !probe && random.Chance(6);
  number_ = publisher_.Number();
  serial_ = world_->NewSerial();
  world_->orders().Publish(self(), number_, serial_, probe);
  if (world_->tracing()) {
    world_->Trace(absl::StrCat(ToString(self()), " publishes event ", number_, " as ", serial_));
  }
  const bool small = probe || !random.Chance(6);
  core::EventRecord record;
  record.ordered = true;
  record.number = number_;
  record_ = Compose(record, serial_, small ? random.Below(100) : process_->PickBytes());
  sending_ = Sending::kEvent;
  gap_tried_ = false;
  at_ = 0;
  targets_.clear();
  if (AnyWaits()) {
    core().Select(Scope::kOthers, &targets_);
    stage_ = Stage::kPublishNext;
  } else {
    stage_ = Stage::kPublishOwn;
    process_->BroadcastRecord(serial_, record_);
  }
}

void Hub::StepPublishNext() {
  if (at_ == targets_.size()) {
    stage_ = Stage::kPublishOwn;
    return;
  }
  const core::Target& target = targets_[at_];
  const bool waits = Waits(target.slot, target.word.generation);
  // What waits there came first.
  if (waits && !std::exchange(gap_tried_, true)) return SendGap(target.slot);
  gap_tried_ = false;
  ++at_;
  if (waits) return Overflowed({target.slot, target.word.generation});
  SendEvent(To(PeerOf(target)));
}

void Hub::StepPublishOwn() {
  stage_ = Stage::kIdle;
  if (others_only_) return;
  const Peer& me = process_->self();
  absl::StatusOr<Buffer> copy = absl::ResourceExhaustedError("held_bytes_max");
  if (MayHold(record_.size())) copy = Buffer::Copy(record_);
  if (copy.ok()) {
    world_->orders().Accept(self(), self(), 0);
    // Canary: one's own needs no place.
    if (world_->breaks(Canary::kOwnAtOnce))
      return world_->orders().Deliver(self(), self(), number_, serial_);
    return book_.Hold({number_, 0, me, *std::move(copy)});
  }
  world_->orders().Refuse(self(), self());
  PushGap(me, 1);
}

void Hub::SendEvent(const To& to) {
  sending_ = Sending::kEvent;
  process_->SendRecord(to, serial_, record_);
}

void Hub::SendGap(int slot) {
  const Backlog& backlog = backlogs_[Index(slot)];
  core::EventRecord record;
  record.kind = core::EventKind::kGap;
  record.count = backlog.count;
  const std::uint64_t serial = world_->NewSerial();
  sending_ = Sending::kGap;
  process_->SendRecord(To(Peer{0, slot, backlog.generation}), serial, Compose(record, serial, 0));
}

void Hub::Accepted(const Incarnation& to, std::uint64_t alert_id) {
  switch (sending_) {
    case Sending::kEvent:
      publisher_.Sent(to.slot, to.generation, alert_id);
      return world_->orders().Accept(self(), to, alert_id);
    case Sending::kGap:
      backlogs_[Index(to.slot)].count = 0;
      return;
    case Sending::kClaimed:
      ++world_->census().claims_told;
      receivers_[Index(to.slot)].owed = false;
      return;
  }
}

void Hub::Refused(const Incarnation& to, const absl::Status& status) {
  const bool full = absl::IsResourceExhausted(status);
  switch (sending_) {
    case Sending::kEvent:
      if (full) Overflowed(to);
      return;
    case Sending::kGap:
      if (full) RetryLater();
      if (!full && !absl::IsFailedPrecondition(status)) backlogs_[Index(to.slot)].count = 0;
      return;
    case Sending::kClaimed:
      // Canary: one whose queue is full is not told later.
      if (full) RetryLater();
      receivers_[Index(to.slot)].owed = full && !world_->breaks(Canary::kClaimToldOnce);
      return;
  }
}

// For want of memory, before anybody was looked for.
void Hub::NotSent(const absl::Status& status) {
  if (stage_ == Stage::kPublishOwn) {
    stage_ = Stage::kIdle;  // the whole publication is refused
    return;
  }
  const To& to = process_->sending_to();
  Refused({to.slot(), to.generation()}, status);
}

void Hub::Overflowed(const Incarnation& to) {
  Backlog& backlog = backlogs_[Index(to.slot)];
  if (backlog.generation != to.generation) backlog = {to.generation, 0};
  ++backlog.count;
  world_->orders().Refuse(self(), to);
  RetryLater();
}

// With nothing queued for anybody memory was short: nothing tells when to try again.
void Hub::RetryLater() {
  if (!core().AllWritten()) return;
  ++world_->census().events_retried;
  retry_at_ = world_->now() + 20;
}

// An event that the receiver could not take.
void Hub::ComeBack(const Undelivered& undelivered) {
  if (undelivered.reason != UndeliveredReason::kReceiverFull &&
      undelivered.reason != UndeliveredReason::kReceiverMemory)
    return;
  const Incarnation to = Of(undelivered.peer);
  Backlog& backlog = backlogs_[Index(to.slot)];
  if (backlog.generation > to.generation) return;
  if (backlog.generation != to.generation) backlog = {to.generation, 0};
  ++backlog.count;
  world_->orders().ComeBack(self(), to, undelivered.alert_id);
  flush_backlogs_ = true;
}

bool Hub::Waits(int slot, std::uint32_t generation) const {
  const Backlog& backlog = backlogs_[Index(slot)];
  return backlog.count > 0 && backlog.generation == generation;
}

bool Hub::AnyWaits() const {
  return std::any_of(backlogs_.begin(), backlogs_.end(),
                     [](const Backlog& backlog) { return backlog.count > 0; });
}

void Hub::Drained(const Peer& peer) {
  if (backlogs_[Index(peer.slot)].count > 0) flush_backlogs_ = true;
  if (receivers_[Index(peer.slot)].owed && publisher_.claimed() > 0) owes_claims_ = true;
}

void Hub::StepBacklogs() {
  while (at_ < backlogs_.size() && backlogs_[at_].count == 0) ++at_;
  if (at_ == backlogs_.size()) {
    stage_ = Stage::kOrder;
    return;
  }
  const int slot = static_cast<int>(at_++);
  // Canary: what nobody could be told is not told.
  if (world_->breaks(Canary::kGapForgotten)) {
    backlogs_[Index(slot)].count = 0;
    return;
  }
  SendGap(slot);
}

// ---- The claim

void Hub::StopWaiting() {
  publisher_.StopWaiting(core());
  ++world_->census().patience_ended;
  for (int slot = 0; slot < world_->slots(); ++slot)
    receivers_[Index(slot)].lags = !core().AllWritten(slot);
}

void Hub::StepOrder() {
  stage_ = Stage::kTell;
  at_ = 0;
  targets_.clear();
  if (!publisher_.pending()) return;
  publisher_.Close();
  for (int slot = 0; slot < world_->slots(); ++slot) {
    Receiver& receiver = receivers_[Index(slot)];
    receiver.lags = receiver.lags && !core().AllWritten(slot);
  }
  // Canary: it does not wait for what it has published to leave.
  const bool left = publisher_.HasLeft(core()) || world_->breaks(Canary::kClaimBeforeWrite);
  if (!left) {
    if (!std::exchange(waiting_, true)) wait_until_ = world_->now() + world_->plan().patience;
    if (world_->now() < wait_until_) return;
    StopWaiting();
  }
  waiting_ = false;
  wait_until_ = core::kNever;
  claim_steps_ = 0;
  told_early_ = world_->breaks(Canary::kClaimToldEarly);
  if (told_early_) return EndClaim();
  stage_ = Stage::kClaim;
}

void Hub::Observe() {
  world_->orders().Observe(self(), [this](const Incarnation& to, std::uint64_t alert_id) {
    return !core().HasLeft(to.slot, to.generation, alert_id) && receivers_[Index(to.slot)].lags;
  });
}

void Hub::StepClaim() {
  const bool more = publisher_.Step();
  Observe();
  if (more && ++claim_steps_ < kClaimStepsMax) return;
  stage_ = Stage::kTell;
  if (publisher_.closed()) {
    ++world_->census().claims_put_off;
  } else if (!std::exchange(told_early_, false)) {
    EndClaim();
  }
}

void Hub::EndClaim() {
  owes_claims_ = look_ = true;
  for (Receiver& receiver : receivers_) receiver.owed = true;
}

void Hub::StepTell() {
  if (targets_.empty()) {
    // Canary: nobody is told that events have places.
    const bool tells = std::exchange(owes_claims_, false) && !world_->breaks(Canary::kNoClaimTold);
    if (tells) core().SelectLiving(Scope::kOthers, &targets_);
  }
  while (at_ < targets_.size() && !receivers_[Index(targets_[at_].slot)].owed) ++at_;
  if (at_ == targets_.size()) {
    targets_.clear();
    at_ = 0;
    // Canary: what was told is done now.
    stage_ = told_early_ ? Stage::kClaim : process_->closing() ? Stage::kIdle : Stage::kHasRead;
    return;
  }
  core::EventRecord record;
  record.kind = core::EventKind::kClaimed;
  record.number = told_early_ ? number_ : publisher_.claimed();
  const std::uint64_t serial = world_->NewSerial();
  sending_ = Sending::kClaimed;
  process_->SendRecord(To(PeerOf(targets_[at_++])), serial, Compose(record, serial, 0));
}

// The endpoint closes: what has been written gets its places, nobody is waited for any more.
void Hub::BeginClosing() {
  if (publisher_.pending()) stage_ = Stage::kClaimRest;
}

void Hub::StepClaimRest() {
  if (publisher_.pending()) {
    publisher_.Close();
    if (!publisher_.HasLeft(core())) StopWaiting();
    (void)publisher_.Step();
    Observe();
    return;
  }
  EndClaim();
  at_ = 0;
  targets_.clear();
  stage_ = Stage::kTell;
}

}  // namespace alertpipe::sim
