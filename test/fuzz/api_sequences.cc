// SPDX-License-Identifier: Apache-2.0
//
// Sequences of calls at the endpoints of a simulated family. The input says who sends, requests,
// responds, writes, reads, dies, is replaced or closes, when a pipe is full and when memory is
// short; also what handlers do in the midst of a delivery, and what happens to a receiver between a
// sender's look at the roster and its write. A ledger knows what must have come of each alert. In
// the end everything settles, and nothing may be left: no byte in an account, no block.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "../core/memory_faults.h"
#include "../core/simulated_family.h"
#include "fuzz.h"
#include "ledger.h"

namespace alertpipe::fuzz {

const char* const kTargetName = "api_sequences";
const std::vector<const char*> kCanaries = {
    "a full pipe is taken for a write",
    "a notice is lost on a full pipe",
    "the second self-send of a handler is lost",
    "with memory short a send says that it is accepted",
    "a barrier ends when it has been asked",
};

namespace {

enum Defect : int {
  kSwallowsEagain = 1,
  kLosesNotices,
  kLosesSelfSends,
  kSwallowsEnomem,
  kEarlyBarrier
};

using core::SimulatedFamily;

constexpr int kDepthMax = 3;
constexpr int kWritesMax = 100000;
constexpr std::size_t kBytesMax = 1 << 20;  // of data, in one run
constexpr std::size_t kPipeBytesMax = 65536;

enum Step : std::uint8_t {
  kSend,
  kBroadcast,
  kRequest,
  kRespond,
  kGiveUp,
  kEndTurn,
  kPump,
  kRead,
  kHear,
  kRefuse,
  kLife,
  kKill,
  kTime,
  kClose,
  kShortMemory,
  kBarrier,
  kRetire,
  kBeginDrain,
  kSteps
};

class Run {
 public:
  explicit Run(std::string_view bytes) : input_(bytes) {}
  // Whatever is still there goes before the memory is looked at.
  ~Run() { family_.reset(); }

  void Go() {
    SetUp();
    while (!input_.empty()) Do(static_cast<Step>(input_.Pick(kSteps)));
    SettleEverything();
    CheckAtRest();
    family_.reset();
    Require(memory_.live_blocks() == 0, "a block was not freed");
  }

 private:
  void SetUp() {
    const std::uint64_t capacities[] = {4096, 8192, 16384, 65536};
    const std::uint64_t caps[] = {40000, 10000, 120000, 400000};
    const std::uint64_t budgets[] = {1 << 30, 1 << 30, 6000, 30000};
    core::FamilySettings settings =
        core::GenerousSettings(3 + static_cast<std::uint32_t>(input_.Pick(3)));
    settings.pipe_capacity = input_.OneOf(capacities);
    settings.queued_bytes_per_peer_max = input_.OneOf(caps);
    settings.queued_bytes_max = input_.OneOf(caps);
    settings.reassembly_bytes_max = input_.OneOf(budgets);
    const std::uint8_t flags = input_.Byte();
    settings.runs = flags & 1U;
    rejecting_ = settings.reassembly_bytes_max < (1 << 30);
    family_ = SimulatedFamily::WithWorkers(settings);
    family_->on_alert = [this](int slot, const core::Arrival& arrival) { Handle(slot, arrival); };
    family_->on_response = [this](int slot, const core::Arrival& a) { TakeResponse(slot, a); };
    family_->before_queue = [this](int from, int to) { BeforeQueue(from, to); };
    intruding_ = (flags & 2) != 0;
    family_->before_write = [this](int, int to) { BeforeWrite(to); };
    closed_.assign(static_cast<std::size_t>(family_->slots()), false);
    busy_.assign(static_cast<std::size_t>(family_->slots()), 0);
  }

  int AnySlot() {
    return static_cast<int>(input_.Pick(static_cast<std::size_t>(family_->slots())));
  }
  static std::size_t Index(int slot) { return static_cast<std::size_t>(slot); }
  bool Runs(int slot) const { return family_->runs(slot); }
  bool Open(int slot) const { return Runs(slot) && !closed_[Index(slot)]; }
  Incarnation Self(int slot) const { return IncarnationOf(family_->PeerIn(slot)); }
  bool Lives(const Incarnation& who) const {
    return Runs(who.first) && Self(who.first).second == who.second;
  }
  Ledger::Lives LivesNow() {
    return [this](const Incarnation& who) { return Lives(who); };
  }

  void Do(Step step) {
    const int slot = AnySlot();
    switch (step) {
      case kSend:
        return Send(slot, AnySlot());
      case kBroadcast:
        return Broadcast(slot);
      case kRequest:
        return Request(slot, AnySlot());
      case kRespond:
      case kGiveUp:
        return Complete(step == kGiveUp);
      case kEndTurn:
      case kPump:
        return EndTurn(slot, step == kPump);
      case kRead:
        return Read(slot);
      case kHear:
        if (Runs(slot)) Hear(slot);
        return;
      case kRefuse:
        return Refuse(slot);
      case kLife:
        return StepLife(slot);
      case kKill:
        return Kill(slot);
      case kTime:
        now_ += 1 + input_.Pick(20);
        if (Runs(slot)) family_->at(slot).Expire(now_);
        return;
      case kClose:
        return Close(slot);
      case kShortMemory:
        fail_in_ = 1 + static_cast<int>(input_.Pick(4));
        return;
      case kBarrier:
        return Barrier(slot);
      case kRetire:
        return Retire(slot, AnySlot());
      case kBeginDrain:
        if (Open(slot) && family_->at(slot).told_to_drain()) family_->at(slot).BeginDrain();
        return;
      case kSteps:
        return;
    }
  }

  // Nobody is killed in the midst of a call of his own, nor reads while he hands something out.
  template <typename Call>
  void Busily(int slot, Call call) {
    ++busy_[Index(slot)];
    call();
    --busy_[Index(slot)];
  }

  // ---- Sending

  std::size_t MakeSize() {
    const std::size_t sizes[] = {0, 10, 300, 4050, 4061, 9000, 13000, 50000};
    const std::size_t size = input_.OneOf(sizes);
    if (bytes_ + size > kBytesMax) return 0;
    bytes_ += size;
    return size;
  }

  To Receiver(int slot, std::uint32_t generation, std::uint8_t how) {
    Peer peer;
    peer.slot = slot;
    peer.generation = generation;
    return (how & 2) != 0 ? To(peer) : To::Slot(slot);
  }

  void Send(int from, int to) {
    const std::uint8_t how = input_.Byte();
    const std::size_t size = MakeSize();
    if (!Open(from)) return;
    const std::uint64_t number = ledger_.NextNumber();
    const std::string data = Ledger::DataOf(number, size);
    const std::uint32_t generation = family_->roster().Get(to).generation;
    const To receiver = Receiver(to, generation, how);
    const std::string name = Ledger::NameOf(number);
    SendResult result = absl::OkStatus();
    Busily(from, [&] {
      result = (how & 1) != 0 ? family_->Send(from, receiver, name, Buffer::Copy(data).value())
                              : family_->Send(from, receiver, name, data);
    });
    const bool fired = EndShortage();
    if (planted == kSwallowsEnomem && fired && absl::IsResourceExhausted(result.status()))
      return ledger_.Accepted(Self(from), {to, generation}, number, size, 0, false);
    CheckRefusal(result.status(), fired);
    if (result.ok())
      ledger_.Accepted(Self(from), {to, generation}, number, size, result.alert_id(), false);
  }

  void CheckRefusal(const absl::Status& status, bool fired) {
    if (status.ok()) return;
    Require(absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
                absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status),
            "refused for a reason that makes no sense");
    if (!fired) return;
    Require(!status.message().empty(), "refused without a text");
  }

  void Request(int from, int to) {
    const std::uint8_t how = input_.Byte();
    const std::size_t size = MakeSize();
    const std::uint64_t deadline = (how & 4) != 0 ? now_ + input_.Pick(50) + 1 : core::kNever;
    if (!Open(from)) return;
    const std::uint64_t number = ledger_.NextNumber();
    const std::string data = Ledger::DataOf(number, size);
    const std::uint32_t generation = family_->roster().Get(to).generation;
    const To receiver = Receiver(to, generation, how);
    const std::string name = Ledger::NameOf(number);
    std::uint64_t id = 0;
    SendResult result = absl::OkStatus();
    Busily(from, [&] {
      result = (how & 1) != 0 ? family_->Request(from, receiver, name, Buffer::Copy(data).value(),
                                                 deadline, &id)
                              : family_->Request(from, receiver, name, data, deadline, &id);
    });
    CheckRefusal(result.status(), EndShortage());
    if (!result.ok()) return;
    ledger_.Accepted(Self(from), {to, generation}, number, size, result.alert_id(), true);
    ledger_.Asked(Self(from), id, {to, generation}, deadline);
  }

  void Broadcast(int from) {
    const Scope scopes[] = {Scope::kFamily, Scope::kOthers, Scope::kWorkers};
    const Scope scope = input_.OneOf(scopes);
    const std::size_t size = MakeSize();
    if (!Open(from)) return;
    const std::uint64_t number = ledger_.NextNumber();
    std::vector<core::Target> targets;
    family_->at(from).Select(scope, &targets);
    BroadcastResult result = absl::OkStatus();
    Busily(from, [&] {
      result =
          family_->Broadcast(from, scope, Ledger::NameOf(number), Ledger::DataOf(number, size));
    });
    Require(result.accepted + result.refused.size() == targets.size(), "receivers are missing");
    std::set<Incarnation> refused;
    for (const Refusal& refusal : result.refused) refused.insert(IncarnationOf(refusal.peer));
    for (const core::Target& target : targets) {
      const Incarnation to{target.slot, target.word.generation};
      if (refused.count(to) == 0) ledger_.Accepted(Self(from), to, number, size, 0, false);
    }
  }

  struct Token {
    Incarnation holder;
    Peer sender;
    std::uint64_t request_id = 0;
  };

  void Complete(bool give_up) {
    if (tokens_.empty()) return;
    std::swap(tokens_[input_.Pick(tokens_.size())], tokens_.back());
    const Token token = tokens_.back();
    tokens_.pop_back();
    const std::size_t size = MakeSize();
    if (!Lives(token.holder) || closed_[Index(token.holder.first)]) return;
    if (give_up) return GiveUp(token);
    const int from = token.holder.first;
    const std::uint64_t number = ledger_.NextNumber();
    const std::string data = ResponseData(number, size);
    SendResult result = absl::OkStatus();
    Busily(from, [&] { result = family_->Respond(from, token.sender, token.request_id, data); });
    const Incarnation to = IncarnationOf(token.sender);
    CheckRefusal(result.status(), EndShortage());
    if (result.ok()) {
      ledger_.Accepted(token.holder, to, number, size, result.alert_id(), false);
    } else if (absl::IsResourceExhausted(result.status())) {
      tokens_.push_back(token);
    } else if (absl::IsInvalidArgument(result.status())) {
      GiveUp(token);
    } else {
      // One that is being replaced says its last when its own requests have ended.
      const core::RosterWord word = family_->roster().Get(to.first);
      Require(!Lives(to) || word.state == SlotState::kDraining, "the requester lives");
    }
  }

  static std::string ResponseData(std::uint64_t number, std::size_t size) {
    return Ledger::NameOf(number) + "/" + Ledger::DataOf(number, size);
  }

  void GiveUp(const Token& token) {
    ledger_.GaveUp(IncarnationOf(token.sender), token.request_id);
    family_->at(token.holder.first).Unhandled(token.sender, token.request_id);
  }

  // ---- Receiving

  void Read(int slot) {
    if (!Runs(slot) || busy_[Index(slot)] > 0) return;
    if (fail_in_ > 0) {
      memory_.Fail(std::exchange(fail_in_, 0), 2);
      rejecting_ = true;
    }
    Busily(slot, [&] { family_->Read(slot); });
    memory_.FailNone();
  }

  void Handle(int slot, const core::Arrival& arrival) {
    memory_.FailNone();
    const Incarnation from = IncarnationOf(arrival.sender);
    std::uint64_t number = 0;
    for (const char digit : arrival.name)
      number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    ledger_.Delivered(from, Self(slot), number, arrival.data);
    if (arrival.request_id != 0) {
      ledger_.RequestArrived(from, arrival.request_id, Self(slot));
      tokens_.push_back({Self(slot), arrival.sender, arrival.request_id});
    }
    if (depth_ >= kDepthMax) return;
    ++depth_;
    for (std::size_t i = input_.Pick(4); i > 0 && i < 3; --i) React(slot, arrival.sender.slot);
    --depth_;
  }

  // What a handler does.
  void React(int slot, int sender) {
    switch (input_.Pick(8)) {
      case 0:
        return Send(slot, sender);
      case 1:
        Send(slot, slot);
        if (planted == kLosesSelfSends && Open(slot)) {
          const std::uint64_t number = ledger_.NextNumber();
          ledger_.Accepted(Self(slot), Self(slot), number, 0, 0, false);
        } else {
          Send(slot, slot);
        }
        return;
      case 2:
        return Request(slot, sender);
      case 3:
        return Complete(input_.Flag());
      case 4:
        return Close(slot);
      default:
        return Do(static_cast<Step>(input_.Pick(kSteps)));
    }
  }

  void TakeResponse(int slot, const core::Arrival& arrival) {
    memory_.FailNone();
    const std::size_t cut = arrival.data.find('/');
    Require(cut != std::string_view::npos, "a response without a number");
    const std::uint64_t number = std::stoull(std::string(arrival.data.substr(0, cut)));
    ledger_.Delivered(IncarnationOf(arrival.sender), Self(slot), number,
                      arrival.data.substr(cut + 1));
  }

  void Hear(int slot) {
    for (const core::Ended& ended : family_->Outcomes(slot)) {
      ledger_.Ended(Self(slot), ended.request_id, IncarnationOf(ended.peer), ended.outcome, now_,
                    LivesNow(), rejecting_);
    }
    for (const core::Told& told : family_->Events(slot)) {
      if (told.kind != core::Event::Kind::kUndelivered) continue;
      const Incarnation to = IncarnationOf(told.peer);
      const bool rejected = told.reason == UndeliveredReason::kReceiverFull ||
                            told.reason == UndeliveredReason::kReceiverMemory;
      ledger_.GivenBack(Self(slot), to, told.alert_id, rejected);
      if (!told.is_response) ledger_.CheckName(Self(slot), to, told.alert_id, told.name);
    }
    for (const auto& [number, report] : family_->BarriersEnded(slot)) CheckBarrier(number, report);
  }

  // ---- Barriers, and being replaced

  struct Asked {
    Incarnation from;
    std::vector<std::pair<Incarnation, std::uint64_t>> peers;  // and what was accepted for them
    std::uint64_t deadline = core::kNever;
  };

  void Barrier(int from) {
    const Scope scopes[] = {Scope::kFamily, Scope::kOthers, Scope::kWorkers};
    const Scope scope = input_.OneOf(scopes);
    const std::uint64_t deadline = input_.Flag() ? now_ + 1 + input_.Pick(50) : core::kNever;
    if (!Open(from)) return;
    std::vector<core::Target> targets;
    family_->at(from).SelectLiving(scope, &targets);
    Asked asked{Self(from), {}, deadline};
    for (const core::Target& target : targets) {
      const Incarnation to{target.slot, target.word.generation};
      asked.peers.emplace_back(to, ledger_.AcceptedFor(Self(from), to));
    }
    const int number = static_cast<int>(++barriers_begun_);
    const absl::Status status = family_->Barrier(from, scope, number, deadline);
    if (!status.ok()) return CheckRefusal(status, false);
    asked_[number] = asked;
    if (planted == kEarlyBarrier) CheckBarrier(number, BarrierReport());
  }

  void CheckBarrier(int number, const BarrierReport& report) {
    const auto at = asked_.find(number);
    Require(at != asked_.end(), "a barrier ended twice, or was never begun");
    const Asked asked = at->second;
    asked_.erase(at);
    std::set<Incarnation> died;
    std::set<Incarnation> missing;
    for (const Peer& peer : report.died) died.insert(IncarnationOf(peer));
    for (const Peer& peer : report.missing) missing.insert(IncarnationOf(peer));
    if (absl::IsDeadlineExceeded(report.status)) Require(asked.deadline <= now_, "too early");
    Require(report.status.ok() == missing.empty(), "whether somebody is missing");
    Require(!absl::IsCancelled(report.status) || closed_[Index(asked.from.first)], "cancelled");
    for (const auto& [to, accepted] : asked.peers) {
      if (died.count(to) > 0) Require(!Lives(to), "said to have died");
      if (died.count(to) + missing.count(to) == 0)
        ledger_.Passed(asked.from, to, accepted, rejecting_);
    }
  }

  void Retire(int slot, int successor) {
    if (slot == kMasterSlot || MasterIsBusy() || busy_[Index(slot)] > 0) return;
    if (!Open(slot) || !family_->life(slot).running() || family_->life(slot).draining()) return;
    family_->BeginRetire(slot, successor == slot ? 0 : successor);
  }

  void EndTurn(int slot, bool pump) {
    if (!Runs(slot)) return;
    bool holds = false;
    for (const Token& token : tokens_) holds = holds || token.holder == Self(slot);
    family_->HoldRequests(slot, holds);
    Busily(slot, [&] { pump ? family_->Pump(slot) : family_->EndTurn(slot); });
    Leave(slot);
  }

  // Takes everything out. A barrier, or a notice, may have come after the last words: those who
  // sent it hear of the end.
  std::uint64_t AlertsInPipe(int slot) {
    std::string left(kPipeBytesMax, '\0');
    left.resize(family_->pipe(slot).Read(left.data(), left.size()));
    const core::DrainCount count = core::CountDrained(left, Self(slot).second);
    return count.alerts + count.stale + count.damaged_bytes;
  }

  // A worker that was replaced exits.
  void Leave(int slot) {
    if (busy_[Index(slot)] > 0 || !Open(slot) || !family_->at(slot).drained()) return;
    if (!family_->life(slot).running()) return;
    Require(AlertsInPipe(slot) == 0, "it leaves an alert in its pipe");
    Hear(slot);
    ledger_.Left(Self(slot), LivesNow(), rejecting_);
    family_->Kill(slot);
  }

  // ---- Trouble

  void BeforeQueue(int from, int to) {
    if (from != to) Intrude(to);
    if (fail_in_ > 0) memory_.Fail(std::exchange(fail_in_, 0), 2);
  }

  void BeforeWrite(int to) {
    Require(++writes_ < kWritesMax, "it writes without an end");
    if (intruding_) Intrude(to);
  }

  bool EndShortage() {
    const bool fired = memory_.fired();
    memory_.FailNone();
    return fired;
  }

  void Refuse(int to) {
    const int writes = static_cast<int>(input_.Pick(3));
    if (planted == kSwallowsEagain || planted == kLosesNotices) {
      for (int from = 0; from < family_->slots(); ++from) {
        if (!Runs(from) || (planted == kLosesNotices && from != kMasterSlot)) continue;
        iovec parts[core::Outbox::kPartsMax];
        const int count = family_->at(from).NextWrite(to, parts, false);
        std::size_t bytes = 0;
        for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
        if (count > 0) family_->at(from).Wrote(to, bytes);
      }
      return;
    }
    family_->pipe(to).refusals = writes;
  }

  // The master does one thing at a time: it does not react while it is in a call of its own.
  bool MasterIsBusy() const { return busy_[kMasterSlot] > 0; }

  void StepLife(int slot) {
    if (slot == kMasterSlot || MasterIsBusy()) return;
    memory_.FailNone();
    const bool ran = Runs(slot);
    if (family_->Step(slot)) {
      // A new process is there.
      if (Runs(slot) && !ran) closed_[Index(slot)] = closed_[Index(slot)] && busy_[Index(slot)] > 0;
      return;
    }
    if (family_->life(slot).idle()) {
      closed_[Index(slot)] = false;
      family_->BeginRespawn(slot);
      if (input_.Pick(8) == 7) family_->FailNextFork();
    } else if (!Runs(slot)) {
      family_->BeginBury(slot);
    }
  }

  void Kill(int slot) {
    if (slot == kMasterSlot || busy_[Index(slot)] > 0 || !Runs(slot)) return;
    if (!family_->life(slot).running()) return;
    Hear(slot);
    family_->Kill(slot);
  }

  // Between a sender's look at the roster and what it does then.
  void Intrude(int to) {
    const std::uint8_t byte = input_.Byte();
    if ((byte & 0xc0) != 0xc0 || to == kMasterSlot || busy_[Index(to)] > 0) return;
    Kill(to);
    for (int i = byte & 0xf; i > 0; --i) StepLife(to);
  }

  void Close(int slot) {
    if (slot == kMasterSlot || !Open(slot) || busy_[Index(slot)] > 1) return;
    closed_[Index(slot)] = true;
    family_->at(slot).FailAll(UndeliveredReason::kClosed);
    Require(family_->at(slot).meter().queued_bytes() == 0 || family_->at(slot).has_events(),
            "closed, and something is queued");
    Hear(slot);
  }

  // ---- The end

  void SettleEverything() {
    memory_.FailNone();
    fail_in_ = 0;
    family_->before_queue = nullptr;
    intruding_ = false;
    depth_ = kDepthMax;
    for (int slot = 0; slot < family_->slots(); ++slot) {
      family_->pipe(slot).refusals = 0;
      // Who has closed ends.
      if (closed_[Index(slot)]) Kill(slot);
    }
    for (int slot = 1; slot < family_->slots(); ++slot) {
      if (!Runs(slot) && family_->life(slot).running()) family_->BeginBury(slot);
      while (family_->Step(slot)) {
      }
      if (closed_[Index(slot)] && Runs(slot)) {
        family_->Kill(slot);
        family_->Bury(slot);
      }
    }
    family_->Settle();
    for (const Token& token : std::exchange(tokens_, {})) {
      if (Lives(token.holder)) GiveUp(token);
    }
    family_->Settle();
    for (const Token& token : std::exchange(tokens_, {})) {
      if (Lives(token.holder)) GiveUp(token);
    }
    family_->Settle();
    for (int slot = 0; slot < family_->slots(); ++slot) {
      if (Runs(slot)) Hear(slot);
    }
    SettleReplaced();
  }

  // Those that are being replaced leave within a bounded number of rounds.
  void SettleReplaced() {
    for (int slot = 1; slot < family_->slots(); ++slot) {
      if (!Runs(slot) || !family_->life(slot).draining()) continue;
      Require(family_->at(slot).told_to_drain(), "it has not been told");
      family_->at(slot).BeginDrain();
    }
    // One may have to hear of another's end before it can leave itself.
    for (int round = 0; round < 6 * family_->slots(); ++round) {
      for (int slot = 0; slot < family_->slots(); ++slot) EndTurn(slot, true);
      for (int slot = 1; slot < family_->slots(); ++slot) {
        if (!Runs(slot) && family_->life(slot).running()) family_->Bury(slot);
      }
      family_->Settle();
      for (int slot = 0; slot < family_->slots(); ++slot) {
        if (Runs(slot)) Hear(slot);
      }
    }
    for (int slot = 1; slot < family_->slots(); ++slot)
      Require(!Runs(slot) || !family_->life(slot).draining(), "it does not leave");
  }

  void CheckAtRest() {
    ledger_.Settle(LivesNow(), rejecting_);
    for (const auto& [number, asked] : asked_)
      Require(!Lives(asked.from), "a barrier has not ended");
    for (int slot = 0; slot < family_->slots(); ++slot) {
      if (!Runs(slot)) continue;
      const Stats stats = family_->stats(slot);
      core::Endpoint& core = family_->at(slot);
      Require(family_->pipe(slot).empty(), "something is left in a pipe");
      Require(core.AllWritten(), "something is left in an outbox");
      RequireEqual(core.meter().queued_bytes(), 0u, "queued bytes at rest");
      RequireEqual(core.meter().reassembly_bytes(), 0u, "reassembly bytes at rest");
      RequireEqual(stats.queued_bytes, 0u, "queued_bytes");
      RequireEqual(stats.reassembly_bytes, 0u, "reassembly_bytes");
      RequireEqual(stats.damaged_bytes, 0u, "damaged_bytes");
      RequireEqual(stats.damaged_packets, 0u, "damaged_packets");
      RequireEqual(stats.damaged_records, 0u, "damaged_records");
      RequireEqual(stats.lost_alerts, 0u, "lost_alerts");
      RequireEqual(stats.rejects_dropped, 0u, "rejects_dropped");
      RequireEqual(stats.requests_sent, stats.responses_received + stats.requests_failed,
                   "requests that have ended");
      RequireEqual(stats.undelivered_peer_died + stats.undelivered_receiver_full +
                       stats.undelivered_receiver_memory + stats.undelivered_closed,
                   stats.alerts_undelivered, "the reasons of alerts_undelivered");
      RequireEqual(stats.refused_invalid + stats.refused_unreachable + stats.refused_full +
                       stats.refused_memory + stats.refused_closed,
                   stats.alerts_refused, "the reasons of alerts_refused");
      Require(!core.has_events(), "events are left");
      Require(!core.HasRequests(), "requests are left");
    }
  }

  core::MemoryFaults memory_;  // the first, so that it sees all blocks come and go
  Input input_;
  std::unique_ptr<SimulatedFamily> family_;
  Ledger ledger_;
  std::vector<Token> tokens_;
  std::vector<bool> closed_;
  std::vector<int> busy_;  // calls of that process that are under way
  bool rejecting_ = false;
  bool intruding_ = false;
  int writes_ = 0;
  int depth_ = 0;
  int fail_in_ = 0;
  std::uint64_t now_ = 0;
  std::size_t bytes_ = 0;
  std::size_t barriers_begun_ = 0;
  std::map<int, Asked> asked_;
};

}  // namespace

void RunOne(std::string_view input) {
  // What the family itself expects is thrown as well.
  struct Throwing {
    Throwing() { testing::FLAGS_gtest_throw_on_failure = true; }
    ~Throwing() { testing::FLAGS_gtest_throw_on_failure = false; }
  } throwing;
  Run(input).Go();
}

// Slots less 3, capacity, cap per peer, cap, budget, flags; then steps: step, slot, and what it
// takes.
std::vector<Seed> Seeds() {
  std::vector<Seed> seeds;
  const auto add = [&seeds](const char* name, const Script& script) {
    seeds.push_back({name, script.str()});
  };
  // `how` and the choice of a size; the queue is not disturbed.
  const auto send = [](Script& script, int from, int to, int how, int size) {
    script(kSend, from, to, how, size);
    if (from != to) script(0);
  };

  Script flow;
  flow(0, 0, 2, 3, 0, 1);
  for (int size = 0; size < 8; ++size) send(flow, 1, 2, size & 1, size);
  flow(kEndTurn, 1)(kRead, 2)(0, 0, 0, 0)(kPump, 1)(kRead, 2)(0, 0)(kBroadcast, 2, 0, 5);
  add("flow", flow);

  Script full;
  full(0, 0, 0, 0, 0, 0);
  full(kRefuse, 2, 2);
  for (int i = 0; i < 4; ++i) send(full, 1, 2, 0, 5);
  full(kPump, 1)(kRead, 2)(0, 0)(kPump, 1)(kRead, 2);
  add("full_pipe", full);

  Script requests;
  requests(0, 1, 2, 3, 0, 1);
  for (int i = 0; i < 3; ++i) requests(kRequest, 1, 2, 4 * (i & 1), 1 + i, 10)(0);
  requests(kEndTurn, 1)(kRead, 2)(0, 0, 0)(kRespond, 2, 0, 2)(kGiveUp, 2, 0, 0)(kEndTurn, 2);
  requests(kTime, 1, 19)(kTime, 1, 19)(kRead, 1)(kHear, 1);
  add("requests", requests);

  Script handlers;
  handlers(1, 1, 2, 3, 0, 1);
  send(handlers, 1, 2, 0, 1);
  send(handlers, 3, 2, 0, 4);
  handlers(kRead, 2);
  handlers(2, 0, 0, 1, 0)(1, 0, 1, 0, 1);  // replies, sends twice to itself
  handlers(2, 2, 0, 1, 0)(4);              // requests, closes
  handlers(kRead, 1)(1, 5, kKill, 3)(kRead, 2)(kLife, 3)(kLife, 3);
  add("handlers", handlers);

  Script deaths;
  deaths(1, 0, 2, 3, 0, 3);
  send(deaths, 1, 2, 0, 6);
  deaths(kRead, 2)(kKill, 1);
  for (int i = 0; i < 6; ++i) deaths(kLife, 1);
  send(deaths, 3, 2, 1, 7);
  deaths(kKill, 2);
  for (int i = 0; i < 10; ++i) deaths(kLife, 2, 0);
  deaths(kPump, 3)(kHear, 3)(kRefuse, 3, 2)(kPump, 0);
  send(deaths, 3, 2, 0, 1);
  add("deaths", deaths);

  Script intruders;
  intruders(0, 0, 2, 3, 0, 3);
  intruders(kSend, 1, 2, 0, 5)(0xc9)(0xc9)(0)(0);
  intruders(kSend, 1, 2, 2, 6)(0xc4)(0)(kPump, 1)(0xcf);
  add("intruders", intruders);

  Script memory;
  memory(0, 0, 2, 3, 0, 0);
  for (int i = 0; i < 3; ++i) {
    memory(kShortMemory, 0, i);
    send(memory, 1, 2, i & 1, 5);
  }
  send(memory, 1, 2, 0, 6);
  memory(kShortMemory, 0, 0)(kRead, 2)(kPump, 1)(kRead, 2)(kPump, 2)(kRead, 1)(kHear, 1);
  add("short_memory", memory);

  Script barriers;
  barriers(1, 0, 2, 3, 0, 1);
  send(barriers, 1, 2, 0, 5);
  send(barriers, 1, 3, 0, 1);
  barriers(kBarrier, 1, 1, 0)(kPump, 1)(kRead, 2)(0, 0)(kPump, 2)(kRead, 3)(0)(kPump, 3)(kRead, 1);
  barriers(kHear, 1)(kBarrier, 2, 0, 1, 3)(kKill, 3)(kTime, 2, 19);
  add("barriers", barriers);

  Script replaced;
  replaced(1, 0, 2, 3, 0, 1);
  send(replaced, 1, 2, 0, 5);
  replaced(kRequest, 2, 1, 0, 1)(0)(kRetire, 2, 3)(kLife, 2)(kLife, 2)(kPump, 0)(kRead, 2)(0, 0);
  replaced(kBeginDrain, 2)(kPump, 2);
  send(replaced, 1, 2, 2, 1);
  replaced(kRead, 1)(0)(kPump, 1)(kRead, 3)(kPump, 3)(kRead, 0)(kPump, 0)(kRead, 2)(0, 0)(kPump, 2);
  replaced(kGiveUp, 1, 0, 0)(kPump, 1)(kRead, 2)(kPump, 2)(kRead, 2)(kPump, 2)(kLife, 2);
  add("replaced", replaced);

  Script rejects;
  rejects(0, 1, 2, 3, 2, 1);
  send(rejects, 1, 2, 0, 5);
  send(rejects, 1, 2, 0, 1);
  rejects(kRequest, 1, 2, 0, 6)(0)(kPump, 1)(kRead, 2)(kPump, 2)(kRead, 1)(kHear, 1);
  add("rejects", rejects);
  return seeds;
}

}  // namespace alertpipe::fuzz
