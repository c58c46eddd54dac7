// SPDX-License-Identifier: Apache-2.0
#include "core/endpoint.h"

#include <algorithm>

#include <absl/strings/str_cat.h>

#include "core/check.h"

namespace alertpipe::core {
namespace {

// Notices of rejected alerts that are kept for one sender. Each stands for more than 4 KiB that
// were received from it, so only a sender that floods and does not read can get here.
constexpr std::size_t kRejectsMax = 4096;

// Those who found no room in the endpoint are told once this part of its cap is free, so that they
// do not come back for every packet.
constexpr std::uint64_t kRoomShare = 16;

}  // namespace

Endpoint::Endpoint(Roster roster, const Peer& self, CounterPage* page, NoticeBoard* notices)
    : roster_(roster),
      self_(self),
      meter_(page),
      notices_(notices),
      boxes_(Index(roster.slots())),
      inbox_(std::make_unique<Inbox>(roster, self.generation, &meter_)) {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    Box& box = boxes_[Index(slot)];
    box.known = word.lives();
    box.peer = PeerAt(slot, word);
  }
}

Endpoint::~Endpoint() {
  // Segments refer to the pool and the meter, so they go first.
  reading_.reset();
  for (Box& box : boxes_) {
    if (box.outbox.lent() == nullptr && !box.outbox.empty()) {
      UndeliveredReader discard(box.outbox.Fail(), &pool_);
    }
  }
  for (Failure& failure : failures_) UndeliveredReader discard(failure.run, &pool_);
}

Peer Endpoint::PeerAt(int slot, const RosterWord& word) const {
  Peer peer;
  peer.slot = slot;
  peer.generation = word.generation;
  peer.pid = static_cast<pid_t>(word.pid);
  if (peer.pid == 0 && inbox_ != nullptr)
    peer.pid = static_cast<pid_t>(inbox_->LearnedPid(slot, word.generation));
  return peer;
}

// ---- Writing ----

bool Endpoint::ControlPending(const Box& box, int slot) const {
  return !box.rejects.empty() || (notices_ != nullptr && notices_->Pending(slot));
}

std::size_t Endpoint::EncodeControl(Box* box, int slot) {
  std::size_t used = kHeaderBytes;
  control_rejects_ = 0;
  for (const Reject& reject : box->rejects) {
    char body[RejectBody::kBytes];
    RejectBody{reject.alert_id, static_cast<std::uint8_t>(reject.reason)}.Encode(body);
    Record record;
    record.kind = RecordKind::kReject;
    record.name = reject.name.view();
    record.data = std::string_view(body, sizeof body);
    if (used + RecordSize(record.kind, 0, record.name.size(), record.data.size()) > kPacketBytesMax)
      break;
    used += EncodeRecord(record, control_ + used);
    ++control_rejects_;
  }
  if (notices_ != nullptr && notices_->Pending(slot)) {
    used += notices_->Encode(slot, control_ + used, kPacketBytesMax - used, &control_cursor_);
  }
  PacketHeader header = box->outbox.header();
  header.bytes = static_cast<std::uint16_t>(used);
  header.sequence = box->outbox.sequence_written();
  EncodeHeader(header, control_);
  control_slot_ = slot;
  return used;
}

int Endpoint::NextWrite(int slot, iovec* parts, bool full_only) {
  Box& box = boxes_[Index(slot)];
  control_slot_ = -1;
  const bool control = ControlPending(box, slot);
  if (box.outbox.empty() && !control) return 0;
  const RosterWord word = roster_.Get(slot);
  if (!word.lives() || (!box.outbox.empty() && word.generation != box.outbox.generation())) {
    // Data that is only lent cannot fail back yet: the end of the turn gets here again.
    if (box.outbox.lent() != nullptr) {
      MarkDirty(slot);
      return 0;
    }
    FailBack(&box, slot, UndeliveredReason::kPeerDied);
    if (!word.lives()) {
      box.rejects.clear();
      // Its successor starts with a clean board.
      if (notices_ != nullptr) notices_->StartReader(slot);
      return 0;
    }
  }
  if (control) {
    Readdress(&box, slot, word);
    if (box.rejects_generation != word.generation) box.rejects.clear();
    if (ControlPending(box, slot)) {
      parts[0] = {control_, EncodeControl(&box, slot)};
      return 1;
    }
  }
  const int run_max = roster_.settings().runs != 0 ? 2 : 1;
  return box.outbox.Gather(parts, run_max, full_only);
}

void Endpoint::Wrote(int slot, std::size_t bytes) {
  Box& box = boxes_[Index(slot)];
  page().writes.Add();
  if (control_slot_ == slot) {
    control_slot_ = -1;
    page().packets_written.Add();
    box.rejects.erase(box.rejects.begin(),
                      box.rejects.begin() + static_cast<std::ptrdiff_t>(control_rejects_));
    if (notices_ != nullptr && notices_->Pending(slot)) notices_->Told(slot, control_cursor_);
    return;
  }
  box.outbox.Advance(bytes, &pool_, &meter_);
  if (!box.outbox.empty()) return;
  NoteQueue(&box);
  TellDrained(&box, slot);
}

void Endpoint::TellDrained(Box* box, int slot) {
  if (box->tell_drained) {
    box->tell_drained = false;
    events_.push_back({{Event::Kind::kDrained, PeerAt(slot, roster_.Get(slot)), {}}, {}});
  }
  TellRoom();
}

// The endpoint's cap may have room again, by writing or because what was queued has been given
// back.
void Endpoint::TellRoom() {
  const std::size_t queued = meter_.queued_bytes();
  const std::uint64_t cap = roster_.settings().queued_bytes_max;
  const auto fits = [&](std::size_t bytes) {
    return queued == 0 || queued + std::max<std::uint64_t>(bytes, cap / kRoomShare) <= cap;
  };
  if (!refused_in_all_ || !fits(refused_least_)) return;
  refused_in_all_ = false;
  for (int at = 0; at < roster_.slots(); ++at) {
    Box& other = boxes_[Index(at)];
    if (!other.tell_drained || !other.outbox.empty()) continue;
    if (!fits(other.refused_bytes)) {
      NoteNoRoom(other.refused_bytes);
      continue;
    }
    other.tell_drained = false;
    events_.push_back({{Event::Kind::kDrained, PeerAt(at, roster_.Get(at)), {}}, {}});
  }
}

// A refused sender is told when trying again makes sense: when the receiver's queue is empty, or,
// if it was empty all along, when the endpoint has the room that was missing.
void Endpoint::NoteRefused(Box* box, std::size_t bytes) {
  box->tell_drained = true;
  box->refused_bytes = bytes;
  if (box->outbox.empty()) NoteNoRoom(bytes);
}

void Endpoint::NoteNoRoom(std::size_t bytes) {
  refused_least_ = refused_in_all_ ? std::min(refused_least_, bytes) : bytes;
  refused_in_all_ = true;
}

void Endpoint::Blocked(int slot) {
  Box& box = boxes_[Index(slot)];
  page().writes.Add();
  page().writes_blocked.Add();
  control_slot_ = -1;
  box.blocked = true;
  if (!box.outbox.empty()) box.tell_drained = true;
}

void Endpoint::Unblocked(int slot) { boxes_[Index(slot)].blocked = false; }

// ---- Reading ----

void Endpoint::NextArrival(Arrival* arrival) {
  inbox_->Next(arrival);
  if (arrival->kind == Arrival::Kind::kReject) SendReject(*arrival);
  if (arrival->kind != Arrival::Kind::kControl || HandleControl(*arrival)) return;
  page().damaged_records.Add();
  arrival->kind = Arrival::Kind::kDamage;
  arrival->damage = {Damage::Kind::kRecord, 0, arrival->sender.slot};
}

void Endpoint::SendReject(const Arrival& arrival) {
  Box& box = boxes_[Index(arrival.sender.slot)];
  if (box.rejects_generation != arrival.sender.generation) {
    box.rejects.clear();
    box.rejects_generation = arrival.sender.generation;
  }
  if (box.rejects.size() >= kRejectsMax) {
    page().rejects_dropped.Add();
    return;
  }
  Reject reject;
  reject.alert_id = arrival.alert_id;
  reject.reason = arrival.reason;
  reject.name.Set(arrival.name);
  box.rejects.push_back(reject);
  MarkDirty(arrival.sender.slot);
}

// False for a record that makes no sense. What a notice says is only believed if the roster bears
// it out, so a forged one harms nobody.
bool Endpoint::HandleControl(const Arrival& arrival) {
  const Record& record = arrival.record;
  if (record.kind == RecordKind::kReject) return HandleReject(arrival);
  if (arrival.sender.slot != kMasterSlot) return false;
  if (record.kind == RecordKind::kDied) {
    DiedBody body;
    if (!body.Decode(record.data) || body.slot == kMasterSlot || !roster_.has(body.slot))
      return false;
    if (!roster_.IsDead(body.slot, body.generation)) return false;
    PeerDied(body.slot, body.generation);
    return true;
  }
  if (record.kind == RecordKind::kJoined) {
    JoinedBody body;
    if (!body.Decode(record.data) || body.slot == kMasterSlot || !roster_.has(body.slot))
      return false;
    if (roster_.IsDead(body.slot, body.generation)) return true;
    // The pid is in the roster before the notice is sent.
    const RosterWord word = roster_.Get(body.slot);
    if (word.generation != body.generation || word.pid != body.pid) return false;
    PeerJoined(body.slot, body.generation, body.pid);
    return true;
  }
  // Draining, barrier and acknowledge records have their place on the wire, but nobody sends them
  // yet.
  return false;
}

bool Endpoint::HandleReject(const Arrival& arrival) {
  RejectBody body;
  if (!body.Decode(arrival.record.data)) return false;
  Box& box = boxes_[Index(arrival.sender.slot)];
  const Outbox& outbox = box.outbox;
  // About a queue that is gone: what was in it has been given back, or its receiver is dead.
  if (arrival.sender.generation < outbox.generation()) return true;
  if (arrival.sender.generation == outbox.generation() && body.alert_id >= box.failed_from &&
      body.alert_id < outbox.next_id()) {
    return true;
  }
  // Rejects come in the order of the alerts, once each, and only for what has begun to leave. So
  // no flood of forged ones can cost more than the alerts that were sent.
  const bool in_turn = body.alert_id > box.rejected_id && body.alert_id < outbox.sequence_written();
  const bool known_reason =
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverFull) ||
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverMemory);
  if (outbox.generation() != arrival.sender.generation || !in_turn || !known_reason) return false;
  box.rejected_id = body.alert_id;
  QueuedEvent queued;
  queued.name = std::string(arrival.record.name);
  queued.event.kind = Event::Kind::kUndelivered;
  queued.event.peer = arrival.sender;
  queued.event.undelivered.peer = arrival.sender;
  queued.event.undelivered.alert_id = body.alert_id;
  queued.event.undelivered.has_name = true;
  queued.event.undelivered.reason = static_cast<UndeliveredReason>(body.reason);
  events_.push_back(std::move(queued));
  return true;
}

// ---- Life ----

void Endpoint::PeerDied(int slot, std::uint32_t generation) {
  Box& box = boxes_[Index(slot)];
  inbox_->SenderDied(slot, generation);
  if (!box.outbox.empty() && box.outbox.generation() <= generation &&
      box.outbox.lent() == nullptr) {
    FailBack(&box, slot, UndeliveredReason::kPeerDied);
  }
  if (box.known && box.peer.generation <= generation) {
    box.known = false;
    events_.push_back({{Event::Kind::kLeft, box.peer, {}}, {}});
  }
}

void Endpoint::PeerJoined(int slot, std::uint32_t generation, std::uint32_t pid) {
  Box& box = boxes_[Index(slot)];
  const bool told = box.known && box.peer.generation == generation;
  box.known = true;
  box.peer = {static_cast<pid_t>(pid), slot, generation};
  if (!told && slot != self_.slot) events_.push_back({{Event::Kind::kJoined, box.peer, {}}, {}});
}

void Endpoint::PeerGone(int slot) {
  control_slot_ = -1;
  Box& box = boxes_[Index(slot)];
  box.rejects.clear();
  box.gone_generation = box.outbox.generation();
  PeerDied(slot, box.outbox.generation());
}

void Endpoint::NoticesChanged() {
  // The master on a loop is told through its own pipe as well: what a dead worker has sent to it
  // comes first there.
  for (int slot = 0; slot < roster_.slots(); ++slot) {
    if (roster_.Get(slot).lives() && notices_->Pending(slot)) MarkDirty(slot);
  }
}

void Endpoint::FailBack(Box* box, int slot, UndeliveredReason reason) {
  if (box->rejects_generation <= box->outbox.generation()) box->rejects.clear();
  box->blocked = false;
  box->tell_drained = false;
  if (box->outbox.empty()) return;
  ++box->failures;
  const RosterWord word = roster_.Get(slot);
  Peer peer = word.generation == box->outbox.generation() ? PeerAt(slot, word) : box->peer;
  peer.slot = slot;
  if (peer.generation != box->outbox.generation()) peer.pid = 0;
  peer.generation = box->outbox.generation();
  const std::uint64_t next = box->outbox.sequence_written();
  const FailedRun run = box->outbox.Fail();
  box->failed_from = std::min(box->failed_from, run.open ? next - 1 : next);
  failures_.push_back({peer, reason, box->rejected_id, run});
  NoteQueue(box);
  TellRoom();
}

void Endpoint::FailAll(UndeliveredReason reason) {
  for (int slot = 0; slot < roster_.slots(); ++slot) {
    boxes_[Index(slot)].rejects.clear();
    FailBack(&boxes_[Index(slot)], slot, reason);
  }
}

bool Endpoint::NextEvent(Event* event) {
  if (!events_.empty()) {
    current_event_ = std::move(events_.front());
    events_.pop_front();
    *event = current_event_.event;
    if (event->kind == Event::Kind::kUndelivered) {
      event->undelivered.name = current_event_.name;
      page().alerts_undelivered.Add();
    }
    return true;
  }
  while (reading_ != nullptr || !failures_.empty()) {
    if (reading_ == nullptr) {
      reading_peer_ = failures_.front().peer;
      reading_reason_ = failures_.front().reason;
      reading_rejected_id_ = failures_.front().rejected_id;
      reading_ = std::make_unique<UndeliveredReader>(failures_.front().run, &pool_);
      failures_.pop_front();
    }
    UndeliveredReader::Item item;
    if (!reading_->Next(&item)) {
      reading_.reset();
      TellRoom();
      if (!events_.empty()) return NextEvent(event);
      continue;
    }
    // The receiver has rejected it before all of it had left.
    if (item.alert_id == reading_rejected_id_) continue;
    page().alerts_undelivered.Add();
    event->kind = Event::Kind::kUndelivered;
    event->peer = reading_peer_;
    event->undelivered = {reading_peer_, item.alert_id, item.name,      item.data,
                          true,          item.has_data, reading_reason_};
    return true;
  }
  return false;
}

}  // namespace alertpipe::core
