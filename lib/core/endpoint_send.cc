// SPDX-License-Identifier: Apache-2.0
//
// The sending half of an endpoint: who is meant, whether it fits, and the way into the outbox. The
// roster word is read once per send: what Resolve has judged is what Accept addresses, so a slot
// that is replaced between the two cannot make an alert reach the successor.
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "core/endpoint.h"

namespace alertpipe::core {
namespace {

void NoRoom(absl::string_view knob, std::uint64_t cap, std::size_t queued, std::size_t needed,
            const std::string& whose, Admission* admission) {
  admission->full = true;
  admission->cap = cap;
  admission->queued = queued;
  admission->status = absl::ResourceExhaustedError(
      absl::StrCat(whose, " is full: ", knob, " is ", cap, " bytes, ", queued,
                   " are queued, the alert needs ", needed, " more"));
}

}  // namespace

// ---- Who ----

absl::Status Endpoint::Resolve(const To& to, Target* target) {
  switch (to.kind()) {
    case To::Kind::kPid:
      return ResolvePid(to.pid(), target);
    case To::Kind::kAnyWorker:
      return ResolveAny(target);
    case To::Kind::kSlot:
    case To::Kind::kPeer:
      break;
  }
  if (!roster_.has(to.slot())) {
    return absl::NotFoundError(absl::StrCat("there is no slot ", to.slot(),
                                            ": workers have the slots 1 to ", roster_.slots() - 1));
  }
  *target = {to.slot(), roster_.Get(to.slot())};
  if (to.kind() == To::Kind::kSlot || to.slot() == kMasterSlot) return Judge(*target);
  // Exactly this incarnation, also while it is being replaced: replies still reach it.
  const RosterWord& word = target->word;
  if (word.generation == to.generation() && word.lives() && !Gone(to.slot(), word))
    return CheckTakesMore(*target);
  Peer peer;
  peer.pid = to.pid();
  peer.slot = to.slot();
  peer.generation = to.generation();
  return absl::UnavailableError(absl::StrCat(ToString(peer), " is dead"));
}

absl::Status Endpoint::ResolvePid(pid_t pid, Target* target) {
  target->slot = -1;
  const auto wanted = pid > 0 ? static_cast<std::uint32_t>(pid) : 0;
  for (int i = 0; wanted != 0 && i < roster_.slots(); ++i) {
    // Sends to the same process again and again are the common case.
    const int slot = (pid_hint_ + i) % roster_.slots();
    const RosterWord word = roster_.Get(slot);
    // A worker can be heard of before the master has put its pid into the roster.
    const bool learned = word.pid == 0 && word.lives() &&
                         (slot == self_.slot ? pid == self_.pid
                                             : inbox_->LearnedPid(slot, word.generation) == wanted);
    if (word.pid != wanted && !learned) continue;
    // The pid of a dead worker may have been given to a live one.
    if (target->slot < 0 || word.lives()) *target = {slot, word};
    if (word.lives()) break;
  }
  if (target->slot < 0)
    return absl::NotFoundError(absl::StrCat("no process of this family has pid ", pid));
  pid_hint_ = target->slot;
  return Judge(*target);
}

// Whether a slot takes alerts, and if not, why.
absl::Status Endpoint::Judge(const Target& target) const {
  const RosterWord& word = target.word;
  if (word.takes_alerts() && !Gone(target.slot, word)) return absl::OkStatus();
  if (target.slot == kMasterSlot && !word.lives()) {
    return absl::UnavailableError(absl::StrCat("the master (pid ", word.pid,
                                               ") is not attached to a loop and takes no alerts"));
  }
  if (word.state == SlotState::kFree) {
    return absl::UnavailableError(absl::StrCat("slot ", target.slot, " has no worker yet"));
  }
  const std::string who = ToString(PeerAt(target.slot, word));
  if (word.state != SlotState::kDraining || Gone(target.slot, word))
    return absl::UnavailableError(absl::StrCat(who, " is dead"));
  const int successor = roster_.successor(target.slot);
  if (successor == 0) {
    return absl::UnavailableError(absl::StrCat(who, " is ending and takes no new alerts"));
  }
  return absl::UnavailableError(absl::StrCat(who, " is being replaced by slot ", successor));
}

absl::Status Endpoint::ResolveAny(Target* target) {
  std::size_t best_bytes = 0;
  const int workers = roster_.slots() - 1;
  target->slot = -1;
  for (int i = 0; i < workers; ++i) {
    const int slot = 1 + (next_any_ - 1 + i) % workers;
    const RosterWord word = roster_.Get(slot);
    if (slot == self_.slot || !word.takes_alerts() || Gone(slot, word)) continue;
    const std::size_t bytes = boxes_[Index(slot)].outbox.load();
    if (target->slot < 0 || bytes < best_bytes) {
      *target = {slot, word};
      best_bytes = bytes;
    }
  }
  if (target->slot < 0)
    return absl::UnavailableError("there is no other live worker to choose from");
  next_any_ = 1 + target->slot % workers;
  return absl::OkStatus();
}

void Endpoint::Select(Scope scope, std::vector<Target>* targets) const {
  for (int slot = scope == Scope::kFamily ? kMasterSlot : 1; slot < roster_.slots(); ++slot) {
    if (scope == Scope::kOthers && slot == self_.slot) continue;
    const RosterWord word = roster_.Get(slot);
    if (word.takes_alerts() && !Gone(slot, word)) targets->push_back({slot, word});
  }
}

// ---- Accepting ----

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

// An alert that is handed over may exceed a cap where nothing else is queued.
void Endpoint::CheckCaps(const Target& target, const Content& content, bool owned,
                         bool first_charge, Admission* admission) const {
  const Outbox& outbox = boxes_[Index(target.slot)].outbox;
  const std::uint64_t per_peer = roster_.settings().queued_bytes_per_peer_max;
  const std::uint64_t cap = roster_.settings().queued_bytes_max;
  const Cost cost = outbox.CostOf(content);
  const std::size_t queued = outbox.queued_bytes();
  // Most alerts fit into a packet that is there already.
  if (cost.total() == 0 && queued <= per_peer && meter_.queued_bytes() <= cap) return;
  const std::size_t alone = Outbox::CostWhenEmpty(content).total();
  if (!owned && alone > std::min(per_peer, cap)) {
    const bool peer = per_peer <= cap;
    admission->status = absl::InvalidArgumentError(absl::StrCat(
        "an alert with ", content.data.size(), " bytes of data takes ", alone,
        " in a queue and exceeds ", peer ? "queued_bytes_per_peer_max" : "queued_bytes_max",
        ", which is ", peer ? per_peer : cap,
        ": data of that size can only be handed over as a Buffer"));
    return;
  }
  if (queued + cost.total() > per_peer && !(owned && alone > per_peer && queued == 0)) {
    return NoRoom("queued_bytes_per_peer_max", per_peer, queued, cost.total(),
                  absl::StrCat("the queue for ", ToString(PeerAt(target.slot, target.word))),
                  admission);
  }
  // The data of a broadcast is held once.
  const std::size_t added = first_charge ? cost.total() : cost.packets;
  const std::size_t in_all = meter_.queued_bytes();
  const bool exempt = owned && alone > cap && (in_all == 0 || !first_charge);
  if (in_all + added > cap && !exempt) {
    NoRoom("queued_bytes_max", cap, in_all, added,
           absl::StrCat("the room for all receivers, ", ToString(PeerAt(target.slot, target.word)),
                        " among them,"),
           admission);
  }
}

void Endpoint::Readdress(Box* box, int slot, const RosterWord& word) {
  if (box->outbox.generation() == word.generation) return;
  if (!box->outbox.empty()) FailBack(box, slot, UndeliveredReason::kPeerDied);
  box->before = {box->outbox.generation(), box->rejected_id,
                 std::min(box->failed_from, box->outbox.next_id())};
  PacketHeader header;
  header.source_slot = static_cast<std::uint16_t>(self_.slot);
  header.source_generation = self_.generation;
  header.source_pid = static_cast<std::uint32_t>(self_.pid);
  header.destination_generation = word.generation;
  box->outbox.Address(header);
  box->rejected_id = 0;
  box->failed_from = ~std::uint64_t{0};
  box->turn = 0;
}

Admission Endpoint::Accept(const Target& target, const Content& content, SharedData* shared,
                           bool owned, bool first_charge) {
  Admission admission;
  const int slot = target.slot;
  Box& box = boxes_[Index(slot)];
  if (draining_ == Draining::kLastRound && (content.flags & kIsResponse) == 0) {
    admission.status = CheckMaySend();
    return admission;
  }
  if (target.word.generation < box.outbox.generation()) {
    admission.status = absl::UnavailableError(
        absl::StrCat(ToString(PeerAt(slot, target.word)), " is dead: it was replaced just now"));
    return admission;
  }
  Readdress(&box, slot, target.word);
  CheckCaps(target, content, owned, first_charge, &admission);
  if (admission.status.ok()) {
    const std::uint64_t id = box.outbox.next_id();
    const bool queued = content.fits_packet() ? box.outbox.AppendSmall(content, &pool_)
                                              : box.outbox.AppendLarge(content, shared, &pool_);
    if (queued) {
      admission.alert_id = id;
    } else {
      admission.status = absl::ResourceExhaustedError(absl::StrCat(
          "no memory to queue an alert of ", content.data.size(), " bytes for slot ", slot));
    }
  }
  if (!admission.status.ok()) {
    if (absl::IsResourceExhausted(admission.status))
      NoteRefused(&box, Outbox::CostWhenEmpty(content).total());
    return admission;
  }
  CountAccepted(content.name.size() + content.data.size());
  if (content.request_id != 0) {
    const bool is_response = (content.flags & kIsResponse) != 0;
    (is_response ? page().responses_sent : page().requests_sent).Add();
  }
  NoteQueue(&box);
  // By whatever the pipe was filled: this one waits for it.
  if (box.blocked) box.tell_drained = true;
  const bool open_to_all = target.word.takes_alerts() && !Gone(slot, target.word);
  box.judged_word = open_to_all ? target.word.Pack() : kNoWord;
  admission.idle = box.turn != turn_ && admission.alert_id == box.outbox.sequence_written();
  admission.write_now = !box.blocked && (admission.idle || ShouldLeave(box, content.to_many));
  box.turn = turn_;
  if (!admission.idle) MarkDirty(slot);
  return admission;
}

// ---- The common case ----

// Whether something is queued that should not wait for the end of the turn. Of broadcasts more
// gathers: to write each at once to everybody would wake everybody for each.
bool Endpoint::ShouldLeave(const Box& box, bool to_many) const {
  if (to_many) return box.outbox.queued_bytes() >= kBroadcastRunBytes;
  return box.outbox.has_full(roster_.settings().runs != 0);
}

PlainStep Endpoint::PlainStepFor(const Box& box, int slot, std::uint64_t word, bool to_many) const {
  if (word != box.judged_word || draining_ == Draining::kLastRound) return PlainStep::kLook;
  const FamilySettings& settings = roster_.settings();
  if (settings.latency_histograms != 0) return PlainStep::kLook;
  const std::size_t in_all = meter_.queued_bytes();
  if (box.outbox.empty()) {
    // Nothing is to be told once it has been written, nothing else to be written before, and there
    // would be room to queue it.
    const bool idle = box.turn != turn_ && !box.blocked && !box.tell_drained &&
                      !ControlPending(box, slot) &&
                      in_all + kPacketBytesMax <= settings.queued_bytes_max;
    return idle ? PlainStep::kWrite : PlainStep::kLook;
  }
  // What is queued must leave without being asked for, and no packet be full that should leave now.
  if (!box.blocked && (!box.dirty || ShouldLeave(box, to_many))) return PlainStep::kLook;
  // An alert that was handed over may have exceeded a cap; nothing may be added then.
  const bool within = box.outbox.queued_bytes() <= settings.queued_bytes_per_peer_max &&
                      in_all <= settings.queued_bytes_max;
  return within ? PlainStep::kQueued : PlainStep::kLook;
}

PlainStep Endpoint::AddPlain(Box* box, bool added, PlainWay* way) {
  if (!added) return PlainStep::kLook;
  way->alert_id = box->outbox.next_id() - 1;
  if (box->blocked) box->tell_drained = true;
  CountAccepted(way->bytes);
  return PlainStep::kQueued;
}

// The record is in its place.
PlainStep Endpoint::WriteAlone(const Box& box, std::size_t record_bytes, PlainWay* way) {
  way->alert_id = box.outbox.next_id();
  way->packet = {plain_, box.outbox.EncodeAlone(record_bytes, plain_)};
  CountAccepted(way->bytes);
  return PlainStep::kWrite;
}

PlainStep Endpoint::SendPlain(const To& to, std::string_view name, std::string_view data,
                              PlainWay* way) {
  const bool by_pid = to.kind() == To::Kind::kPid;
  const int slot = by_pid ? pid_hint_ : to.slot();
  if (Index(slot) >= boxes_.size()) return PlainStep::kLook;
  const std::uint64_t word = roster_.GetPacked(slot);
  // The pid of one that is being started is not known: 0.
  if (by_pid && (to.pid() <= 0 || RosterWord::PidOf(word) != static_cast<std::uint32_t>(to.pid())))
    return PlainStep::kLook;
  if (to.kind() == To::Kind::kPeer && RosterWord::GenerationOf(word) != to.generation())
    return PlainStep::kLook;
  if (name.size() > kNameBytesMax || data.size() > roster_.settings().alert_bytes_max)
    return PlainStep::kLook;
  Box& box = boxes_[Index(slot)];
  const PlainStep step = PlainStepFor(box, slot, word, false);
  way->slot = slot;
  way->bytes = name.size() + data.size();
  if (step == PlainStep::kQueued) return AddPlain(&box, box.outbox.AppendPlain(name, data), way);
  if (step == PlainStep::kLook || PlainSize(name.size(), data.size()) > kBodyBytesMax)
    return PlainStep::kLook;
  EncodePlain(name, data, plain_ + kHeaderBytes);
  return WriteAlone(box, PlainSize(name.size(), data.size()), way);
}

PlainStep Endpoint::SendPlain(const Target& target, std::string_view record, std::size_t bytes,
                              PlainWay* way) {
  Box& box = boxes_[Index(target.slot)];
  const PlainStep step = PlainStepFor(box, target.slot, target.word.Pack(), true);
  way->slot = target.slot;
  way->bytes = bytes;
  if (step == PlainStep::kQueued) return AddPlain(&box, box.outbox.AppendPlain(record), way);
  if (step == PlainStep::kLook) return step;
  CopyBytes(plain_ + kHeaderBytes, record);
  return WriteAlone(box, record.size(), way);
}

void Endpoint::WrotePlain(const PlainWay& way) {
  Box& box = boxes_[Index(way.slot)];
  box.turn = turn_;
  box.outbox.WroteAlone(&meter_);
  page().writes.Add();
}

void Endpoint::NotWrotePlain(const PlainWay& way) {
  page().alerts_accepted.TakeBack(1);
  page().bytes_accepted.TakeBack(way.bytes);
}

void Endpoint::CountRefused(const absl::Status& status, std::size_t bytes, bool full) {
  page().alerts_refused.Add();
  page().bytes_refused.Add(bytes);
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnavailable:
      return page().refused_unreachable.Add();
    case absl::StatusCode::kResourceExhausted:
      return (full ? page().refused_full : page().refused_memory).Add();
    case absl::StatusCode::kFailedPrecondition:
      return page().refused_closed.Add();
    default:
      return page().refused_invalid.Add();
  }
}

void Endpoint::Live(std::vector<Peer>* workers) const {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    if (word.lives() && !Gone(slot, word))
      workers->push_back(slot == self_.slot ? self_ : PeerAt(slot, word));
  }
}

int Endpoint::CountUp() const {
  int up = 0;
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord word = roster_.Get(slot);
    const bool started = word.pid != 0 || slot == self_.slot;
    if (word.takes_alerts() && started && !Gone(slot, word)) ++up;
  }
  return up;
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
  slots->clear();
  for (const int slot : dirty_) {
    Box& box = boxes_[Index(slot)];
    box.dirty = false;
    if (!box.blocked) slots->push_back(slot);
  }
  dirty_.clear();
}

void Endpoint::NoteQueue(Box* box) {
  const bool waiting = !box->outbox.empty();
  if (waiting != box->waiting) {
    box->waiting = waiting;
    waiting_ += waiting ? 1 : -1;
  }
}

}  // namespace alertpipe::core
