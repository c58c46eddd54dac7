// SPDX-License-Identifier: Apache-2.0
#include "core/endpoint.h"

#include <algorithm>

#include <absl/strings/str_cat.h>

#include "core/check.h"

namespace alertpipe::core {
namespace {

// What an alert takes in a queue besides its name and data, at most.
constexpr std::size_t kAlertOverhead = kRecordBytes + kRequestIdBytes + kTotalBytes;
// Notices of rejected alerts that are kept for one sender. Each stands for more than 4 KiB that
// were received from it, so only a sender that floods and does not read can get here.
constexpr std::size_t kRejectsMax = 4096;

std::string Describe(const Peer& peer) {
  return absl::StrCat(peer.is_master() ? "the master" : "the worker", " in slot ", peer.slot,
                      " (pid ", peer.pid, ", generation ", peer.generation, ")");
}

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
      UndeliveredReader discard(box.outbox.Fail(&meter_), &pool_);
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

// ---- Who
// ------------------------------------------------------------------------------------------------------------

absl::Status Endpoint::Resolve(const To& to, int* slot) {
  switch (to.kind()) {
    case To::Kind::kPid:
      return ResolvePid(to.pid(), slot);
    case To::Kind::kSlot:
      *slot = to.slot();
      return ResolveSlot(to.slot());
    case To::Kind::kAnyWorker:
      return ResolveAny(slot);
    case To::Kind::kPeer:
      break;
  }
  *slot = to.slot();
  if (!roster_.has(to.slot())) return ResolveSlot(to.slot());
  const RosterWord word = roster_.Get(to.slot());
  if (word.generation == to.generation() && word.lives() && !Gone(to.slot(), word))
    return absl::OkStatus();
  if (to.slot() == kMasterSlot) return ResolveSlot(kMasterSlot);
  Peer peer;
  peer.pid = to.pid();
  peer.slot = to.slot();
  peer.generation = to.generation();
  return absl::UnavailableError(absl::StrCat(Describe(peer), " is dead"));
}

absl::Status Endpoint::ResolvePid(pid_t pid, int* slot) {
  if (pid > 0) {
    const auto wanted = static_cast<std::uint32_t>(pid);
    *slot = pid == self_.pid ? self_.slot : roster_.Find(wanted);
    if (*slot >= 0) return ResolveSlot(*slot);
    for (int at = 0; at < roster_.slots(); ++at) {
      const RosterWord word = roster_.Get(at);
      if (word.pid == wanted) return *slot = at, ResolveSlot(at);
      // A worker can be heard of before the master has put its pid into the roster.
      if (word.pid == 0 && word.lives() && inbox_->LearnedPid(at, word.generation) == wanted) {
        *slot = at;
        return absl::OkStatus();
      }
    }
  }
  return absl::NotFoundError(absl::StrCat("no process of this family has pid ", pid));
}

absl::Status Endpoint::ResolveSlot(int slot) const {
  if (!roster_.has(slot)) {
    return absl::NotFoundError(absl::StrCat("there is no slot ", slot,
                                            ": workers have the slots 1 to ", roster_.slots() - 1));
  }
  const RosterWord word = roster_.Get(slot);
  if (word.takes_alerts() && !Gone(slot, word)) return absl::OkStatus();
  if (slot == kMasterSlot && !word.lives()) {
    return absl::UnavailableError(absl::StrCat("the master (pid ", word.pid,
                                               ") is not attached to a loop and takes no alerts"));
  }
  if (word.state == SlotState::kFree) {
    return absl::UnavailableError(absl::StrCat("slot ", slot, " has no worker yet"));
  }
  return absl::UnavailableError(
      absl::StrCat(Describe(PeerAt(slot, word)),
                   word.state == SlotState::kDraining ? " is being replaced" : " is dead"));
}

absl::Status Endpoint::ResolveAny(int* slot) {
  int best = -1;
  std::size_t best_bytes = 0;
  const int workers = roster_.slots() - 1;
  for (int i = 0; i < workers; ++i) {
    const int at = 1 + (next_any_ - 1 + i) % workers;
    const RosterWord word = roster_.Get(at);
    if (at == self_.slot || !word.takes_alerts() || Gone(at, word)) continue;
    const std::size_t bytes = queued_bytes(at);
    if (best < 0 || bytes < best_bytes) {
      best = at;
      best_bytes = bytes;
    }
  }
  if (best < 0) return absl::UnavailableError("there is no other live worker to choose from");
  next_any_ = 1 + best % workers;
  *slot = best;
  return absl::OkStatus();
}

void Endpoint::Select(Scope scope, std::vector<int>* slots) const {
  for (int slot = scope == Scope::kFamily ? kMasterSlot : 1; slot < roster_.slots(); ++slot) {
    if (scope == Scope::kOthers && slot == self_.slot) continue;
    const RosterWord word = roster_.Get(slot);
    if (word.takes_alerts() && !Gone(slot, word)) slots->push_back(slot);
  }
}

// ---- Accepting
// ------------------------------------------------------------------------------------------------------

absl::Status Endpoint::CheckContent(std::string_view name, std::size_t data_bytes) const {
  if (name.size() > kNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("alert name length cannot exceed ",
                                                   kNameBytesMax, " bytes, was ", name.size()));
  }
  const std::uint64_t limit = roster_.settings().alert_bytes_max;
  if (data_bytes > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("alert data length cannot exceed ", limit, " bytes",
                     limit < kDataBytesMax ? " (alert_bytes_max)" : "", ", was ", data_bytes));
  }
  return absl::OkStatus();
}

absl::Status Endpoint::CheckCaps(const Box& box, int slot, std::size_t bytes, bool owned,
                                 bool first_charge) const {
  const FamilySettings& settings = roster_.settings();
  if (!owned && bytes > std::min(settings.queued_bytes_per_peer_max, settings.queued_bytes_max)) {
    const bool peer = settings.queued_bytes_per_peer_max <= settings.queued_bytes_max;
    return absl::InvalidArgumentError(
        absl::StrCat("an alert of ", bytes, " bytes exceeds ",
                     peer ? "queued_bytes_per_peer_max" : "queued_bytes_max", ", which is ",
                     peer ? settings.queued_bytes_per_peer_max : settings.queued_bytes_max,
                     ": data of that size can only be handed over as a Buffer"));
  }
  const std::size_t queued = box.outbox.queued_bytes();
  const std::uint64_t per_peer = settings.queued_bytes_per_peer_max;
  if (queued + bytes > per_peer && !(owned && bytes > per_peer && queued == 0)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue for ", Describe(PeerAt(slot, roster_.Get(slot))),
                     " is full: queued_bytes_per_peer_max is ", per_peer, " bytes, ", queued,
                     " are queued, the alert needs ", bytes));
  }
  const std::size_t in_all = meter_.queued_bytes();
  const std::uint64_t cap = settings.queued_bytes_max;
  if (first_charge && in_all + bytes > cap && !(owned && bytes > cap && in_all == 0)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for an alert to ", Describe(PeerAt(slot, roster_.Get(slot))),
                     ": queued_bytes_max is ", cap, " bytes, ", in_all,
                     " are queued for all receivers, the alert needs ", bytes));
  }
  return absl::OkStatus();
}

void Endpoint::Readdress(Box* box, int slot, const RosterWord& word) {
  if (box->outbox.generation() == word.generation) return;
  if (!box->outbox.empty()) FailBack(box, slot, UndeliveredReason::kPeerDied);
  PacketHeader header;
  header.source_slot = static_cast<std::uint16_t>(self_.slot);
  header.source_generation = self_.generation;
  header.source_pid = static_cast<std::uint32_t>(self_.pid);
  header.destination_generation = word.generation;
  box->outbox.Address(header);
  box->turn = 0;
}

Admission Endpoint::Accept(int slot, const Content& content, SharedData* shared, bool owned,
                           bool first_charge) {
  Admission admission;
  admission.slot = slot;
  Box& box = boxes_[Index(slot)];
  Readdress(&box, slot, roster_.Get(slot));
  const std::size_t bytes = content.name.size() + content.data.size() + kAlertOverhead;
  admission.status = CheckCaps(box, slot, bytes, owned, first_charge);
  if (admission.status.ok()) {
    const std::uint64_t id = box.outbox.next_id();
    const bool queued = content.fits_packet()
                            ? box.outbox.AppendSmall(content, &pool_, &meter_)
                            : box.outbox.AppendLarge(content, shared, &pool_, &meter_);
    if (queued) {
      admission.alert_id = id;
    } else {
      admission.status = absl::ResourceExhaustedError(absl::StrCat(
          "no memory to queue an alert of ", content.data.size(), " bytes for slot ", slot));
    }
  }
  if (!admission.status.ok()) {
    if (absl::IsResourceExhausted(admission.status)) NoteRefused(&box, slot);
    return admission;
  }
  page().alerts_accepted.Add();
  page().bytes_accepted.Add(content.name.size() + content.data.size());
  NoteQueue(&box);
  admission.idle = box.turn != turn_ && admission.alert_id == box.outbox.sequence_written();
  admission.write_now = !box.blocked && (admission.idle || box.outbox.has_full());
  box.turn = turn_;
  MarkDirty(slot);
  return admission;
}

void Endpoint::Live(std::vector<Peer>* workers) const {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    if (word.lives() && !Gone(slot, word))
      workers->push_back(slot == self_.slot ? self_ : PeerAt(slot, word));
  }
}

bool Endpoint::HasOutput(int slot) const {
  const Box& box = boxes_[Index(slot)];
  return !box.outbox.empty() || ControlPending(box, slot);
}

void Endpoint::MarkDirty(int slot) {
  Box& box = boxes_[Index(slot)];
  if (box.dirty || box.blocked) return;
  box.dirty = true;
  dirty_.push_back(slot);
}

void Endpoint::TakeDirty(std::vector<int>* slots) {
  slots->swap(dirty_);
  dirty_.clear();
  for (const int slot : *slots) boxes_[Index(slot)].dirty = false;
}

void Endpoint::NoteQueue(Box* box) {
  const bool waiting = !box->outbox.empty();
  if (waiting != box->waiting) {
    box->waiting = waiting;
    waiting_ += waiting ? 1 : -1;
  }
}

// ---- Writing
// --------------------------------------------------------------------------------------------------------

bool Endpoint::ControlPending(const Box& box, int slot) const {
  return !box.rejects.empty() ||
         (notices_ != nullptr && slot != self_.slot && notices_->Pending(slot));
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
  if (!refused_in_all_ || meter_.queued_bytes() > roster_.settings().queued_bytes_max / 2) return;
  refused_in_all_ = false;
  for (int at = 0; at < roster_.slots(); ++at) {
    Box& other = boxes_[Index(at)];
    if (!other.tell_drained || !other.outbox.empty()) continue;
    other.tell_drained = false;
    events_.push_back({{Event::Kind::kDrained, PeerAt(at, roster_.Get(at)), {}}, {}});
  }
}

// A refused sender is told when trying again makes sense: when the receiver's queue is empty, or,
// if it was empty all along, when the endpoint has room.
void Endpoint::NoteRefused(Box* box, int slot) {
  if (!box->outbox.empty() || meter_.queued_bytes() > roster_.settings().queued_bytes_max / 2) {
    box->tell_drained = true;
    if (box->outbox.empty()) refused_in_all_ = true;
    return;
  }
  events_.push_back({{Event::Kind::kDrained, PeerAt(slot, roster_.Get(slot)), {}}, {}});
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

// ---- Reading
// --------------------------------------------------------------------------------------------------------

void Endpoint::NextArrival(Arrival* arrival) {
  for (;;) {
    inbox_->Next(arrival);
    switch (arrival->kind) {
      case Arrival::Kind::kNone:
      case Arrival::Kind::kAlert:
      case Arrival::Kind::kDamage:
        return;
      case Arrival::Kind::kReject:
        SendReject(*arrival);
        continue;
      case Arrival::Kind::kControl:
        if (HandleControl(*arrival)) continue;
        page().damaged_records.Add();
        arrival->kind = Arrival::Kind::kDamage;
        arrival->damage = {Damage::Kind::kRecord, 0, arrival->sender.slot};
        return;
    }
  }
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
    if (body.generation > roster_.Get(body.slot).generation) return false;
    if (!roster_.IsDead(body.slot, body.generation))
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
  const Outbox& outbox = boxes_[Index(arrival.sender.slot)].outbox;
  const bool known_reason =
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverFull) ||
      body.reason == static_cast<std::uint8_t>(UndeliveredReason::kReceiverMemory);
  if (outbox.generation() != arrival.sender.generation || body.alert_id == 0 ||
      body.alert_id >= outbox.next_id() || !known_reason) {
    return false;
  }
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

// ---- Life
// -----------------------------------------------------------------------------------------------------------

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
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    if (roster_.Get(slot).lives() && notices_->Pending(slot)) MarkDirty(slot);
  }
}

void Endpoint::FailBack(Box* box, int slot, UndeliveredReason reason) {
  box->rejects.clear();
  box->blocked = false;
  box->tell_drained = false;
  if (box->outbox.empty()) return;
  ++box->failures;
  const RosterWord word = roster_.Get(slot);
  Peer peer = word.generation == box->outbox.generation() ? PeerAt(slot, word) : box->peer;
  peer.slot = slot;
  if (peer.generation != box->outbox.generation()) peer.pid = 0;
  peer.generation = box->outbox.generation();
  failures_.push_back({peer, reason, box->outbox.Fail(&meter_)});
  NoteQueue(box);
}

void Endpoint::FailAll(UndeliveredReason reason) {
  for (int slot = 0; slot < roster_.slots(); ++slot) FailBack(&boxes_[Index(slot)], slot, reason);
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
      reading_ = std::make_unique<UndeliveredReader>(failures_.front().run, &pool_);
      failures_.pop_front();
    }
    UndeliveredReader::Item item;
    if (!reading_->Next(&item)) {
      reading_.reset();
      continue;
    }
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
