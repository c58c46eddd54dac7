// SPDX-License-Identifier: Apache-2.0
#include "sim/process.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <absl/strings/str_cat.h>

#include "sim/contents.h"
#include "sim/world.h"

namespace alertpipe::sim {
namespace {

// As the facade has it.
constexpr std::size_t kBytesPerFlushMax = 1048576;

}  // namespace

Process::Process(World* world, const Peer& self, bool attached)
    : world_(world),
      self_(self),
      attached_(attached),
      waits_(static_cast<std::size_t>(world->slots())),
      known_(static_cast<std::size_t>(world->slots())) {}

Process::~Process() {
  if (core_ == nullptr) return;
  // Data that is only lent would be the dead process's own: here somebody has to free it.
  if (send_.stage != Send::Stage::kNone) {
    for (const core::Target& target : send_.targets) SettleLent(target.slot, true);
    ReleasePayload();
  }
}

bool Process::Boot() {
  core_ =
      std::make_unique<core::Endpoint>(world_->roster(), self_, world_->seat(self_.slot).page.get(),
                                       self_.is_master() ? &world_->board() : nullptr);
  std::vector<Peer> live;
  core_->Live(&live);
  for (const Peer& peer : live) {
    if (peer.pid != 0 && peer.slot != self_.slot) known_[Index(peer.slot)] = peer.generation;
  }
  return !attached_ || core_->inbox().Allocate();
}

void Process::Attach() {
  attached_ = core_->inbox().Allocate();
  if (!attached_) return;
  for (int slot = 0; slot < world_->slots(); ++slot) {
    core_->Unblocked(slot);
    waits_[Index(slot)] = false;
    if (core_->HasOutput(slot)) core_->MarkDirty(slot);
  }
  core_->CloseDraining();
}

void Process::NoticesChanged() {
  core_->NoticesChanged();
  if (!attached_) EndTurn();
}

void Process::Step() {
  if (core_ == nullptr) {
    if (!Boot()) world_->Exit(self_.slot);
    return;
  }
  if (flush_.stage != Flush::Stage::kNone) return StepFlush();
  if (send_.stage != Send::Stage::kNone) return StepSend();
  if (phase_ == Phase::kPoll && hub_ != nullptr && hub_->busy()) return hub_->Step();
  // Nothing else happens while a slot's life is under way.
  if (self_.is_master() && world_->lives().busy() && phase_ == Phase::kPoll) {
    world_->lives().Step();
    return;
  }
  switch (phase_) {
    case Phase::kPoll:
      return closing_ ? StepLeave() : StepPoll();
    case Phase::kHandle:
      return StepHandle();
    case Phase::kFlush:
      return StepFlushList();
    case Phase::kTell:
      return StepTell();
    case Phase::kEvents:
      return StepEvents();
  }
}

// ---- Polling

void Process::StepPoll() {
  handled_ = 0;
  if (PollAny()) {
    turned_ = false;
    return;
  }
  // A turn has ended whenever the loop goes to sleep.
  if (hub_ != nullptr && hub_->HasWork() && !std::exchange(turned_, true)) return EndTurn();
  turned_ = false;
  EndTurnLate();
  asleep_ = !core_->dirty() && !closing_;
}

// Whether there was something to do.
bool Process::PollAny() {
  if (hub_ == nullptr && attached_ && world_->plan().publish != 0) {
    hub_ = std::make_unique<Hub>(world_, this);
    return true;
  }
  if (self_.is_master() && PollMaster()) return true;
  if (world_->active() && world_->random().Chance(world_->plan().busy) && BeginSomething())
    return true;
  if (core_->dirty() || (hub_ != nullptr && hub_->WantsTurn())) {
    EndTurn();
    return true;
  }
  if (core_->has_events()) {
    phase_ = Phase::kTell;
    return true;
  }
  if (told_to_drain_ && !draining_ && (!world_->active() || world_->random().Chance(8))) {
    BeginDrain();
    return true;
  }
  if (!late_.empty() && HandleLate()) return true;
  if (PollTimers()) return true;
  // Either may be reported first.
  const bool inbox_first = world_->random().Chance(2);
  if (inbox_first && PollInbox()) return true;
  if (PollOutboxes()) return true;
  if (!inbox_first && PollInbox()) return true;
  if (!world_->active() && !tokens_.empty()) {
    GiveUp(tokens_.back());
    tokens_.pop_back();
    return true;
  }
  if (probes_left_ > 0 && BeginProbe()) return true;
  if (hub_ != nullptr && hub_->deadline() <= world_->now()) {
    EndTurn();
    return true;
  }
  if (attached_ && lingered_ < world_->plan().linger) {
    ++lingered_;
    ++world_->census().lingered;
    Read();
    return true;
  }
  return false;
}

bool Process::PollInbox() {
  if (!attached_) return false;
  if (core_->inbox().pending()) {
    phase_ = Phase::kHandle;
    return true;
  }
  const bool wants_read = core_->wants_read() || (hub_ != nullptr && hub_->wants_read());
  if (world_->pipe(self_.slot).empty() && leaving_.empty() && !wants_read) return false;
  if (world_->Fault(world_->plan().eintr)) {
    ++world_->census().eintr;
    return true;
  }
  Read();
  return true;
}

bool Process::PollOutboxes() {
  for (int slot = 0; slot < world_->slots(); ++slot) {
    if (!waits_[Index(slot)]) continue;
    // A master without a loop tries when it is told to.
    const bool ready = attached_ ? world_->pipe(slot).writable() || !world_->HasReader(slot)
                                 : !world_->active() || world_->random().Chance(4);
    if (!ready) continue;
    waits_[Index(slot)] = false;
    core_->Unblocked(slot);
    BeginFlush(slot, false);
    return true;
  }
  return false;
}

bool Process::PollTimers() {
  if (core_->next_deadline() <= world_->now()) {
    core_->Expire(world_->now());
    return true;
  }
  if (!orphaned_ && !self_.is_master() && !world_->MasterLives() &&
      (!world_->active() || world_->random().Chance(4))) {
    orphaned_ = true;
    ++world_->census().orphaned;
    Leaving(kMasterSlot);
    return true;
  }
  const bool waits_for_master = core_->WaitsFor(kMasterSlot) && !self_.is_master();
  if (!Asks()) return false;
  if (world_->active() && !world_->random().Chance(8)) return false;
  // A death shows as a pipe that nobody reads.
  bool found = false;
  if (waits_for_master && !world_->word(kMasterSlot).lives() && leaving_.empty()) {
    Leaving(kMasterSlot);
    found = true;
  }
  for (int slot = 1; orphaned_ && slot < world_->slots(); ++slot) {
    if (!MayVanish(slot) || core_->IsGone(slot) || world_->HasReader(slot)) continue;
    if (std::find(leaving_.begin(), leaving_.end(), slot) != leaving_.end()) continue;
    ++world_->census().orphaned_requests;
    Leaving(slot);
    found = true;
  }
  return found;
}

bool Process::Asks() {
  return (orphaned_ && AnyMayVanish()) || (core_->WaitsFor(kMasterSlot) && !self_.is_master());
}

bool Process::MayVanish(int slot) const {
  return core_->MayVanish(slot) || (hub_ != nullptr && slot != self_.slot && hub_->WaitsFor(slot));
}

bool Process::AnyMayVanish() const {
  for (int slot = 1; slot < world_->slots(); ++slot) {
    if (MayVanish(slot)) return true;
  }
  return false;
}

bool Process::PollMaster() {
  if (!attached_ && world_->plan().attaches_late && world_->Fault(50)) {
    core::RosterWord word = world_->word(kMasterSlot);
    word.state = SlotState::kUp;
    Attach();
    if (!attached_) return true;
    world_->Publish(kMasterSlot, word);
    world_->board().StartReader(kMasterSlot);
    ++world_->census().attached_late;
    return true;
  }
  return world_->lives().Step();
}

// ---- Reading

void Process::Read() {
  const std::size_t room = core_->inbox().space_bytes();
  const std::size_t bytes = world_->Read(this);
  leaving_read_ = bytes < room;
  if (bytes > 0) lingered_ = 0;
  core_->inbox().Received(bytes);
  phase_ = Phase::kHandle;
}

void Process::StepHandle() {
  if (handled_ >= world_->plan().alerts_per_turn) return EndTurn();
  ++handled_;
  core::Arrival arrival;
  core_->NextArrival(&arrival);
  CheckBudgets();
  if (arrival.kind != core::Arrival::Kind::kNone) return Handle(arrival);
  if (leaving_read_ && !leaving_.empty()) {
    const std::vector<int> gone = leaving_;
    leaving_.clear();
    for (const int slot : gone) core_->PeerGone(slot);
  }
  EndTurn();
}

void Process::Handle(const core::Arrival& arrival) {
  const Incarnation from = Of(arrival.sender);
  const Incarnation self = who();
  const bool tainted = world_->ledger().fate(self).tainted;
  world_->Note(static_cast<std::uint64_t>(arrival.kind) + (from.generation << 8));
  switch (arrival.kind) {
    case core::Arrival::Kind::kNone:
    case core::Arrival::Kind::kControl:
      return;
    case core::Arrival::Kind::kAlert:
      return HandleAlert(arrival);
    case core::Arrival::Kind::kResponse:
    case core::Arrival::Kind::kLateResponse:
      if (arrival.kind == core::Arrival::Kind::kLateResponse) ++world_->census().responses_late;
      world_->ledger().Deliver(from, self, arrival.name, arrival.data, true);
      world_->ledger().GotResponse(self, arrival.request_id, from);
      if (arrival.kind == core::Arrival::Kind::kLateResponse) return;
      world_->ledger().End(self, arrival.request_id, from, ResponseOutcome::kResponse,
                           world_->now());
      if (core_->TakeResponse(arrival) == nullptr)
        throw Violation("the callback of a response is gone");
      return;
    case core::Arrival::Kind::kReject:
      if (arrival.reason == UndeliveredReason::kReceiverMemory) ++world_->census().rejected_memory;
      return world_->ledger().Reject(from, self, arrival.alert_id);
    case core::Arrival::Kind::kDamage:
      break;
  }
  Census& census = world_->census();
  if (arrival.damage.kind == Damage::Kind::kFraming) ++census.garbage_framing;
  if (arrival.damage.kind == Damage::Kind::kPacket) ++census.garbage_packets;
  if (arrival.damage.kind == Damage::Kind::kRecord) ++census.garbage_records;
  if (tainted) return;
  // A victim answers what was forged in somebody's name, and that one makes nothing of it.
  const int claimed = arrival.damage.claimed_slot;
  if (arrival.damage.kind == Damage::Kind::kRecord && world_->ledger().EverTainted(claimed)) {
    excused_ = true;
    return;
  }
  throw Violation(absl::StrCat(ToString(self), " found damage (kind ",
                               static_cast<int>(arrival.damage.kind), ", claimed slot ", claimed,
                               ") that nobody did"));
}

void Process::HandleAlert(const core::Arrival& arrival) {
  if (world_->breaks(Canary::kEarlyBarrier)) {
    late_.push_back(
        {arrival.sender, std::string(arrival.name), std::string(arrival.data), arrival.request_id});
    return;
  }
  if (arrival.name == core::kEventAlertName)
    return HandleEvent(arrival.sender, arrival.name, arrival.data);
  const Incarnation from = Of(arrival.sender);
  const std::uint64_t serial =
      world_->ledger().Deliver(from, who(), arrival.name, arrival.data, false);
  world_->Note(serial);
  if (world_->tracing()) {
    world_->Trace(absl::StrCat(ToString(who()), " got ", serial, " from ", ToString(from), ", ",
                               arrival.data.size(), " bytes"));
  }
  if (arrival.request_id != 0) {
    if (serial != kNoSerial) world_->ledger().GotRequest(from, arrival.request_id, who());
    tokens_.push_back({arrival.sender, arrival.request_id});
    if (closing_) {
      GiveUp(tokens_.back());
      tokens_.pop_back();
    } else if (world_->active() && world_->random().Chance(2)) {
      BeginResponse();
    }
    return;
  }
  if (!closing_ && world_->active() && world_->random().Chance(world_->plan().chatty)) {
    ++world_->census().replies;
    BeginAlert(To(arrival.sender), AlertKind::kPlain, PickBytes());
  }
}

// What comes when the endpoint has closed goes nowhere.
void Process::HandleEvent(const Peer& sender, std::string_view name, std::string_view data) {
  world_->Note(world_->ledger().Deliver(Of(sender), who(), name, data, false));
  if (hub_ != nullptr && close_stage_ < 2) hub_->Handle(sender, data);
}

// Canary: a handler that runs when its alert has been acknowledged. Requests get no response.
bool Process::HandleLate() {
  if (world_->active() && !world_->random().Chance(4)) return false;
  const Late late = std::move(late_.front());
  late_.pop_front();
  world_->ledger().Deliver(Of(late.sender), who(), late.name, late.data, false);
  if (late.request_id == 0) return true;
  world_->ledger().GotRequest(Of(late.sender), late.request_id, who());
  GiveUp({late.sender, late.request_id});
  return true;
}

void Process::CheckBudgets() {
  const core::FamilySettings& settings = core_->roster().settings();
  const std::size_t held = core_->meter().reassembly_bytes();
  if (held > settings.reassembly_bytes_max) {
    throw Violation(absl::StrCat(ToString(who()), " holds ", held,
                                 " bytes of incomplete alerts, the budget is ",
                                 settings.reassembly_bytes_max));
  }
}

// ---- The end of a turn

void Process::EndTurn() {
  core_->BeginTurn();
  core_->TakeDirty(&dirty_);
  dirty_at_ = 0;
  phase_ = Phase::kFlush;
}

void Process::StepFlushList() {
  if (dirty_at_ < dirty_.size()) return BeginFlush(dirty_[dirty_at_++], false);
  handled_ = 0;
  if (std::exchange(events_done_, false)) return EndTurnLate();
  if (core_->has_events()) {
    phase_ = Phase::kTell;
  } else {
    BeginEvents();
  }
}

// What is to be done for events once a turn, before it is over.
void Process::BeginEvents() {
  if (hub_ == nullptr || !hub_->HasWork() || close_stage_ > 1) return EndTurnLate();
  hub_->BeginTurn();
  phase_ = Phase::kEvents;
}

void Process::StepEvents() {
  if (hub_->busy()) return hub_->Step();
  events_done_ = true;
  core_->TakeDirty(&dirty_);
  dirty_at_ = 0;
  phase_ = Phase::kFlush;
}

// The turn is over, all is told: the loop polls again.
void Process::EndTurnLate() {
  phase_ = Phase::kPoll;
  if (!draining_ || closing_) return;
  core_->StepDrain(!tokens_.empty());
  if (!core_->drained() || (hub_ != nullptr && hub_->HasWork())) return;
  // Closes: nothing is left to be given back, by anybody.
  ++world_->census().retired_left;
  world_->ledger().fate(who()).left = true;
  closing_ = true;
  close_stage_ = 1;
}

// The application has ended its own work.
void Process::BeginDrain() {
  draining_ = true;
  core_->BeginDrain();
  EndTurn();
}

void Process::StepTell() {
  if (handled_++ >= world_->plan().alerts_per_turn) return BeginEvents();
  core::Event event;
  if (core_->NextEvent(&event)) return Tell(event);
  core::EndedRequest ended;
  if (!core_->NextEnded(&ended)) {
    core::EndedBarrier barrier;
    if (!core_->NextEndedBarrier(&barrier)) return BeginEvents();
    return barrier.callback(barrier.report);
  }
  if (ended.callback == nullptr) throw Violation("a request ended without its callback");
  if (world_->ledger().fate(who()).tainted && ended.peer.generation == 0) return;
  world_->ledger().End(who(), ended.id, Of(ended.peer), ended.outcome, world_->now());
}

void Process::Tell(const core::Event& event) {
  const Incarnation peer = Of(event.peer);
  std::uint32_t& known = known_[Index(peer.slot)];
  const bool tainted = world_->ledger().fate(who()).tainted;
  switch (event.kind) {
    case core::Event::Kind::kDraining:
      ++world_->census().retired_told;
      if (told_to_drain_)
        throw Violation(absl::StrCat(ToString(who()), " was told twice to drain"));
      told_to_drain_ = true;
      if (world_->random().Chance(2)) BeginDrain();
      return;
    case core::Event::Kind::kUndelivered:
      world_->ledger().GiveBack(who(), event.undelivered);
      if (hub_ != nullptr && event.undelivered.name == core::kEventAlertName)
        hub_->ComeBack(event.undelivered);
      return;
    case core::Event::Kind::kDrained:
      ++world_->census().room_told;
      if (hub_ != nullptr) hub_->Drained(event.peer);
      return;
    case core::Event::Kind::kJoined:
      ++world_->census().joined;
      if (known != 0 && !tainted)
        throw Violation(absl::StrCat(ToString(who()), " was told that ", ToString(peer),
                                     " has joined, it takes generation ", known, " to live"));
      known = peer.generation;
      return;
    case core::Event::Kind::kLeft:
      ++world_->census().left;
      if ((known != peer.generation && !tainted) || world_->ledger().Lives(peer))
        throw Violation(absl::StrCat(ToString(who()), " was told that ", ToString(peer),
                                     " has left: it lives, or had not joined"));
      known = 0;
      return;
    case core::Event::Kind::kDied:
      if (hub_ != nullptr) return hub_->Died(event.peer);
      throw Violation(absl::StrCat(ToString(who()), " was told of a death that nobody asked for"));
  }
}

// Closes without waiting for what is queued, as Endpoint::Close with a deadline of zero, and exits.
void Process::StepLeave() {
  switch (close_stage_) {
    case 0: {
      if (hub_ != nullptr && !std::exchange(events_closed_, true)) return hub_->BeginClosing();
      dirty_.clear();
      for (int slot = 0; slot < world_->slots(); ++slot) {
        if (core_->HasOutput(slot)) dirty_.push_back(slot);
      }
      dirty_at_ = 0;
      phase_ = Phase::kFlush;
      ++close_stage_;
      return;
    }
    case 1:
      world_->ledger().fate(who()).closing = true;
      core_->FailAll(UndeliveredReason::kClosed);
      phase_ = Phase::kHandle;
      ++close_stage_;
      return;
    default:
      if (core_->inbox().pending()) {
        handled_ = 0;
        phase_ = Phase::kHandle;
      } else if (core_->has_events()) {
        handled_ = 0;
        phase_ = Phase::kTell;
      } else {
        ++world_->census().leaves;
        world_->Exit(self_.slot);
      }
  }
}

// ---- Writing

void Process::BeginFlush(int slot, bool full_only) {
  flush_.stage = Flush::Stage::kLook;
  flush_.slot = slot;
  flush_.full_only = full_only;
  flush_.written = 0;
}

void Process::EndFlush() {
  flush_.stage = Flush::Stage::kNone;
  if (core_->HasOutput(flush_.slot)) core_->MarkDirty(flush_.slot);
}

void Process::StepFlush() {
  if (flush_.stage == Flush::Stage::kLook) {
    flush_.count = core_->NextWrite(flush_.slot, flush_.parts, flush_.full_only);
    flush_.generation = world_->word(flush_.slot).generation;
    if (flush_.count == 0) return EndFlush();
    flush_.stage = Flush::Stage::kWrite;
    return;
  }
  if (world_->Fault(world_->plan().eintr)) {
    ++world_->census().eintr;
    return;
  }
  if (world_->word(flush_.slot).generation != flush_.generation) ++world_->census().late_writes;
  const Outcome outcome = world_->Write(this, flush_.slot, flush_.parts, flush_.count);
  HandleWritten(outcome.bytes, outcome.error);
}

// Canary: what a full pipe has refused is taken for written, if it is a notice.
bool Process::LosesNotice(int error) const {
  if (!self_.is_master() || error == 0) return false;
  core::PacketHeader header;
  const std::string_view packet(static_cast<const char*>(flush_.parts[0].iov_base),
                                flush_.parts[0].iov_len);
  if (flush_.count != 1 || core::DecodePacket(packet, &header) != core::Framing::kPacket)
    return false;
  core::RecordReader records(packet.substr(core::kHeaderBytes));
  core::Record record;
  if (records.Next(&record) != core::RecordReader::Step::kRecord || !record.is_control())
    return false;
  ++world_->census().eagain_notice;
  return world_->breaks(Canary::kNoticeLost);
}

void Process::HandleWritten(std::size_t bytes, int error) {
  const int slot = flush_.slot;
  if (error == EPIPE) {
    flush_.stage = Flush::Stage::kNone;
    core_->PeerUnreachable(slot);
    Leaving(slot);
    return;
  }
  if (LosesNotice(error)) {
    bytes = flush_.parts[0].iov_len;
    error = 0;
  }
  if (error != 0) {
    flush_.stage = Flush::Stage::kNone;
    core_->Blocked(slot, error != EAGAIN);
    waits_[Index(slot)] = true;
    return;
  }
  core_->Wrote(slot, bytes);
  flush_.written += bytes;
  flush_.stage = Flush::Stage::kLook;
  if (flush_.written < kBytesPerFlushMax) return;
  flush_.stage = Flush::Stage::kNone;
  core_->WriteLater(slot);
}

void Process::Leaving(int slot) {
  leaving_read_ = false;
  if (std::find(leaving_.begin(), leaving_.end(), slot) == leaving_.end()) leaving_.push_back(slot);
}

bool Process::HalfWritten() {
  for (int slot = 0; slot < world_->slots(); ++slot) {
    if (core_->AllWritten(slot)) continue;
    iovec parts[core::Outbox::kPartsMax];
    if (core_->NextWrite(slot, parts, false) == 0) continue;
    const auto* packet = static_cast<const char*>(parts[0].iov_base);
    const auto kind = static_cast<std::uint8_t>(packet[core::kHeaderBytes]) & 0x1f;
    if (kind == static_cast<std::uint8_t>(core::RecordKind::kMiddle) ||
        kind == static_cast<std::uint8_t>(core::RecordKind::kLast))
      return true;
  }
  return false;
}

// ---- At rest

bool Process::Quiet() { return Business().empty(); }

// A request or its response may have gone with what a hostile relative has damaged.
bool Process::Exempt(int slot) {
  return world_->ledger().fate(who()).tainted ||
         world_->ledger().fate({slot, world_->word(slot).generation}).tainted;
}

std::string Process::Business() {
  if (core_ == nullptr) return "has not attached";
  if (!idle_at_poll()) return "is in the middle of something";
  if (core_->dirty()) return "has something to write at the end of its turn";
  if (core_->has_events()) return "has something to tell";
  if (attached_ && core_->inbox().pending()) return "has something to hand out";
  if (attached_ && !world_->pipe(self_.slot).empty()) return "has something to read";
  if (!leaving_.empty() || core_->wants_read()) return "has somebody leaving";
  for (int slot = 1; orphaned_ && slot < world_->slots(); ++slot) {
    if (MayVanish(slot) && !core_->IsGone(slot) && !world_->HasReader(slot))
      return absl::StrCat("has not missed slot ", slot);
  }
  for (int slot = 0; slot < world_->slots(); ++slot) {
    if (core_->HasRequests(slot) && !Exempt(slot))
      return absl::StrCat("has open requests to slot ", slot);
  }
  if (!tokens_.empty()) return "has requests to complete";
  if (hub_ != nullptr && !hub_->Business().empty()) return hub_->Business();
  if (!late_.empty()) return "has alerts to handle";
  for (int slot = 0; slot < world_->slots() && !world_->tainted(); ++slot) {
    if (core_->WaitsFor(slot))
      return absl::StrCat("waits in ", barriers_open_, " barriers for slot ", slot);
  }
  // What a victim has lost it may wait for; its master ends it, if there is one.
  if (told_to_drain_ && (!world_->tainted() || world_->MasterLives())) {
    return absl::StrCat("has been retired and ", draining_ ? "drains" : "does not drain",
                        core_->HasRequests() ? ", has requests" : "",
                        hub_ != nullptr && hub_->held() > 0 ? ", holds events" : "");
  }
  for (int slot = 0; slot < world_->slots(); ++slot) {
    const bool dead_reader = !world_->roster().Get(slot).lives();
    if (core_->HasOutput(slot) && !dead_reader) return absl::StrCat("has output for slot ", slot);
  }
  return {};
}

std::uint64_t Process::next_deadline() const {
  const std::uint64_t next = core_->next_deadline();
  return hub_ == nullptr ? next : std::min(next, hub_->deadline());
}

void Process::CheckAgreement() {
  std::vector<Peer> live;
  core_->Live(&live);
  std::vector<bool> named(Index(world_->slots()));
  for (const Peer& peer : live) {
    named[Index(peer.slot)] = true;
    if (!world_->ledger().Lives(Of(peer)) && world_->MasterLives())
      throw Violation(absl::StrCat(ToString(who()), " takes ", ToString(Of(peer)), " to live"));
  }
  for (int slot = 1; slot < world_->slots(); ++slot) {
    const Process* other = world_->seat(slot).process.get();
    const std::uint32_t generation = other == nullptr ? 0 : other->self().generation;
    if (slot == self_.slot) continue;
    const std::uint32_t known = known_[Index(slot)];
    // Without a master nobody tells of joins.
    const bool agrees = known == generation || (!world_->MasterLives() && known == 0);
    if (!agrees || (generation != 0 && !named[Index(slot)])) {
      throw Violation(absl::StrCat(ToString(who()), " was told that generation ", known,
                                   " lives in slot ", slot, ", it is ", generation));
    }
  }
}

void Process::CheckRest() {
  const auto check = [this](std::uint64_t value, const char* what) {
    if (value == 0) return;
    throw Violation(absl::StrCat(ToString(who()), " at rest: ", what, " is ", value));
  };
  const bool tainted = world_->ledger().fate(who()).tainted;
  const Stats stats = core_->page().Snapshot();
  for (int slot = 0; slot < world_->slots(); ++slot) {
    if (core_->queued_bytes(slot) == 0) continue;
    throw Violation(absl::StrCat(ToString(who()), " at rest has ", core_->queued_bytes(slot),
                                 " bytes queued for slot ", slot,
                                 core_->blocked(slot) ? ", whose pipe was full" : ""));
  }
  check(core_->meter().queued_bytes(), "queued_bytes");
  check(stats.queued_bytes, "the counter queued_bytes");
  check(core_->AllWritten() ? 0 : 1, "unwritten alerts");
  bool lost_requests = false;
  for (int slot = 0; slot < world_->slots(); ++slot)
    lost_requests = lost_requests || core_->HasRequests(slot);
  if (!lost_requests)
    check(stats.requests_sent - stats.responses_received - stats.requests_failed,
          "requests that have not ended");
  check(stats.alerts_refused - stats.refused_invalid - stats.refused_unreachable -
            stats.refused_full - stats.refused_memory - stats.refused_closed,
        "refusals of no kind");
  check(stats.alerts_undelivered - stats.undelivered_peer_died - stats.undelivered_receiver_full -
            stats.undelivered_receiver_memory - stats.undelivered_closed,
        "undelivered alerts of no kind");
  if (hub_ != nullptr && !tainted) check(hub_->held(), "events that are held");
  world_->census().stale += stats.alerts_stale;
  world_->census().partials += stats.partials_dropped;
  // What was forged in the name of one that never sends (a master that does not attach, or one that
  // was dead before this process came) stays within the budget.
  if (!tainted) check(core_->meter().reassembly_bytes(), "reassembly_bytes");
  if (tainted) return;
  check(stats.damaged_bytes, "damaged_bytes");
  check(stats.damaged_packets, "damaged_packets");
  if (!excused_) check(stats.damaged_records, "damaged_records");
  check(stats.lost_alerts, "lost_alerts");
}

}  // namespace alertpipe::sim
