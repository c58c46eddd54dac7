// SPDX-License-Identifier: Apache-2.0
#include "sim/order_ledger.h"

#include <algorithm>

#include <absl/strings/str_cat.h>

namespace alertpipe::sim {
namespace {

std::string Which(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number) {
  return absl::StrCat(ToString(receiver), ": event ", number, " of ", ToString(publisher));
}

}  // namespace

OrderLedger::Entry& OrderLedger::Last(const Incarnation& publisher) {
  return entries_[publishers_[KeyOf(publisher)].entries.back()];
}

OrderLedger::Receiver& OrderLedger::receiver(const Incarnation& who) {
  Receiver*& found = by_receiver_[KeyOf(who)];
  if (found == nullptr) {
    receivers_.push_back({who, {}});
    found = &receivers_.back();
  }
  return *found;
}

OrderLedger::Pair& OrderLedger::pair(const Incarnation& publisher, const Incarnation& receiver) {
  Pair*& found = by_pair_[(KeyOf(publisher) << 32) | KeyOf(receiver)];
  if (found == nullptr) {
    pairs_.emplace_back();
    found = &pairs_.back();
    found->publisher = publisher;
    found->receiver = receiver;
  }
  return *found;
}

// The copy of an event for a receiver, or null.
OrderLedger::Copy* OrderLedger::Find(const Incarnation& receiver, const Incarnation& publisher,
                                     std::uint64_t number, Entry** entry) {
  const auto found = publishers_.find(KeyOf(publisher));
  if (found == publishers_.end() || number == 0 || number > found->second.entries.size())
    return nullptr;
  *entry = &entries_[found->second.entries[number - 1]];
  for (Copy& copy : (*entry)->copies) {
    if (copy.receiver == receiver) return &copy;
  }
  return nullptr;
}

// The same; that nothing has become of it yet is a rule. Null for what was forged.
OrderLedger::Copy* OrderLedger::Pending(const Incarnation& receiver, const Incarnation& publisher,
                                        std::uint64_t number, Entry** entry, const char* what) {
  Copy* copy = Find(receiver, publisher, number, entry);
  const bool pending = copy != nullptr && copy->state == State::kPending;
  if (pending || Tainted(receiver)) return pending ? copy : nullptr;
  throw Violation(absl::StrCat(Which(receiver, publisher, number), " was ", what, ", ",
                               copy == nullptr ? "which was not published for it"
                                               : absl::StrCat("after it came to something (",
                                                              static_cast<int>(copy->state), ")")));
}

// ---- At the publisher

void OrderLedger::Publish(const Incarnation& publisher, std::uint64_t number, std::uint64_t serial,
                          bool probe) {
  Publisher& account = publishers_[KeyOf(publisher)];
  if (number != account.entries.size() + 1)
    throw Violation(absl::StrCat(ToString(publisher), ": an event was numbered ", number));
  account.entries.push_back(entries_.size());
  entries_.push_back({publisher, number, serial, probe, false, {}});
  ++census_->ordered;
}

void OrderLedger::Accept(const Incarnation& publisher, const Incarnation& receiver,
                         std::uint64_t alert_id) {
  Copy copy;
  copy.receiver = receiver;
  copy.alert_id = alert_id;
  copy.arrived = alert_id == 0;
  Last(publisher).copies.push_back(copy);
  ++census_->ordered_accepted;
}

void OrderLedger::Refuse(const Incarnation& publisher, const Incarnation& receiver) {
  ++pair(publisher, receiver).owed;
  ++census_->ordered_refused;
}

void OrderLedger::ComeBack(const Incarnation& publisher, const Incarnation& receiver,
                           std::uint64_t alert_id) {
  for (const std::size_t at : publishers_[KeyOf(publisher)].entries) {
    for (Copy& copy : entries_[at].copies) {
      if (!(copy.receiver == receiver) || copy.alert_id != alert_id) continue;
      if (copy.state == State::kPending) copy.state = State::kOwed;
      ++census_->ordered_rejected;
    }
  }
  ++pair(publisher, receiver).owed;
}

void OrderLedger::Observe(const Incarnation& publisher,
                          const std::function<bool(const Incarnation&, std::uint64_t)>& may_lag) {
  const core::OrderWord word = core::OrderWord::Unpack(
      memory_->words[taken_ & (places_ - 1)].load(std::memory_order_relaxed));
  const std::uint64_t lap = taken_ / places_ + 1;
  if (word.lap != (lap & ((1U << core::OrderWord::kLapBits) - 1))) return;
  ++taken_;
  Claim(publisher, word, may_lag);
}

void OrderLedger::Claim(const Incarnation& publisher, const core::OrderWord& word,
                        const std::function<bool(const Incarnation&, std::uint64_t)>& may_lag) {
  Publisher& account = publishers_[KeyOf(publisher)];
  const std::uint64_t last = account.claimed + word.count;
  if (static_cast<int>(word.slot) != publisher.slot || !word.IsOf(publisher.generation) ||
      word.count == 0 || last > account.entries.size() || word.last != last) {
    throw Violation(absl::StrCat(ToString(publisher), " has claimed a place for the last ",
                                 word.count, " events before number ", word.last + 1, " of ",
                                 word.slot, "; it has claimed ", account.claimed, " of ",
                                 account.entries.size()));
  }
  ++census_->claims;
  if (word.count > 1) ++census_->claims_of_several;
  while (account.claimed < last) {
    Entry& entry = entries_[account.entries[account.claimed++]];
    entry.claimed = true;
    for (Copy& copy : entry.copies)
      copy.due = copy.alert_id == 0 || !may_lag(copy.receiver, copy.alert_id);
  }
}

// ---- At the receiver

void OrderLedger::Arrive(const Incarnation& receiver, const Incarnation& publisher,
                         std::uint64_t number) {
  Entry* entry = nullptr;
  if (Copy* copy = Pending(receiver, publisher, number, &entry, "received")) copy->arrived = true;
}

void OrderLedger::Deliver(const Incarnation& receiver, const Incarnation& publisher,
                          std::uint64_t number, std::uint64_t serial) {
  Entry* entry = nullptr;
  Copy* copy = Pending(receiver, publisher, number, &entry, "delivered");
  if (copy == nullptr) return;
  copy->state = State::kDelivered;
  this->receiver(receiver).log.push_back(publishers_[KeyOf(publisher)].entries[number - 1]);
  ++census_->ordered_delivered;
  if (Tainted(receiver)) return;
  const std::string which = Which(receiver, publisher, number);
  if (entry->serial != serial) throw Violation(absl::StrCat(which, " came as another"));
  if (!entry->claimed) throw Violation(absl::StrCat(which, " was delivered before it was claimed"));
  Pair& pair = this->pair(publisher, receiver);
  if (number <= pair.last)
    throw Violation(absl::StrCat(which, " was delivered after number ", pair.last));
  pair.last = number;
}

void OrderLedger::Miss(const Incarnation& receiver, const Incarnation& publisher,
                       std::uint64_t number, Gap gap, bool overrun) {
  Entry* entry = nullptr;
  Copy* copy = Pending(receiver, publisher, number, &entry, "missed");
  if (copy == nullptr) return;
  copy->state = overrun ? State::kOverrun : State::kMissed;
  ++(gap == Gap::kNoRoom ? census_->ordered_no_room : census_->ordered_late);
  if (gap == Gap::kNoRoom || overrun || Tainted(receiver)) return;
  const std::string which = Which(receiver, publisher, number);
  if (!entry->claimed)
    throw Violation(absl::StrCat(which, " is told as a gap, and was not claimed"));
  if (copy->due) {
    throw Violation(
        absl::StrCat(which, " is told as a gap, and had been written when it was claimed"));
  }
}

void OrderLedger::Withdraw(const Incarnation& receiver, const Incarnation& publisher,
                           std::uint64_t number) {
  Entry* entry = nullptr;
  Copy* copy = Pending(receiver, publisher, number, &entry, "withdrawn");
  if (copy == nullptr) return;
  copy->state = State::kWithdrawn;
  ++census_->ordered_withdrawn;
  if (Tainted(receiver)) return;
  if (!entry->claimed && !ledger_->Lives(publisher)) return;
  throw Violation(absl::StrCat(Which(receiver, publisher, number), " was withdrawn, ",
                               entry->claimed ? "and had been claimed" : "its publisher lives"));
}

void OrderLedger::TellGap(const Incarnation& receiver, const Incarnation& publisher,
                          std::uint64_t count) {
  Pair& pair = this->pair(publisher, receiver);
  pair.told += count;
  census_->ordered_gaps_told += count;
  if (pair.told <= pair.owed || Tainted(receiver) || Tainted(publisher)) return;
  throw Violation(absl::StrCat(ToString(receiver), " was told of ", pair.told, " events of ",
                               ToString(publisher), " that are missing, there are ", pair.owed));
}

// ---- The end

void OrderLedger::CheckHandedOut() {
  for (const Entry& entry : entries_) {
    for (const Copy& copy : entry.copies) {
      if (!entry.claimed || !copy.arrived || copy.state != State::kPending) continue;
      if (!ledger_->Lives(copy.receiver) || Tainted(copy.receiver)) continue;
      throw Violation(absl::StrCat(Which(copy.receiver, entry.publisher, entry.number),
                                   " has a place, and is held at rest"));
    }
  }
}

void OrderLedger::Settle() {
  for (const Entry& entry : entries_) {
    for (const Copy& copy : entry.copies) SettleCopy(entry, copy);
  }
  for (const Pair& pair : pairs_) SettlePair(pair);
  FindOneOrder();
}

void OrderLedger::SettleCopy(const Entry& entry, const Copy& copy) {
  if (!ledger_->Lives(copy.receiver) || Tainted(copy.receiver) || Tainted(entry.publisher)) return;
  const std::string which = Which(copy.receiver, entry.publisher, entry.number);
  const bool lives = ledger_->Lives(entry.publisher);
  if (copy.state == State::kPending && (copy.arrived || lives))
    throw Violation(absl::StrCat(which, " has come to nothing"));
  const bool whole = copy.state == State::kDelivered || copy.state == State::kOverrun;
  if (entry.probe && lives && !whole)
    throw Violation(absl::StrCat(which, ", long after the last fault, was not delivered"));
  if (lives && !entry.claimed) throw Violation(absl::StrCat(which, " was never claimed"));
  ++census_->ordered_settled;
}

void OrderLedger::SettlePair(const Pair& pair) {
  if (!ledger_->Lives(pair.publisher) || !ledger_->Lives(pair.receiver)) return;
  if (Tainted(pair.publisher) || Tainted(pair.receiver) || pair.told == pair.owed) return;
  throw Violation(absl::StrCat(ToString(pair.receiver), " was told of ", pair.told, " events of ",
                               ToString(pair.publisher), " that are missing, there are ",
                               pair.owed));
}

// Merges the logs: an event is next when it is next in all that contain it.
void OrderLedger::FindOneOrder() {
  constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<const Receiver*> logs;
  for (const Receiver& receiver : receivers_) {
    if (!Tainted(receiver.who)) logs.push_back(&receiver);
  }
  std::vector<std::size_t> missing(entries_.size());         // logs in which it is not next yet
  std::vector<std::size_t> waiting(entries_.size(), kNone);  // a list of those in which it is
  for (const Receiver* receiver : logs) {
    for (const std::size_t entry : receiver->log) ++missing[entry];
  }
  std::vector<std::size_t> after(logs.size(), kNone);  // in that list
  std::vector<std::size_t> at(logs.size());
  std::vector<std::size_t> moved(logs.size());
  for (std::size_t i = 0; i < logs.size(); ++i) moved[i] = i;
  while (!moved.empty()) {
    const std::size_t log = moved.back();
    moved.pop_back();
    if (at[log] == logs[log]->log.size()) continue;
    const std::size_t entry = logs[log]->log[at[log]];
    after[log] = waiting[entry];
    waiting[entry] = log;
    if (--missing[entry] > 0) continue;
    for (std::size_t next = waiting[entry]; next != kNone; next = after[next]) {
      ++at[next];
      moved.push_back(next);
    }
  }
  for (std::size_t log = 0; log < logs.size(); ++log) {
    if (at[log] == logs[log]->log.size()) continue;
    const Entry& entry = entries_[logs[log]->log[at[log]]];
    throw Violation(absl::StrCat(Which(logs[log]->who, entry.publisher, entry.number),
                                 " is in no order that others have it in, too"));
  }
}

}  // namespace alertpipe::sim
