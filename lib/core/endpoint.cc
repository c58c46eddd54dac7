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

// Room for what is told in one turn, mostly, beside one event for each peer.
constexpr std::size_t kEventsReserved = 16;

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
      inbox_(std::make_unique<Inbox>(roster, self.generation, &meter_)),
      barriers_(roster.slots()) {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    Box& box = boxes_[Index(slot)];
    // One that is still being started will be told as joined.
    box.known = word.lives() && (word.pid != 0 || slot == self_.slot);
    box.peer = PeerAt(slot, word);
  }
  events_.reserve(boxes_.size() + kEventsReserved);
  CloseDraining();
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
  if (peer.pid == 0) peer.pid = static_cast<pid_t>(inbox_->LearnedPid(slot, word.generation));
  return peer;
}

// ---- Writing ----

bool Endpoint::ControlPending(const Box& box, int slot) const {
  return !box.rejects.empty() || !box.unhandled.empty() || OwedReady(box) ||
         (notices_ != nullptr && notices_->Pending(slot));
}

std::size_t Endpoint::EncodeControl(Box* box, int slot) {
  std::size_t used = EncodeOwed(box, EncodeUnhandled(box, EncodeRejects(box, kHeaderBytes)));
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

// Both fill the control packet from `used` on and return how far it is filled then.
std::size_t Endpoint::EncodeRejects(Box* box, std::size_t used) {
  control_rejects_ = 0;
  for (const Reject& reject : box->rejects) {
    char body[RejectBody::kBytes];
    RejectBody{reject.alert_id, reject.request_id, static_cast<std::uint8_t>(reject.reason)}.Encode(
        body);
    Record record;
    record.kind = RecordKind::kReject;
    if (reject.is_response) record.flags = kIsResponse;
    record.name = reject.name.view();
    record.data = std::string_view(body, sizeof body);
    if (used + RecordSize(record.kind, 0, record.name.size(), record.data.size()) > kPacketBytesMax)
      break;
    used += EncodeRecord(record, control_ + used);
    ++control_rejects_;
  }
  return used;
}

std::size_t Endpoint::EncodeUnhandled(Box* box, std::size_t used) {
  control_unhandled_ = 0;
  if (box->unhandled.empty() || used + kRecordBytes + UnhandledBody::kBytes > kPacketBytesMax)
    return used;
  const std::size_t room = (kPacketBytesMax - used - kRecordBytes) / UnhandledBody::kBytes;
  control_unhandled_ = std::min(room, box->unhandled.size());
  Record record;
  record.kind = RecordKind::kUnhandled;
  used += EncodeRecordHead(record, control_unhandled_ * UnhandledBody::kBytes, control_ + used);
  for (std::size_t i = 0; i < control_unhandled_; ++i, used += UnhandledBody::kBytes)
    UnhandledBody{box->unhandled[i]}.Encode(control_ + used);
  return used;
}

void Endpoint::ForgetReturns(Box* box) {
  box->rejects.clear();
  box->unhandled.clear();
  box->barriers.clear();
  box->acknowledgements.clear();
}

// Whether one more of what is sent back to `peer` can be kept beside `queued` of its kind. A
// predecessor can still be heard when something is kept for its successor: it gets nothing.
bool Endpoint::PrepareReturns(Box* box, const Peer& peer, std::size_t queued, std::size_t limit) {
  if (peer.generation < box->returns_generation) return false;
  if (box->returns_generation != peer.generation) {
    ForgetReturns(box);
    box->returns_generation = peer.generation;
    return true;
  }
  if (queued < limit) return true;
  page().rejects_dropped.Add();
  return false;
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
      ForgetReturns(&box);
      // Its successor starts with a clean board.
      if (notices_ != nullptr) notices_->StartReader(slot);
      return 0;
    }
  }
  if (control) {
    Readdress(&box, slot, word);
    if (box.returns_generation != word.generation) ForgetReturns(&box);
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
    box.unhandled.erase(box.unhandled.begin(),
                        box.unhandled.begin() + static_cast<std::ptrdiff_t>(control_unhandled_));
    box.barriers.erase(box.barriers.begin(),
                       box.barriers.begin() + static_cast<std::ptrdiff_t>(control_barriers_));
    box.acknowledgements.erase(
        box.acknowledgements.begin(),
        box.acknowledgements.begin() + static_cast<std::ptrdiff_t>(control_acknowledgements_));
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

void Endpoint::Blocked(int slot, bool error) {
  Box& box = boxes_[Index(slot)];
  page().writes.Add();
  (error ? page().write_errors : page().writes_blocked).Add();
  control_slot_ = -1;
  box.blocked = true;
  if (!box.outbox.empty()) box.tell_drained = true;
}

void Endpoint::WriteLater(int slot) {
  if (HasOutput(slot)) MarkDirty(slot);
  Box& box = boxes_[Index(slot)];
  if (!box.outbox.empty()) box.tell_drained = true;
}

void Endpoint::Unblocked(int slot) { boxes_[Index(slot)].blocked = false; }

// ---- Reading ----

void Endpoint::NextOther(Arrival* arrival) {
  inbox_->Next(arrival);
  if (arrival->kind == Arrival::Kind::kNone) {
    if (recheck_wanted_ || wants_read()) StepRecheck();
    return;
  }
  if (arrival->kind == Arrival::Kind::kDamage && arrival->damage.kind == Damage::Kind::kFraming)
    recheck_wanted_ = true;
  if (arrival->kind == Arrival::Kind::kReject) SendReject(*arrival);
  if (arrival->kind == Arrival::Kind::kAlert) {
    if (closed_early_) OpenDraining(arrival->sender);
    if ((arrival->flags & kIsResponse) != 0) HandleResponse(arrival);
  }
  if (arrival->kind == Arrival::Kind::kLateResponse) return;
  if (arrival->kind != Arrival::Kind::kControl || HandleControl(*arrival)) return;
  page().damaged_records.Add();
  arrival->kind = Arrival::Kind::kDamage;
  arrival->damage = {Damage::Kind::kRecord, 0, arrival->sender.slot};
}

void Endpoint::SendReject(const Arrival& arrival) {
  const bool is_response = (arrival.flags & kIsResponse) != 0;
  // The response is lost here, so nobody else can end the request.
  if (is_response && requests_.IsOpen(arrival.request_id, arrival.sender))
    requests_.Decide(arrival.request_id, ResponseOutcome::kUndelivered);
  Box& box = boxes_[Index(arrival.sender.slot)];
  if (!PrepareReturns(&box, arrival.sender, box.rejects.size(), kRejectsMax)) return;
  Reject reject;
  reject.alert_id = arrival.alert_id;
  reject.request_id = is_response ? 0 : arrival.request_id;
  reject.is_response = is_response;
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
  if (record.kind == RecordKind::kUnhandled) return HandleUnhandled(arrival);
  if (record.kind == RecordKind::kBarrier) return HandleBarrier(arrival);
  if (record.kind == RecordKind::kAcknowledge) return HandleAcknowledge(arrival);
  if (record.kind == RecordKind::kDraining) return HandleDraining(arrival);
  if (arrival.sender.slot != kMasterSlot) return false;
  if (record.kind == RecordKind::kDied) {
    DiedBody body;
    if (!body.Decode(record.data) || body.slot == kMasterSlot || !roster_.has(body.slot))
      return false;
    if (!roster_.IsDead(body.slot, body.generation)) return false;
    PeerDied(body.slot, body.generation);
    return true;
  }
  if (record.kind != RecordKind::kJoined) return false;
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

bool Endpoint::HandleReject(const Arrival& arrival) {
  RejectBody body;
  if (!body.Decode(arrival.record.data)) return false;
  Box& box = boxes_[Index(arrival.sender.slot)];
  const Outbox& outbox = box.outbox;
  const bool known_reason =
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverFull) ||
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverMemory);
  if (arrival.sender.generation < outbox.generation()) {
    // The last of a dead worker. What had not left for it has been given back; longer ago it is too
    // late for.
    Box::Before& before = box.before;
    if (arrival.sender.generation != before.generation || body.alert_id <= before.rejected_id ||
        body.alert_id >= before.left_until) {
      return true;
    }
    if (!known_reason) return false;
    before.rejected_id = body.alert_id;
    TellRejected(arrival, body);
    return true;
  }
  if (arrival.sender.generation == outbox.generation() && body.alert_id >= box.failed_from &&
      body.alert_id < outbox.next_id()) {
    return true;
  }
  // Rejects come in the order of the alerts, once each, and only for what has begun to leave. So
  // no flood of forged ones can cost more than the alerts that were sent.
  const bool in_turn = body.alert_id > box.rejected_id && body.alert_id < outbox.sequence_written();
  if (outbox.generation() != arrival.sender.generation || !in_turn || !known_reason) return false;
  box.rejected_id = body.alert_id;
  TellRejected(arrival, body);
  return true;
}

void Endpoint::TellRejected(const Arrival& arrival, const RejectBody& body) {
  if (body.request_id != 0) {
    // Its callback is told, or has been: the deadline may have come first.
    CountUndelivered(static_cast<UndeliveredReason>(body.reason));
    if (requests_.IsOpen(body.request_id, arrival.sender, body.alert_id))
      requests_.Decide(body.request_id, ResponseOutcome::kUndelivered);
    return;
  }
  QueuedEvent queued;
  queued.name = std::string(arrival.record.name);
  queued.event.kind = Event::Kind::kUndelivered;
  queued.event.peer = arrival.sender;
  queued.event.undelivered.peer = arrival.sender;
  queued.event.undelivered.alert_id = body.alert_id;
  queued.event.undelivered.has_name = true;
  queued.event.undelivered.is_response = (arrival.record.flags & kIsResponse) != 0;
  queued.event.undelivered.reason = static_cast<UndeliveredReason>(body.reason);
  events_.push_back(std::move(queued));
}

// ---- Requests ----

absl::Status Endpoint::BeginRequest(const Target& target, std::uint64_t deadline,
                                    ResponseCallback* callback, std::uint64_t* id) {
  const std::size_t count = requests_.count(target.slot);
  if (count >= kRequestsPerPeerMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("too many requests to ", ToString(PeerAt(target.slot, target.word)), ": ",
                     count, " have not ended, the limit is ", kRequestsPerPeerMax));
  }
  *id = requests_.Add(PeerAt(target.slot, target.word), deadline, std::move(*callback));
  return absl::OkStatus();
}

void Endpoint::KeepRequest(std::uint64_t id, const Target& target, std::uint64_t alert_id) {
  requests_.Open(id, alert_id);
  // Found dead while the request was being written: no notice of that will come.
  if (Gone(target.slot, target.word)) requests_.Decide(id, ResponseOutcome::kPeerDied);
}

ResponseCallback Endpoint::DropRequest(std::uint64_t id) { return requests_.Take(id); }

void Endpoint::Unhandled(const Peer& peer, std::uint64_t request_id) {
  if (roster_.IsDead(peer.slot, peer.generation)) return;
  Box& box = boxes_[Index(peer.slot)];
  if (!PrepareReturns(&box, peer, box.unhandled.size(), kRequestsPerPeerMax)) return;
  box.unhandled.push_back(request_id);
  MarkDirty(peer.slot);
}

// A response that nobody waits for (any more) is dropped.
void Endpoint::HandleResponse(Arrival* arrival) {
  const bool expected = requests_.IsOpen(arrival->request_id, arrival->sender);
  arrival->kind = expected ? Arrival::Kind::kResponse : Arrival::Kind::kLateResponse;
  if (expected) {
    page().responses_received.Add();
    return;
  }
  page().responses_late.Add();
  page().alerts_unhandled.Add();
  page().bytes_unhandled.Add(arrival->data.size());
}

bool Endpoint::HandleUnhandled(const Arrival& arrival) {
  std::string_view ids = arrival.record.data;
  if (ids.empty() || ids.size() % UnhandledBody::kBytes != 0) return false;
  for (; !ids.empty(); ids.remove_prefix(UnhandledBody::kBytes)) {
    UnhandledBody body;
    body.Decode(ids.substr(0, UnhandledBody::kBytes));
    // The deadline may have come first.
    if (requests_.IsOpen(body.request_id, arrival.sender))
      requests_.Decide(body.request_id, ResponseOutcome::kUnhandled);
  }
  return true;
}

bool Endpoint::NextEnded(EndedRequest* ended) {
  if (!requests_.NextEnded(ended)) return false;
  page().requests_failed.Add();
  // It may have been asked before its pid was known.
  const RosterWord word = roster_.Get(ended->peer.slot);
  if (word.generation == ended->peer.generation) ended->peer = PeerAt(ended->peer.slot, word);
  return true;
}

// A request that has not left: no response can come.
void Endpoint::EndRequest(std::uint64_t id, UndeliveredReason reason) {
  requests_.Decide(id, reason == UndeliveredReason::kClosed ? ResponseOutcome::kClosed
                                                            : ResponseOutcome::kPeerDied);
}

// ---- Life ----

void Endpoint::PeerDied(int slot, std::uint32_t generation) {
  Box& box = boxes_[Index(slot)];
  inbox_->SenderDied(slot, generation);
  // Nothing of that peer follows, so no response does.
  requests_.DecidePeer(slot, generation, ResponseOutcome::kPeerDied);
  barriers_.PeerDied(slot, generation);
  if (!box.outbox.empty() && box.outbox.generation() <= generation &&
      box.outbox.lent() == nullptr) {
    FailBack(&box, slot, UndeliveredReason::kPeerDied);
  }
  if (box.known && box.peer.generation <= generation) {
    box.known = false;
    events_.push_back({{Event::Kind::kLeft, box.peer, {}}, {}});
  }
  if (wants_deaths_) {
    Peer dead;
    dead.slot = slot;
    dead.generation = generation;
    events_.push_back({{Event::Kind::kDied, dead, {}}, {}});
  }
}

void Endpoint::PeerJoined(int slot, std::uint32_t generation, std::uint32_t pid) {
  Box& box = boxes_[Index(slot)];
  const bool told = box.known && box.peer.generation == generation;
  box.known = true;
  box.peer = {static_cast<pid_t>(pid), slot, generation};
  if (!told && slot != self_.slot) events_.push_back({{Event::Kind::kJoined, box.peer, {}}, {}});
}

void Endpoint::PeerUnreachable(int slot) {
  page().writes.Add();
  page().write_errors.Add();
  LoseReader(slot);
}

void Endpoint::PeerGone(int slot) {
  LoseReader(slot);
  PeerDied(slot, boxes_[Index(slot)].gone_generation);
  if (slot != kMasterSlot) return;
  // Notices that it did not get to send: the roster keeps what they would have said.
  for (int at = 1; at < roster_.slots(); ++at) {
    const RosterWord word = roster_.Get(at);
    const std::uint32_t dead = word.lives() ? word.generation - 1 : word.generation;
    if (dead > 0) PeerDied(at, dead);
  }
}

void Endpoint::MasterClosed() {
  const std::uint32_t generation = roster_.Get(kMasterSlot).generation;
  requests_.DecidePeer(kMasterSlot, generation, ResponseOutcome::kPeerDied);
  barriers_.PeerDied(kMasterSlot, generation);
}

void Endpoint::LoseReader(int slot) {
  control_slot_ = -1;
  Box& box = boxes_[Index(slot)];
  ForgetReturns(&box);
  // One that nothing was ever sent to has no address.
  box.gone_generation = std::max(box.outbox.generation(), roster_.Get(slot).generation);
  box.judged_word = kNoWord;
  if (box.outbox.empty()) return;
  if (box.outbox.lent() == nullptr) {
    FailBack(&box, slot, UndeliveredReason::kPeerDied);
  } else {
    // What uses data that is only lent cannot fail back yet: the next write gets here again.
    MarkDirty(slot);
  }
}

void Endpoint::NoticesChanged() {
  // The master on a loop is told through its own pipe as well: what a dead worker has sent to it
  // comes first there.
  for (int slot = 0; slot < roster_.slots(); ++slot) {
    if (roster_.Get(slot).lives() && notices_->Pending(slot)) MarkDirty(slot);
  }
}

void Endpoint::FailBack(Box* box, int slot, UndeliveredReason reason) {
  const bool peer_died = reason == UndeliveredReason::kPeerDied;
  if (peer_died && box->returns_generation <= box->outbox.generation()) ForgetReturns(box);
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
    // What others have to be told stays: no acknowledgement may reach them without it.
    boxes_[Index(slot)].barriers.clear();
    FailBack(&boxes_[Index(slot)], slot, reason);
  }
  requests_.DecideAll(ResponseOutcome::kClosed);
  barriers_.DecideAll();
}

void Endpoint::CountUndelivered(UndeliveredReason reason) {
  page().alerts_undelivered.Add();
  switch (reason) {
    case UndeliveredReason::kPeerDied:
      return page().undelivered_peer_died.Add();
    case UndeliveredReason::kReceiverFull:
      return page().undelivered_receiver_full.Add();
    case UndeliveredReason::kReceiverMemory:
      return page().undelivered_receiver_memory.Add();
    case UndeliveredReason::kClosed:
      return page().undelivered_closed.Add();
  }
}

bool Endpoint::NextEvent(Event* event) {
  if (!events_.empty()) {
    current_event_ = std::move(events_[events_told_]);
    if (++events_told_ == events_.size()) {
      events_.clear();
      events_told_ = 0;
    }
    *event = current_event_.event;
    if (event->kind == Event::Kind::kUndelivered) {
      event->undelivered.name = current_event_.name;
      CountUndelivered(event->undelivered.reason);
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
    CountUndelivered(reading_reason_);
    const bool is_response = (item.flags & kIsResponse) != 0;
    if (item.request_id != 0 && !is_response) {
      EndRequest(item.request_id, reading_reason_);
      continue;
    }
    event->kind = Event::Kind::kUndelivered;
    event->peer = reading_peer_;
    event->undelivered = {reading_peer_, item.alert_id, item.name,   item.data,
                          true,          item.has_data, is_response, reading_reason_};
    return true;
  }
  return false;
}

}  // namespace alertpipe::core
