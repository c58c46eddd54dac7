// SPDX-License-Identifier: Apache-2.0
#include "sim/ledger.h"

#include <algorithm>

#include <absl/strings/str_cat.h>

#include "core/events/event_record.h"
#include "sim/contents.h"

namespace alertpipe::sim {
namespace {

std::string PairText(const Incarnation& from, const Incarnation& to) {
  return absl::StrCat(ToString(from), " to ", ToString(to));
}

}  // namespace

std::string ToString(const Incarnation& who) { return absl::StrCat(who.slot, ".", who.generation); }

Fate& Ledger::fate(const Incarnation& who) {
  std::vector<Fate>& fates = fates_[static_cast<std::size_t>(who.slot)];
  if (who.generation >= fates.size()) fates.resize(who.generation + 1);
  return fates[who.generation];
}

bool Ledger::EverTainted(int slot) const {
  if (slot < 0 || static_cast<std::size_t>(slot) >= fates_.size()) return false;
  const std::vector<Fate>& fates = fates_[static_cast<std::size_t>(slot)];
  return std::any_of(fates.begin(), fates.end(), [](const Fate& fate) { return fate.tainted; });
}

std::uint64_t Ledger::KeyOf(const Incarnation& from, const Incarnation& to) {
  const auto half = [](const Incarnation& who) {
    return (static_cast<std::uint64_t>(who.slot) << 24) | who.generation;
  };
  return (half(from) << 32) | half(to);
}

Ledger::Account& Ledger::account(const Incarnation& from, const Incarnation& to) {
  Account*& found = by_pair_[KeyOf(from, to)];
  if (found == nullptr) {
    accounts_.emplace_back();
    found = &accounts_.back();
    found->from = from;
    found->to = to;
  }
  return *found;
}

// ---- Alerts

void Ledger::Accept(const Incarnation& from, const Incarnation& to, const Accepted& alert) {
  Account& pair = account(from, to);
  if (alert.id != pair.entries.size() + 1) {
    throw Violation(absl::StrCat(PairText(from, to), ": an alert was accepted as number ", alert.id,
                                 ", it is number ", pair.entries.size() + 1));
  }
  Entry entry;
  entry.serial = alert.serial;
  entry.bytes = alert.bytes;
  entry.kind = alert.kind;
  entry.probe = alert.probe;
  entry.sum = alert.sum;
  pair.entries.push_back(entry);
  ++census_->accepted;
}

// For messages: whose alert that is.
std::string Ledger::WhereIs(std::uint64_t serial) const {
  for (const Account& pair : accounts_) {
    for (std::size_t i = 0; i < pair.entries.size(); ++i) {
      if (pair.entries[i].serial == serial)
        return absl::StrCat("number ", i + 1, " of ", PairText(pair.from, pair.to));
    }
  }
  return "nobody's";
}

bool Ledger::IsName(const Entry& entry, std::string_view name) {
  if (entry.kind == AlertKind::kEvent) return name == core::kEventAlertName;
  return Contents::IsName(entry.serial, entry.kind == AlertKind::kResponse, name);
}

bool Ledger::IsData(const Entry& entry, std::string_view data) {
  if (data.size() != entry.bytes) return false;
  if (entry.kind == AlertKind::kEvent) return Contents::SumOf(data) == entry.sum;
  const bool nameless = Contents::IsNameless(entry.serial, entry.kind == AlertKind::kResponse);
  return Contents::IsData(entry.serial, nameless, data);
}

std::uint64_t Ledger::Deliver(const Incarnation& from, const Incarnation& to, std::string_view name,
                              std::string_view data, bool is_response) {
  Account& pair = account(from, to);
  const std::uint64_t serial = Contents::SerialOf(name, data);
  std::size_t at = pair.next;
  if (Exempt(from, to)) {
    // What is forged, lost or out of order here is damage. What is genuine counts for the rest.
    while (at < pair.entries.size() && pair.entries[at].serial != serial) ++at;
    if (at == pair.entries.size()) return kNoSerial;
  }
  if (at == pair.entries.size() || pair.entries[at].serial != serial) {
    throw Violation(absl::StrCat(
        PairText(from, to), ": the alert that came is ", WhereIs(serial), "; next in turn is ",
        at == pair.entries.size() ? std::string("none") : absl::StrCat("number ", at + 1),
        ": lost, twice, out of order or misdelivered"));
  }
  Entry& entry = pair.entries[at];
  if (!IsName(entry, name) || !IsData(entry, data) ||
      is_response != (entry.kind == AlertKind::kResponse)) {
    throw Violation(absl::StrCat(PairText(from, to), ": number ", at + 1, " (", entry.bytes,
                                 " bytes) came torn, as ", data.size(), " bytes"));
  }
  if (entry.state == State::kFailed) {
    throw Violation(
        absl::StrCat(PairText(from, to), ": number ", at + 1, " was given back and came"));
  }
  entry.state = State::kDelivered;
  pair.next = at + 1;
  ++census_->delivered;
  if (entry.bytes > 4060) ++census_->delivered_large;
  return serial;
}

void Ledger::Reject(const Incarnation& from, const Incarnation& to, std::uint64_t id) {
  Account& pair = account(from, to);
  if (Exempt(from, to)) {
    if (id >= 1 && id <= pair.entries.size()) pair.entries[id - 1].state = State::kRejected;
    return;
  }
  if (id != pair.next + 1 || pair.next == pair.entries.size()) {
    throw Violation(absl::StrCat(PairText(from, to), ": number ", id,
                                 " was rejected, next in turn is ", pair.next + 1));
  }
  pair.entries[pair.next++].state = State::kRejected;
  ++census_->rejected;
}

void Ledger::GiveBack(const Incarnation& from, const Undelivered& undelivered) {
  const Incarnation to = Of(undelivered.peer);
  if (Exempt(from, to)) return;
  Account& pair = account(from, to);
  const std::size_t id = undelivered.alert_id;
  const std::string which = absl::StrCat(PairText(from, to), ": number ", id);
  if (id == 0 || id > pair.entries.size())
    throw Violation(absl::StrCat(which, " was given back, none such was accepted"));
  Entry& entry = pair.entries[id - 1];
  if (entry.kind == AlertKind::kRequest)
    throw Violation(absl::StrCat(which, ", a request, was given back beside its callback"));
  const bool is_response = entry.kind == AlertKind::kResponse;
  if (undelivered.is_response != is_response || !undelivered.has_name ||
      !IsName(entry, undelivered.name) ||
      (undelivered.has_data && !IsData(entry, undelivered.data))) {
    throw Violation(absl::StrCat(which, " was given back as something else"));
  }
  if (undelivered.reason == UndeliveredReason::kReceiverFull ||
      undelivered.reason == UndeliveredReason::kReceiverMemory) {
    if (entry.state != State::kRejected || entry.told)
      throw Violation(absl::StrCat(which, " was not rejected, or was told as rejected before"));
    entry.told = true;
    ++census_->rejected_told;
    return;
  }
  const bool closed = undelivered.reason == UndeliveredReason::kClosed;
  if (closed && fate(from).left)
    throw Violation(absl::StrCat(which, " was given back by one that has left in order"));
  if (closed ? !fate(from).closing : fate(to).state == Fate::State::kAlive)
    throw Violation(absl::StrCat(
        which, " was given back as \"",
        absl::string_view(ToString(undelivered.reason).data(), ToString(undelivered.reason).size()),
        "\", which is not so"));
  // One that was rejected comes back in either way, whichever its sender hears of first.
  if (entry.state != State::kPending && (entry.state != State::kRejected || entry.told))
    throw Violation(absl::StrCat(which, " was given back after it was delivered or given back"));
  if (id <= pair.failed_to)
    throw Violation(absl::StrCat(which, " was given back after number ", pair.failed_to));
  entry.state = State::kFailed;
  if (pair.failed_from == 0) pair.failed_from = id;
  pair.failed_to = id;
  ++(closed ? census_->failed_closed : census_->failed_back);
}

// ---- Requests

Ledger::Asked* Ledger::FindAsked(const Incarnation& asker, std::uint64_t id) {
  const auto found = by_request_.find(Mix(KeyOf(asker, {})) ^ Mix(id));
  return found == by_request_.end() ? nullptr : found->second;
}

void Ledger::Ask(const Incarnation& asker, std::uint64_t id, const Incarnation& peer,
                 std::uint64_t alert_id, std::uint64_t deadline) {
  asked_.emplace_back();
  Asked& asked = asked_.back();
  asked.asker = asker;
  asked.peer = peer;
  asked.alert_id = alert_id;
  asked.deadline = deadline;
  if (!by_request_.emplace(Mix(KeyOf(asker, {})) ^ Mix(id), &asked).second)
    throw Violation(absl::StrCat(ToString(asker), ": the request id ", id, " was used again"));
  ++census_->requests;
}

void Ledger::GotRequest(const Incarnation& asker, std::uint64_t id, const Incarnation& peer) {
  if (Exempt(asker, peer)) return;
  Asked* asked = FindAsked(asker, id);
  if (asked == nullptr || !(asked->peer == peer) || asked->got)
    throw Violation(absl::StrCat(PairText(asker, peer), ": a request came that was not made"));
  asked->got = true;
}

void Ledger::WillNotRespond(const Incarnation& asker, std::uint64_t id) {
  if (Asked* asked = FindAsked(asker, id)) asked->given_up = true;
}

void Ledger::GotResponse(const Incarnation& asker, std::uint64_t id, const Incarnation& peer) {
  if (Exempt(asker, peer)) return;
  Asked* asked = FindAsked(asker, id);
  if (asked == nullptr || !(asked->peer == peer) || !asked->got || asked->responded)
    throw Violation(absl::StrCat(PairText(asker, peer), ": a response came to no such request"));
  asked->responded = true;
}

void Ledger::End(const Incarnation& asker, std::uint64_t id, const Incarnation& peer,
                 ResponseOutcome outcome, std::uint64_t now) {
  Asked* asked = FindAsked(asker, id);
  const std::string which = absl::StrCat(PairText(asker, peer), ": a request");
  if (asked == nullptr || !(asked->peer == peer) || asked->ended)
    throw Violation(absl::StrCat(which, " ended that is not open"));
  asked->ended = true;
  bool true_so = true;
  switch (outcome) {
    case ResponseOutcome::kResponse:
      true_so = asked->responded;
      ++census_->ended_response;
      break;
    case ResponseOutcome::kDeadline:
      true_so = asked->deadline <= now;
      ++census_->ended_deadline;
      break;
    case ResponseOutcome::kPeerDied:
      true_so = fate(peer).state != Fate::State::kAlive;
      ++census_->ended_died;
      break;
    case ResponseOutcome::kUnhandled:
      true_so = asked->given_up;
      ++census_->ended_unhandled;
      break;
    case ResponseOutcome::kUndelivered:
      true_so = true;  // the account of the pair shows whether something was rejected
      ++census_->ended_undelivered;
      break;
    case ResponseOutcome::kClosed:
      true_so = fate(asker).closing;
      ++census_->ended_closed;
      break;
    case ResponseOutcome::kRefused:
      true_so = false;
      break;
  }
  if (outcome == ResponseOutcome::kUndelivered && !Exempt(asker, peer)) {
    const Account& there = account(asker, peer);
    const bool lost_there = there.entries[asked->alert_id - 1].state == State::kRejected;
    const Account& back = account(peer, asker);
    const bool lost_here =
        std::any_of(back.entries.begin(), back.entries.end(), [](const Entry& entry) {
          return entry.kind == AlertKind::kResponse && entry.state == State::kRejected;
        });
    true_so = lost_there || lost_here;
  }
  if (!true_so && !Exempt(asker, peer)) {
    const std::string_view text = alertpipe::ToString(outcome);
    throw Violation(absl::StrCat(which, " ended as \"", absl::string_view(text.data(), text.size()),
                                 "\", which is not so"));
  }
}

// ---- Barriers

void Ledger::BeginBarrier(const Incarnation& asker, const std::vector<Incarnation>& targets,
                          std::uint64_t deadline) {
  barriers_.emplace_back();
  Barrier& barrier = barriers_.back();
  barrier.asker = asker;
  barrier.deadline = deadline;
  for (const Incarnation& peer : targets)
    barrier.parts.push_back({peer, account(asker, peer).entries.size()});
  ++census_->barriers;
}

// Whether nothing more can become of it.
bool Ledger::Settled(const Entry& entry) const {
  return entry.state == State::kDelivered ||
         (entry.state == State::kRejected && (entry.told || entry.kind == AlertKind::kRequest));
}

void Ledger::CheckPassed(const Barrier& barrier, const Barrier::Part& part) {
  if (Exempt(barrier.asker, part.peer)) return;
  const Account& pair = account(barrier.asker, part.peer);
  for (std::size_t i = 0; i < part.accepted; ++i) {
    if (Settled(pair.entries[i])) continue;
    throw Violation(absl::StrCat(PairText(barrier.asker, part.peer),
                                 ": a barrier was passed early, number ", i + 1, " of ",
                                 part.accepted, " before it has not been handled"));
  }
}

void Ledger::EndBarrier(std::size_t number, const BarrierReport& report, std::uint64_t now) {
  Barrier& barrier = barriers_[number];
  const std::string which = absl::StrCat(ToString(barrier.asker), ": barrier ", number);
  if (barrier.ended) throw Violation(absl::StrCat(which, " ended twice"));
  barrier.ended = true;
  const bool tainted = fate(barrier.asker).tainted;
  bool so = report.missing.empty();
  if (absl::IsDeadlineExceeded(report.status)) {
    so = barrier.deadline <= now;
    ++census_->barriers_deadline;
  } else if (absl::IsCancelled(report.status)) {
    so = fate(barrier.asker).closing;
    ++census_->barriers_cancelled;
  } else {
    ++(report.died.empty() ? census_->barriers_ok : census_->barriers_died);
  }
  if (!so && !tainted)
    throw Violation(
        absl::StrCat(which, " ended as ", report.status.ToString(), ", which is not so"));
  const auto names = [](const std::vector<Peer>& peers, const Incarnation& who) {
    return std::any_of(peers.begin(), peers.end(),
                       [&who](const Peer& peer) { return Of(peer) == who; });
  };
  for (const Barrier::Part& part : barrier.parts) {
    if (names(report.missing, part.peer)) continue;
    if (!names(report.died, part.peer)) {
      CheckPassed(barrier, part);
    } else if (fate(part.peer).state == Fate::State::kAlive && !tainted) {
      throw Violation(absl::StrCat(which, " says that ", ToString(part.peer), " died: it lives"));
    }
  }
}

// ---- The end

void Ledger::Settle() {
  for (Account& pair : accounts_) SettlePair(&pair);
  SettleBarriers();
  for (const Asked& asked : asked_) {
    if (!Lives(asked.asker) || asked.ended || Exempt(asked.asker, asked.peer)) continue;
    throw Violation(absl::StrCat(PairText(asked.asker, asked.peer), ": request number ",
                                 asked.alert_id, " never ended"));
  }
}

void Ledger::SettleBarriers() {
  for (std::size_t number = 0; number < barriers_.size(); ++number) {
    const Barrier& barrier = barriers_[number];
    if (barrier.ended || !Lives(barrier.asker)) continue;
    bool exempt = fate(barrier.asker).tainted;
    for (const Barrier::Part& part : barrier.parts) exempt = exempt || fate(part.peer).tainted;
    if (!exempt)
      throw Violation(absl::StrCat(ToString(barrier.asker), ": barrier ", number, " never ended"));
  }
}

void Ledger::SettlePair(Account* pair) {
  if (Exempt(pair->from, pair->to)) {
    ++census_->pairs_exempt;
    SettleVictim(*pair);
    return;
  }
  // Who was retired and left in order has lost nothing, of what it sent and of what was sent to it.
  if (!Ended(pair->from) || !Ended(pair->to)) {
    ++census_->pairs_settled_dead;
    if (Lives(pair->from)) SettleSurvivor(*pair);
    return;
  }
  ++census_->pairs_settled;
  for (std::size_t i = 0; i < pair->entries.size(); ++i) {
    const Entry& entry = pair->entries[i];
    if (Settled(entry)) continue;
    // It may respond after its last word, and need not wait for what becomes of that: who asked
    // knows.
    const bool late_response = entry.state == State::kRejected &&
                               entry.kind == AlertKind::kResponse && fate(pair->from).left;
    if (late_response) continue;
    throw Violation(
        absl::StrCat(PairText(pair->from, pair->to), ": number ", i + 1, " of ",
                     pair->entries.size(), " was accepted and ",
                     entry.state == State::kRejected
                         ? "rejected, but its sender was not told"
                         : "neither delivered nor given back; both live, or left in order"));
  }
}

// Whatever was damaged, both have found each other again: the last alert has arrived.
void Ledger::SettleVictim(const Account& pair) {
  if (!Lives(pair.from) || !Lives(pair.to) || pair.entries.empty()) return;
  if (pair.entries.back().state != State::kPending || !pair.entries.back().probe) return;
  throw Violation(absl::StrCat(PairText(pair.from, pair.to), ": the last of ", pair.entries.size(),
                               " alerts did not come, long after the last damage"));
}

// What comes back from a dead receiver is the end of what was accepted, without a hole. Requests
// are told in another way.
void Ledger::SettleSurvivor(const Account& pair) {
  if (pair.failed_from == 0) return;
  for (std::size_t id = pair.failed_from; id <= pair.entries.size(); ++id) {
    const Entry& entry = pair.entries[id - 1];
    if (entry.state == State::kFailed || entry.kind == AlertKind::kRequest ||
        (entry.state == State::kRejected && entry.told))
      continue;
    throw Violation(absl::StrCat(PairText(pair.from, pair.to), ": number ", id,
                                 " was not given back, number ", pair.failed_from, " was"));
  }
}

}  // namespace alertpipe::sim
