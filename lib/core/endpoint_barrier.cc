// SPDX-License-Identifier: Apache-2.0
//
// Barriers, and the drain of a worker that is replaced, which consists of them.
//
// A barrier record leaves behind everything that was accepted for its receiver before it; the
// receiver, which handles records in order, comes to it when it has handled all that. Its
// acknowledgement leaves behind everything that the receiver had accepted for the asker: so what an
// acknowledgement ends is both directions. Neither is queued: what is owed to an incarnation is
// kept beside its outbox, counts against no cap, and dies with it.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/endpoint.h"

namespace alertpipe::core {
namespace {

// More from one sender than it can have open merge: an acknowledgement covers all before it.
constexpr std::size_t kAcknowledgementsMax = kBarriersMax;

std::size_t EncodeBarrier(RecordKind kind, std::uint64_t id, char* to) {
  char body[BarrierBody::kBytes];
  BarrierBody{id}.Encode(body);
  Record record;
  record.kind = kind;
  record.data = std::string_view(body, sizeof body);
  return EncodeRecord(record, to);
}

constexpr std::size_t kBarrierRecordBytes = kRecordBytes + BarrierBody::kBytes;
constexpr std::size_t kDrainingRecordBytes = kRecordBytes + DrainingBody::kBytes;

}  // namespace

// ---- Asking ----

void Endpoint::SelectLiving(Scope scope, std::vector<Target>* targets) const {
  for (int slot = scope == Scope::kFamily ? kMasterSlot : 1; slot < roster_.slots(); ++slot) {
    if (scope == Scope::kOthers && slot == self_.slot) continue;
    const RosterWord word = roster_.Get(slot);
    if (word.lives() && !Gone(slot, word)) targets->push_back({slot, word});
  }
}

absl::Status Endpoint::BeginBarrier(const std::vector<Target>& targets, std::uint64_t deadline,
                                    BarrierCallback* callback) {
  if (absl::Status status = CheckMaySend(); !status.ok()) return status;
  if (barriers_.open() >= kBarriersMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "too many barriers: ", barriers_.open(), " have not ended, the limit is ", kBarriersMax));
  }
  Ask(targets, deadline, std::move(*callback), false);
  return absl::OkStatus();
}

std::uint64_t Endpoint::Ask(const std::vector<Target>& targets, std::uint64_t deadline,
                            BarrierCallback callback, bool last) {
  std::vector<Peer> peers;
  peers.reserve(targets.size());
  for (const Target& target : targets) peers.push_back(PeerAt(target.slot, target.word));
  const std::uint64_t id = barriers_.Add(peers, deadline, std::move(callback));
  page().barriers_begun.Add();
  for (const Target& target : targets) {
    Box& box = boxes_[Index(target.slot)];
    if (target.word.generation < box.outbox.generation()) {  // replaced since it was looked up
      barriers_.PeerDied(target.slot, target.word.generation);
      continue;
    }
    Readdress(&box, target.slot, target.word);
    PrepareReturns(&box, PeerAt(target.slot, target.word), 0, 1);
    box.barriers.push_back({id, box.outbox.next_id(), last});
    MarkDirty(target.slot);
  }
  return id;
}

bool Endpoint::NextEndedBarrier(EndedBarrier* ended) {
  if (!barriers_.NextEnded(ended)) return false;
  if (!ended->report.status.ok()) page().barriers_missed.Add();
  for (std::vector<Peer>* peers : {&ended->report.missing, &ended->report.died}) {
    for (Peer& peer : *peers) {
      // It may have been asked before its pid was known.
      const RosterWord word = roster_.Get(peer.slot);
      if (word.generation == peer.generation) peer = PeerAt(peer.slot, word);
    }
  }
  return true;
}

// Fills the control packet from `used` on and returns how far it is filled then. An acknowledgement
// says that everything before it has been handled or has come back, so what comes back is first.
std::size_t Endpoint::EncodeOwed(Box* box, std::size_t used) {
  control_barriers_ = control_acknowledgements_ = 0;
  if (control_rejects_ < box->rejects.size() || control_unhandled_ < box->unhandled.size())
    return used;
  for (const Owed& owed : box->acknowledgements) {
    // Those that have to wait do not hold up the barriers.
    if (!box->outbox.HasLeft(owed.after)) break;
    if (used + kBarrierRecordBytes > kPacketBytesMax) return used;
    used += EncodeBarrier(RecordKind::kAcknowledge, owed.id, control_ + used);
    ++control_acknowledgements_;
  }
  for (const Owed& owed : box->barriers) {
    const std::size_t bytes = kBarrierRecordBytes + (owed.last ? kDrainingRecordBytes : 0);
    if (!box->outbox.HasLeft(owed.after) || used + bytes > kPacketBytesMax) return used;
    if (owed.last) {
      char body[DrainingBody::kBytes];
      DrainingBody{static_cast<std::uint16_t>(self_.slot), self_.generation,
                   static_cast<std::uint16_t>(successor_)}
          .Encode(body);
      Record record;
      record.kind = RecordKind::kDraining;
      record.data = std::string_view(body, sizeof body);
      used += EncodeRecord(record, control_ + used);
    }
    used += EncodeBarrier(RecordKind::kBarrier, owed.id, control_ + used);
    ++control_barriers_;
  }
  return used;
}

// ---- Being asked ----

bool Endpoint::HandleBarrier(const Arrival& arrival) {
  BarrierBody body;
  if (!body.Decode(arrival.record.data) || body.id == 0) return false;
  const Peer& asker = arrival.sender;
  if (roster_.IsDead(asker.slot, asker.generation)) return true;
  Box& box = boxes_[Index(asker.slot)];
  const RosterWord word = roster_.Get(asker.slot);
  if (!word.lives() || word.generation != asker.generation) return true;
  Readdress(&box, asker.slot, word);
  PrepareReturns(&box, asker, 0, 1);
  const Owed owed{body.id, box.outbox.next_id(), false};
  if (box.acknowledgements.size() < kAcknowledgementsMax) {
    box.acknowledgements.push_back(owed);
  } else {
    box.acknowledgements.back() = owed;
  }
  MarkDirty(asker.slot);
  return true;
}

bool Endpoint::HandleAcknowledge(const Arrival& arrival) {
  BarrierBody body;
  if (!body.Decode(arrival.record.data) || body.id == 0 || body.id > barriers_.last_id())
    return false;
  // Of one whose successor has the queue: what it had sent back before may have come too late to be
  // told. The notice of its death ends the barrier.
  if (arrival.sender.generation < boxes_[Index(arrival.sender.slot)].outbox.generation())
    return true;
  barriers_.Acknowledged(arrival.sender, body.id);
  return true;
}

// From the master: this worker is being replaced. From anybody else: that one is, and has said its
// last. The roster must bear out both.
bool Endpoint::HandleDraining(const Arrival& arrival) {
  DrainingBody body;
  if (!body.Decode(arrival.record.data) || body.slot == kMasterSlot || !roster_.has(body.slot) ||
      !roster_.has(body.successor_slot)) {
    return false;
  }
  const RosterWord word = roster_.Get(body.slot);
  if (word.generation > body.generation) return true;
  if (word.generation != body.generation || word.state == SlotState::kStarting ||
      word.state == SlotState::kUp) {
    return false;
  }
  const bool about_sender =
      body.slot == arrival.sender.slot && body.generation == arrival.sender.generation;
  const bool about_self = arrival.sender.slot == kMasterSlot && body.slot == self_.slot &&
                          body.generation == self_.generation;
  if (about_sender) {
    Box& box = boxes_[Index(body.slot)];
    box.closed_generation = body.generation;
    box.closed_early = false;
    return true;
  }
  if (!about_self) return false;
  TellDraining(body.successor_slot);
  return true;
}

void Endpoint::TellDraining(int successor) {
  if (draining_ != Draining::kServing) return;
  draining_ = Draining::kTold;
  successor_ = successor;
  Peer peer;
  if (successor_ != kMasterSlot) peer = PeerAt(successor_, roster_.Get(successor_));
  events_.push_back({{Event::Kind::kDraining, peer, {}}, {}});
}

// Whether a Peer takes replies.
absl::Status Endpoint::CheckTakesMore(const Target& target) const {
  const std::uint32_t closed = boxes_[Index(target.slot)].closed_generation;
  if (closed == 0 || closed != target.word.generation) return absl::OkStatus();
  return Judge(target);
}

// One that is being replaced when this endpoint comes may have asked for everybody's last word
// already, or will not ask here. So nothing is sent to it, not even to a Peer that somebody else
// has told of, until an alert of its own has come: who sends alerts asks afterwards.
void Endpoint::CloseDraining() {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    if (word.state != SlotState::kDraining || slot == self_.slot) continue;
    Box& box = boxes_[Index(slot)];
    box.closed_generation = word.generation;
    box.closed_early = closed_early_ = true;
  }
}

void Endpoint::OpenDraining(const Peer& peer) {
  Box& box = boxes_[Index(peer.slot)];
  if (box.closed_early && box.closed_generation == peer.generation) box.closed_generation = 0;
}

// ---- Being replaced ----

void Endpoint::BeginDrain() {
  ALERTPIPE_CHECK(told_to_drain(), "a worker drains that is not being replaced");
  if (draining_ != Draining::kTold) return;
  draining_ = Draining::kFirstRound;
  round_ = AskAll(false);
}

// Itself included: alerts to itself lie in its own pipe.
std::uint64_t Endpoint::AskAll(bool last) {
  std::vector<Target> targets;
  SelectLiving(Scope::kFamily, &targets);
  return Ask(targets, kNever, nullptr, last);
}

void Endpoint::StepDrain(bool tokens_held) {
  tokens_held_ = tokens_held;
  if (draining_ == Draining::kFirstRound && !barriers_.IsOpen(round_))
    draining_ = Draining::kSettling;
  // Acknowledgements of barriers that the application waits for come before the last words anyhow.
  if (draining_ != Draining::kSettling || HasRequests() || tokens_held) return;
  draining_ = Draining::kLastRound;
  round_ = AskAll(true);
}

bool Endpoint::drained() const {
  if (draining_ != Draining::kLastRound || barriers_.IsOpen(round_) || tokens_held_ ||
      !AllWritten()) {
    return false;
  }
  for (int slot = 0; slot < roster_.slots(); ++slot) {
    if (roster_.Get(slot).lives() && ControlPending(boxes_[Index(slot)], slot)) return false;
  }
  return true;
}

absl::Status Endpoint::CheckMaySend() const {
  if (draining_ != Draining::kLastRound) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      ToString(self_), " has been replaced and waits only for what was sent to it before"));
}

}  // namespace alertpipe::core
