// SPDX-License-Identifier: Apache-2.0
//
// What the application of a simulated process does: alerts, broadcasts, requests and responses, of
// data that is lent or handed over. The steps of a send are those of the facade: prepare and
// resolve, accept, write what is to be written within the call, settle what was only lent.
#include <algorithm>
#include <cstring>
#include <utility>

#include <absl/strings/str_cat.h>

#include "sim/contents.h"
#include "sim/process.h"
#include "sim/world.h"

namespace alertpipe::sim {

// ---- What to send

std::size_t Process::PickBytes() {
  Random& random = world_->random();
  const Plan& plan = world_->plan();
  const std::uint32_t kind = random.Below(16);
  if (kind < plan.small) return random.Below(200);
  if (kind < plan.small + plan.filling) return 3850 + random.Below(260);
  if (kind < plan.small + plan.filling + plan.few) return 4060 + random.Below(12000);
  return 8000 + random.Below(plan.large_bytes_max - 8000);
}

To Process::PickReceiver() {
  Random& random = world_->random();
  const int slot = static_cast<int>(random.Below(static_cast<std::uint32_t>(world_->slots())));
  const core::RosterWord word = world_->word(slot);
  switch (random.Below(8)) {
    case 0:
      return To::AnyWorker();
    case 1:
      return To::Pid(static_cast<pid_t>(word.pid));
    case 2:
    case 3: {
      Peer peer;
      peer.slot = slot;
      peer.generation = word.generation;
      peer.pid = static_cast<pid_t>(word.pid);
      return To(peer);
    }
    default:
      return To::Slot(slot);
  }
}

bool Process::BeginSomething() {
  if (!attached_) return false;
  Random& random = world_->random();
  if (random.Chance(world_->plan().barrier)) {
    BeginBarrier();
    return true;
  }
  if (hub_ != nullptr && random.Chance(world_->plan().publish)) {
    hub_->Publish(false);
    return true;
  }
  switch (random.Below(10)) {
    case 0:
      BeginBroadcast();
      return true;
    case 1:
    case 2:
      BeginAlert(PickReceiver(), AlertKind::kRequest, PickBytes());
      return true;
    case 3:
      if (tokens_.empty()) break;
      std::swap(tokens_[random.Below(static_cast<std::uint32_t>(tokens_.size()))], tokens_.back());
      if (random.Chance(3)) {
        GiveUp(tokens_.back());
        tokens_.pop_back();
      } else {
        BeginResponse();
      }
      return true;
    case 4:
      if (self_.is_master() || !world_->Fault(world_->plan().leave)) break;
      closing_ = true;
      for (const Token& token : std::exchange(tokens_, {})) GiveUp(token);
      return true;
    default:
      break;
  }
  BeginAlert(PickReceiver(), AlertKind::kPlain, PickBytes());
  return true;
}

void Process::GiveUp(const Token& token) {
  world_->ledger().WillNotRespond(Of(token.asker), token.request_id);
  core_->Unhandled(token.asker, token.request_id);
}

void Process::BeginAlert(const To& to, AlertKind kind, std::size_t bytes) {
  send_.stage = Send::Stage::kResolve;
  send_.kind = kind;
  send_.broadcast = false;
  send_.probe = false;
  send_.to = to;
  send_.owned = world_->random().Chance(3);
  send_.deadline = core::kNever;
  if (kind == AlertKind::kRequest && world_->random().Chance(2))
    send_.deadline = world_->now() + 20 + world_->random().Below(2000);
  FillContent(bytes);
}

void Process::BeginBroadcast() {
  BeginAlert(To::Slot(0), AlertKind::kPlain, PickBytes());
  send_.broadcast = send_.content.to_many = true;
  constexpr Scope kScopes[] = {Scope::kWorkers, Scope::kOthers, Scope::kFamily};
  send_.scope = kScopes[world_->random().Below(3)];
  ++world_->census().broadcasts;
}

// For the last token.
void Process::BeginResponse() {
  const Token& token = tokens_.back();
  send_.request_id = token.request_id;
  BeginAlert(To(token.asker), AlertKind::kResponse, PickBytes());
}

void Process::BeginBarrier() {
  Random& random = world_->random();
  std::vector<core::Target> targets;
  if (random.Chance(3)) {
    targets.emplace_back();
    if (!core_->Resolve(PickReceiver(), &targets.back()).ok()) return;
  } else {
    constexpr Scope kScopes[] = {Scope::kWorkers, Scope::kOthers, Scope::kFamily};
    core_->SelectLiving(kScopes[random.Below(3)], &targets);
  }
  const std::uint64_t deadline =
      random.Chance(3) ? world_->now() + 20 + random.Below(2000) : core::kNever;
  AskAll(targets, deadline, nullptr);
}

// `told` is called beside the ledger, if it is not null.
bool Process::AskAll(const std::vector<core::Target>& targets, std::uint64_t deadline,
                     BarrierCallback told) {
  std::vector<Incarnation> asked;
  for (const core::Target& target : targets) asked.push_back({target.slot, target.word.generation});
  const std::size_t number = world_->ledger().NextBarrier();
  BarrierCallback callback = [this, number,
                              told = std::move(told)](const BarrierReport& report) mutable {
    --barriers_open_;
    if (world_->tracing()) {
      world_->Trace(absl::StrCat(ToString(who()), " has passed barrier ", number, ": ",
                                 report.status.ToString()));
    }
    world_->ledger().EndBarrier(number, report, world_->now());
    if (told != nullptr) told(report);
  };
  if (!core_->BeginBarrier(targets, deadline, &callback).ok()) {
    if (callback == nullptr) throw Violation("the callback of a refused barrier is gone");
    return false;
  }
  ++barriers_open_;
  if (world_->tracing()) {
    std::string whom;
    for (const Incarnation& peer : asked) absl::StrAppend(&whom, " ", ToString(peer));
    world_->Trace(absl::StrCat(ToString(who()), " begins barrier ", number, " for", whom));
  }
  world_->ledger().BeginBarrier(who(), asked, deadline);
  return true;
}

bool Process::Ask(const Peer& worker, std::uint64_t deadline, BarrierCallback callback) {
  std::vector<core::Target> targets(1);
  return core_->Resolve(To(worker), &targets[0]).ok() &&
         AskAll(targets, deadline, std::move(callback));
}

// Twice to everybody, one after the other: where a hostile relative has left an account open, the
// second one must arrive.
bool Process::BeginProbe() {
  if (!attached_) {
    probes_left_ = 0;
    return false;
  }
  const int slot = static_cast<int>(probe_at_++);
  if (std::exchange(probes_events_, false)) {
    probe_at_ = 0;
    hub_->Publish(true);
    return true;
  }
  if (probe_at_ == Index(world_->slots())) {
    probe_at_ = 0;
    --probes_left_;
  }
  BeginAlert(To::Slot(slot), AlertKind::kPlain,
             40 + world_->random().Below(probes_left_ > 0 ? 5000 : 2000));
  send_.probe = true;
  return true;
}

void Process::FillContent(std::size_t bytes) {
  const bool is_response = send_.kind == AlertKind::kResponse;
  send_.serial = world_->NewSerial();
  ResetSend();
  const std::size_t name = Contents::Name(send_.serial, is_response, send_.name);
  send_.content.name = std::string_view(send_.name, name);
  if (name == 0) bytes += Contents::kSerialBytes;
  if (send_.lent.size() < bytes) send_.lent.resize(bytes);
  send_.lent_bytes = bytes;
  Contents::Data(send_.serial, name == 0, send_.lent.data(), bytes);
  send_.content.data = std::string_view(send_.lent.data(), bytes);
  if (send_.kind == AlertKind::kRequest) send_.content.flags = core::kHasRequestId;
  if (is_response) {
    send_.content.flags = core::kHasRequestId | core::kIsResponse;
    send_.content.request_id = send_.request_id;
  }
}

void Process::ResetSend() {
  send_.retried = send_.copied = send_.accepted = send_.later = send_.plain_failed = false;
  send_.targets.clear();
  send_.at = 0;
  send_.content = core::Content();
}

void Process::SendRecord(const To& to, std::uint64_t serial, std::string_view record) {
  send_.stage = Send::Stage::kResolve;
  send_.kind = AlertKind::kEvent;
  send_.broadcast = send_.probe = send_.owned = false;
  send_.to = to;
  send_.deadline = core::kNever;
  send_.serial = serial;
  ResetSend();
  if (send_.lent.size() < record.size()) send_.lent.resize(record.size());
  send_.lent_bytes = record.size();
  std::memcpy(send_.lent.data(), record.data(), record.size());
  send_.content.name = core::kEventAlertName;
  send_.content.data = std::string_view(send_.lent.data(), record.size());
}

void Process::BroadcastRecord(std::uint64_t serial, std::string_view record) {
  SendRecord(To::Slot(0), serial, record);
  send_.broadcast = send_.content.to_many = true;
  send_.scope = Scope::kOthers;
}

// To nobody at all.
void Process::NotSent(const absl::Status& status) {
  if (send_.kind == AlertKind::kEvent) hub_->NotSent(status);
  FinishSend();
}

// ---- The steps of the call

// Data that needs more than one packet gets a block of its own before anything is queued.
bool Process::PrepareShared(std::size_t bytes) {
  send_.view = send_.content.data;
  if (!send_.owned && send_.content.fits_packet()) return true;
  absl::StatusOr<Buffer> room =
      send_.owned ? Buffer::Copy(send_.content.data) : Buffer::Allocate(bytes);
  if (!room.ok()) return false;
  if (send_.content.fits_packet()) return true;  // handed over, and copied into a packet
  send_.shared = core::SharedData::Create(&*room, &core_->meter());
  if (send_.shared == nullptr) return false;
  if (send_.owned) send_.content.data = send_.view = send_.shared->view();
  return true;
}

void Process::StepSend() {
  switch (send_.stage) {
    case Send::Stage::kNone:
      return;
    case Send::Stage::kResolve:
      return StepResolve();
    case Send::Stage::kAccept:
    case Send::Stage::kAgain:
      if (send_.at == send_.targets.size()) return FinishSend();
      return StepAccept();
    case Send::Stage::kPlain:
      return StepPlain();
    case Send::Stage::kWritten:
      return StepWritten();
  }
}

void Process::StepResolve() {
  const std::size_t bytes = send_.content.data.size();
  if (!send_.broadcast && !std::exchange(send_.plain_failed, false) && BeginPlain()) return;
  if (!core_->CheckContent(send_.content.name, bytes).ok()) return FinishSend();
  if (!PrepareShared(bytes)) {
    ++world_->census().refused_memory;
    send_.later = true;
    return NotSent(absl::ResourceExhaustedError("no memory"));
  }
  if (send_.broadcast) {
    core_->Select(send_.scope, &send_.targets);
  } else {
    core::Target target;
    if (absl::Status found = core_->Resolve(send_.to, &target); !found.ok()) {
      ++world_->census().refused_dead;
      CheckUnreachable();
      return NotSent(found);
    }
    CheckTarget(target);
    send_.targets.push_back(target);
  }
  send_.stage = Send::Stage::kAccept;
}

// Who was not found must not be there.
void Process::CheckUnreachable() {
  const int slot = send_.to.slot();
  if (slot < 0 || send_.to.kind() == To::Kind::kPid) return;
  const core::RosterWord word = world_->word(slot);
  const Incarnation there{slot, word.generation};
  if (send_.to.kind() == To::Kind::kPeer && send_.to.generation() != word.generation) return;
  if (!word.takes_alerts() || !world_->ledger().Lives(there)) return;
  throw Violation(absl::StrCat(ToString(who()), " cannot send to ", ToString(there),
                               ", which lives and takes alerts"));
}

// Who was found must be who was meant.
void Process::CheckTarget(const core::Target& target) {
  const Incarnation found{target.slot, target.word.generation};
  const To& to = send_.to;
  bool meant = true;
  if (to.kind() == To::Kind::kSlot) meant = target.slot == to.slot();
  if (to.kind() == To::Kind::kPeer)
    meant = target.slot == to.slot() && target.word.generation == to.generation();
  if (to.kind() == To::Kind::kPid)
    meant = world_->ledger().fate(found).pid == static_cast<std::uint32_t>(to.pid());
  if (to.kind() == To::Kind::kAnyWorker)
    meant = target.slot != kMasterSlot && target.slot != self_.slot;
  if (meant || world_->ledger().fate(who()).tainted) return;
  throw Violation(absl::StrCat(ToString(who()), " meant somebody else than ", ToString(found)));
}

// The way of most alerts, as in EndpointImpl::Send. Whom it is for must be who a look would find.
bool Process::BeginPlain() {
  const core::Content& content = send_.content;
  const bool plain = send_.kind == AlertKind::kPlain || send_.kind == AlertKind::kEvent;
  if (send_.owned || !plain) return false;
  core::Target target;
  core::PlainStep step;
  if (send_.broadcast) {
    if (!content.fits_packet()) return false;
    target = send_.targets[send_.at];
    char record[core::kPacketBytesMax];
    core::EncodePlain(content.name, content.data, record);
    const std::size_t bytes = core::PlainSize(content.name.size(), content.data.size());
    step = core_->SendPlain(target, std::string_view(record, bytes),
                            content.name.size() + content.data.size(), &send_.way);
  } else {
    step = core_->SendPlain(send_.to, content.name, content.data, &send_.way);
    if (step == core::PlainStep::kLook) return false;
    if (!core_->Resolve(send_.to, &target).ok())
      throw Violation(absl::StrCat(ToString(who()), " would send to one that takes no alerts"));
    CheckTarget(target);
    send_.targets.push_back(target);
  }
  if (step == core::PlainStep::kLook) return false;
  send_.stage = Send::Stage::kPlain;
  if (step == core::PlainStep::kQueued) {
    ++world_->census().appended;
    FinishPlain();
  }
  return true;
}

// Between the look at the roster and this anything may have happened to others.
void Process::StepPlain() {
  const core::Target& target = send_.targets[send_.at];
  if (world_->Fault(world_->plan().eintr)) {
    ++world_->census().eintr;
    return;
  }
  if (world_->word(target.slot).generation != target.word.generation)
    ++world_->census().late_writes;
  if (world_->Write(this, target.slot, &send_.way.packet, 1).error == 0) {
    ++world_->census().written_alone;
    core_->WrotePlain(send_.way);
    return FinishPlain();
  }
  core_->NotWrotePlain(send_.way);
  send_.plain_failed = true;
  if (send_.broadcast) {
    send_.stage = Send::Stage::kAccept;
  } else {
    send_.targets.clear();
    send_.stage = Send::Stage::kResolve;
  }
}

void Process::FinishPlain() {
  const core::Target& target = send_.targets[send_.at];
  core::Admission admission;
  admission.alert_id = send_.way.alert_id;
  const std::size_t queued = core_->queued_bytes(target.slot);
  Accepted(target, admission, queued, core_->meter().queued_bytes());
  ++send_.at;
  send_.stage = Send::Stage::kAccept;
}

void Process::StepAccept() {
  const core::Target& target = send_.targets[send_.at];
  const bool first = send_.stage == Send::Stage::kAccept;
  if (first && send_.broadcast && !std::exchange(send_.plain_failed, false) && BeginPlain()) return;
  const bool request = send_.kind == AlertKind::kRequest;
  if (request) {
    ResponseCallback callback = [](Response&) {};
    if (!core_->BeginRequest(target, send_.deadline, &callback, &send_.content.request_id).ok())
      return FinishSend();
  }
  const bool first_charge = send_.shared == nullptr || !send_.shared->charged();
  const std::size_t queued_before = core_->queued_bytes(target.slot);
  const std::size_t in_all_before = core_->meter().queued_bytes();
  core::Admission admission = core_->Accept(
      target, send_.content, send_.owned ? send_.shared : nullptr, send_.owned, first_charge);
  if (world_->breaks(Canary::kSwallowedMemory) && !admission.full &&
      absl::IsResourceExhausted(admission.status) && !request && send_.kind != AlertKind::kEvent) {
    // Canary: what got no memory is taken for sent.
    world_->ledger().Accept(
        who(), {target.slot, target.word.generation},
        {send_.serial, world_->ledger().NextId(who(), {target.slot, target.word.generation}),
         static_cast<std::uint32_t>(send_.content.data.size()), send_.kind});
  }
  if (request && !admission.status.ok() && core_->DropRequest(send_.content.request_id) == nullptr)
    throw Violation("the callback of a refused request is gone");
  if (absl::IsResourceExhausted(admission.status) && !core_->AllWritten(target.slot) &&
      !std::exchange(send_.retried, true)) {
    // The receiver may have read since its pipe was found full.
    send_.stage = Send::Stage::kAgain;
    return BeginFlush(target.slot, false);
  }
  send_.retried = false;
  if (!admission.status.ok()) {
    RefusedBy(target, admission);
    ++send_.at;
    return;
  }
  if (request) core_->KeepRequest(send_.content.request_id, target, admission.alert_id);
  Accepted(target, admission, queued_before, in_all_before);
  send_.stage = Send::Stage::kWritten;
  if (admission.write_now) BeginFlush(target.slot, !admission.idle);
}

void Process::Accepted(const core::Target& target, const core::Admission& admission,
                       std::size_t queued_before, std::size_t in_all_before) {
  send_.accepted = true;
  const Incarnation to{target.slot, target.word.generation};
  const core::FamilySettings& settings = core_->roster().settings();
  world_->ledger().Accept(
      who(), to,
      {send_.serial, admission.alert_id, static_cast<std::uint32_t>(send_.content.data.size()),
       send_.kind, send_.probe,
       send_.kind == AlertKind::kEvent ? Contents::SumOf(send_.content.data) : 0});
  if (send_.kind == AlertKind::kEvent) hub_->Accepted(to, admission.alert_id);
  if (send_.kind == AlertKind::kRequest) {
    world_->ledger().Ask(who(), send_.content.request_id, to, admission.alert_id, send_.deadline);
  }
  Census& census = world_->census();
  if (!send_.content.fits_packet()) ++census.accepted_large;
  if (target.slot == self_.slot) ++census.self_sends;
  if (world_->word(target.slot).state == SlotState::kDraining) ++census.sent_to_retired;
  if (world_->tracing()) {
    world_->Trace(absl::StrCat(ToString(who()), " sends ", send_.serial, " to ", ToString(to),
                               " as number ", admission.alert_id, ", ", send_.content.data.size(),
                               " bytes"));
  }
  const std::size_t queued = core_->queued_bytes(target.slot);
  const std::size_t in_all = core_->meter().queued_bytes();
  const bool over_peer = queued > settings.queued_bytes_per_peer_max;
  const bool over_all = in_all > settings.queued_bytes_max;
  if (over_peer || over_all) ++census.accepted_over_cap;
  // What was queued for the predecessor of a new incarnation is not queued any more.
  const bool was_empty = queued_before == 0 || admission.alert_id == 1;
  const bool may_peer = queued == queued_before || (send_.owned && was_empty);
  const bool may_all =
      in_all == in_all_before || (send_.owned && (in_all_before == 0 || send_.broadcast));
  if ((over_peer && !may_peer) || (over_all && !may_all)) {
    throw Violation(absl::StrCat(ToString(who()), " holds ", queued, " bytes for slot ",
                                 target.slot, ", ", in_all, " in all; the caps are ",
                                 settings.queued_bytes_per_peer_max, " and ",
                                 settings.queued_bytes_max));
  }
}

void Process::RefusedBy(const core::Target& target, const core::Admission& admission) {
  core_->CountRefused(admission.status, send_.content.data.size(), admission.full);
  if (send_.kind == AlertKind::kEvent)
    hub_->Refused({target.slot, target.word.generation}, admission.status);
  Census& census = world_->census();
  send_.later = absl::IsResourceExhausted(admission.status);
  if (admission.full) ++census.refused_full;
  if (absl::IsResourceExhausted(admission.status) && !admission.full) {
    ++census.refused_memory;
    if (!world_->plan().refuse_memory)
      throw Violation(absl::StrCat(ToString(who()), " was refused memory that there was"));
  }
  if (absl::IsFailedPrecondition(admission.status)) {
    ++census.refused_last_word;
    if (!draining_)
      throw Violation(absl::StrCat(ToString(who()), " was refused as one that has left"));
  }
  if (!absl::IsUnavailable(admission.status)) return;
  if (world_->word(target.slot).generation == target.word.generation)
    throw Violation(absl::StrCat(ToString(who()), " was refused: slot ", target.slot,
                                 " is taken to have been replaced, which is not so"));
}

// What had to be written within the call has been.
void Process::StepWritten() {
  const core::Target& target = send_.targets[send_.at];
  if (send_.broadcast && core_->NeedsLent(target.slot)) send_.shared->Charge();
  ++send_.at;
  send_.stage = Send::Stage::kAccept;
}

void Process::FinishSend() {
  // A response that found no room is tried again later.
  if (send_.kind == AlertKind::kResponse && !send_.later) {
    if (!send_.accepted) GiveUp(tokens_.back());
    tokens_.pop_back();
  }
  for (const core::Target& target : send_.targets) SettleLent(target.slot, send_.broadcast);
  ReleasePayload();
  send_.stage = Send::Stage::kNone;
}

// What could not be written at once of data that was only lent is copied now.
void Process::SettleLent(int slot, bool everything) {
  if (!core_->NeedsLent(slot)) return;
  const core::Bulk* bulk = core_->Lent(slot);
  const bool whole = everything || core_->LentUntouched(slot);
  if (!send_.copied) {
    const std::size_t from = whole ? 0 : bulk->at;
    const std::size_t to = whole ? send_.view.size() : bulk->end;
    std::memcpy(send_.shared->data() + from, send_.view.data() + from, to - from);
    send_.copied = whole;
  }
  core_->SettleLent(slot, send_.shared, whole);
}

void Process::ReleasePayload() {
  if (send_.shared != nullptr) std::exchange(send_.shared, nullptr)->Release();
  if (send_.lent_bytes > 0) std::memset(send_.lent.data(), '!', send_.lent_bytes);
}

}  // namespace alertpipe::sim
