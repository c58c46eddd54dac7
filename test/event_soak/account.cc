// SPDX-License-Identifier: Apache-2.0
#include "account.h"

#include <algorithm>
#include <new>

#include "order_check.h"

namespace alertpipe::event_soak {
namespace {

constexpr Kind kAllKinds[] = {Kind::kOrdered, Kind::kPlain, Kind::kGap, Kind::kValue};

std::uint64_t Of(const Counts& counts, Kind kind) {
  return counts[static_cast<std::size_t>(kind)].Get();
}

// What stands there, if it is of this pair.
const Heard& HeardOf(const Books& books, const Peer& from, const Peer& to) {
  static const Heard none{};
  const Heard& heard =
      books.heard[to.slot][to.generation % kRing][from.slot][from.generation % kRing];
  return heard.key.Get() == KeyOf(from, to) ? heard : none;
}

const Refused& RefusedOf(const Books& books, const Peer& from, const Peer& to) {
  static const Refused none{};
  const Refused& refused =
      books.refused[from.slot][from.generation % kRing][to.slot][to.generation % kRing];
  return refused.key.Get() == KeyOf(from, to) ? refused : none;
}

const Published& PublishedOf(const Books& books, const Peer& from) {
  static const Published none{};
  const Published& published = books.published[from.slot][from.generation % kRing];
  return published.key.Get() == from.generation ? published : none;
}

}  // namespace

void Account::Started(const Peer& peer) { incarnations_.push_back({peer, true, false, false, 0}); }

void Account::Ended(const Peer& peer) {
  for (Incarnation& one : incarnations_) {
    if (one.peer == peer) one.lives = false;
  }
}

void Account::Stopped(const Peer& peer) {
  for (Incarnation& one : incarnations_) one.stopped = one.stopped || one.peer == peer;
}

bool Account::HasRoom(int slot) const {
  return std::count_if(incarnations_.begin(), incarnations_.end(),
                       [slot](const Incarnation& one) { return one.peer.slot == slot; }) +
             1 <
         kRing;
}

template <typename Each>
void Account::ForEachPair(Each each) const {
  for (std::size_t from = 0; from < incarnations_.size(); ++from) {
    for (std::size_t to = 0; to < incarnations_.size(); ++to)
      each(incarnations_[from].peer, incarnations_[to].peer, IsExact(from, to));
  }
}

bool Account::IsExact(std::size_t publisher, std::size_t receiver) const {
  const Incarnation& from = incarnations_[publisher];
  const Incarnation& to = incarnations_[receiver];
  return from.lives && to.lives && (to.old || receiver <= publisher);
}

// Published and neither heard nor told, of an exact pair; below 0 if there is too much.
std::int64_t Account::Missing(const Peer& from, const Peer& to, Kind kind) const {
  const Heard& heard = HeardOf(*books_, from, to);
  const Refused& refused = RefusedOf(*books_, from, to);
  std::uint64_t known = Of(heard.heard, kind) + Of(heard.told, kind) + Of(refused.otherwise, kind);
  if (kind == Kind::kPlain) known += Of(refused.full, kind);
  return static_cast<std::int64_t>(Of(PublishedOf(*books_, from).done, kind)) -
         static_cast<std::int64_t>(known);
}

bool Account::LastValuesCame(const Peer& from, const Peer& to) const {
  const Published& published = PublishedOf(*books_, from);
  const Heard& heard = HeardOf(*books_, from, to);
  // What became a gap is no value any more.
  if (Of(heard.told, Kind::kValue) > 0) return true;
  for (int key = 0; key < kKeys; ++key) {
    if (published.values[key].Get() != heard.values[key].Get()) return false;
  }
  return true;
}

bool Account::Agrees() const {
  bool agree = true;
  ForEachPair([&](const Peer& from, const Peer& to, bool exact) {
    if (!exact || !agree) return;
    agree = LastValuesCame(from, to);
    for (const Kind kind : kAllKinds)
      agree = agree && (kind == Kind::kValue || Missing(from, to, kind) == 0);
  });
  return agree;
}

std::string Account::Text(const Peer& from, const Peer& to, Kind kind) const {
  const Published& published = PublishedOf(*books_, from);
  const Heard& heard = HeardOf(*books_, from, to);
  const Refused& refused = RefusedOf(*books_, from, to);
  return Name(from) + " to " + Name(to) + ", " + NameOf(kind) + ": tried " +
         std::to_string(Of(published.tried, kind)) + ", published " +
         std::to_string(Of(published.done, kind)) + ", heard " +
         std::to_string(Of(heard.heard, kind)) + ", told to be missing " +
         std::to_string(Of(heard.told, kind)) + ", refused " +
         std::to_string(Of(refused.full, kind)) + " and otherwise " +
         std::to_string(Of(refused.otherwise, kind));
}

void Account::JudgeExact(const Peer& from, const Peer& to) {
  const auto wrong = [&](Violation violation, Kind kind, std::int64_t count) {
    books_->Complain(violation, Text(from, to, kind), static_cast<std::uint64_t>(count));
  };
  for (const Kind kind : kAllKinds) {
    const std::int64_t missing = Missing(from, to, kind);
    if (missing < 0) wrong(Violation::kDuplicated, kind, -missing);
    if (missing > 0 && kind != Kind::kValue) wrong(Violation::kLost, kind, missing);
    const Refused& refused = RefusedOf(*books_, from, to);
    if (Of(refused.otherwise, kind) > 0) wrong(Violation::kBroken, kind, 1);
    // What is refused of these is told there as well.
    const bool told = kind != Kind::kOrdered ||
                      Of(refused.full, kind) <= Of(HeardOf(*books_, from, to).told, kind);
    if (missing == 0 && !told) wrong(Violation::kLost, kind, 1);
    totals_.exact_events += Of(PublishedOf(*books_, from).done, kind);
  }
  if (!LastValuesCame(from, to)) wrong(Violation::kLost, Kind::kValue, 1);
}

void Account::JudgeOther(const Peer& from, const Peer& to) {
  for (const Kind kind : kAllKinds) {
    const Heard& heard = HeardOf(*books_, from, to);
    const std::uint64_t known = Of(heard.heard, kind) + Of(heard.told, kind);
    const std::uint64_t tried = Of(PublishedOf(*books_, from).tried, kind);
    if (known > tried) books_->Complain(Violation::kInvented, Text(from, to, kind), known - tried);
  }
}

// In this round, by one that has come to rest.
std::uint64_t Account::Coalesced(const Incarnation& one) const {
  return books_->places[one.peer.slot].coalesced.Get() - one.coalesced;
}

// Of a round in which nobody died or was started: what the calls returned is what became of it.
void Account::JudgeSums() {
  ++totals_.exact_rounds;
  for (const Incarnation& from : incarnations_) {
    for (const Kind kind : kAllKinds) JudgeSums(from, kind);
  }
}

void Account::JudgeSums(const Incarnation& from, Kind kind) {
  std::uint64_t heard = 0;
  std::uint64_t told = 0;
  for (const Incarnation& to : incarnations_) {
    heard += Of(HeardOf(*books_, from.peer, to.peer).heard, kind);
    told += Of(HeardOf(*books_, from.peer, to.peer).told, kind);
  }
  const Published& published = PublishedOf(*books_, from.peer);
  const std::uint64_t accepted = Of(published.accepted, kind);
  const std::uint64_t gaps = Of(published.gaps, kind);
  const std::uint64_t coalesced = kind == Kind::kValue ? Coalesced(from) : 0;
  // Ordered ones that were accepted become gaps where they come too late.
  const bool fits = accepted + gaps == heard + told + coalesced &&
                    (kind == Kind::kOrdered ? told >= gaps : told == gaps);
  if (fits) return;
  books_->Complain(Violation::kBroken,
                   Name(from.peer) + ", " + NameOf(kind) + ": accepted " +
                       std::to_string(accepted) + ", gaps " + std::to_string(gaps) +
                       ", coalesced " + std::to_string(coalesced) + ", heard by all " +
                       std::to_string(heard) + ", told to all " + std::to_string(told));
}

// A little is forgiven: a busy machine stops workers as well.
void Account::JudgeRoomy() {
  std::uint64_t heard = 0;
  std::uint64_t told = 0;
  for (const Incarnation& from : incarnations_) {
    for (const Incarnation& to : incarnations_) {
      if (from.stopped || to.stopped || !from.lives || !to.lives) continue;
      heard += Of(HeardOf(*books_, from.peer, to.peer).heard, Kind::kOrdered);
      told += Of(HeardOf(*books_, from.peer, to.peer).told, Kind::kOrdered);
    }
  }
  totals_.roomy_heard += heard;
  totals_.roomy_told += told;
  if (100 * told <= gap_percent_ * (heard + told)) return;
  books_->Complain(Violation::kLost, "there was room, and " + std::to_string(told) +
                                         " events were told to be missing, " +
                                         std::to_string(heard) + " were heard");
}

void Account::Count(const Peer& from, const Peer& to) {
  const Heard& heard = HeardOf(*books_, from, to);
  for (const Kind kind : kAllKinds) {
    totals_.heard[static_cast<int>(kind)] += Of(heard.heard, kind);
    totals_.told[static_cast<int>(kind)] += Of(heard.told, kind);
  }
}

void Account::CheckOrder() {
  OrderCheck check;
  for (int slot = 1; slot < kSlots; ++slot) {
    const Log& log = books_->logs[slot];
    const std::uint64_t size = log.size.Get();
    totals_.log_entries += size;
    // The first that lives on from an earlier round has no beginning here.
    if (size > 0) check.Begin("slot " + std::to_string(slot));
    for (std::uint64_t i = 0; i < size; ++i) {
      const Entry entry = Entry::Unpack(log.entries[i].Get());
      if (entry.slot == Entry::kBegins) {
        check.Begin(std::to_string(slot) + "." + std::to_string(entry.generation));
      } else {
        check.Add(entry);
      }
    }
  }
  const std::string circle = check.Verdict();
  if (!circle.empty()) books_->Complain(Violation::kReordered, circle);
  totals_.logs += check.logs();
  totals_.different_events += check.events();
}

void Account::Settle(bool roomy) {
  ForEachPair([this](const Peer& from, const Peer& to, bool exact) {
    exact ? JudgeExact(from, to) : JudgeOther(from, to);
    ++(exact ? totals_.exact_pairs : totals_.other_pairs);
    Count(from, to);
  });
  const bool calm = std::all_of(incarnations_.begin(), incarnations_.end(),
                                [](const Incarnation& one) { return one.lives && one.old; });
  // Sums would only say once more what a pair has said.
  if (calm && books_->Violations() == 0) JudgeSums();
  if (roomy) JudgeRoomy();
  CheckOrder();
  for (const Incarnation& one : incarnations_) {
    const Published& published = PublishedOf(*books_, one.peer);
    for (const Kind kind : kAllKinds) {
      totals_.published[static_cast<int>(kind)] += Of(published.done, kind);
      totals_.refused[static_cast<int>(kind)] += Of(published.refused, kind);
    }
  }
  ++totals_.rounds;
  Wipe();
}

// Nobody writes: everybody is at rest.
void Account::Wipe() {
  ForEachPair([this](const Peer& from, const Peer& to, bool) {
    new (&books_->HeardBy(to, from)) Heard();
    new (&books_->RefusedBy(to, from)) Refused();
  });
  for (const Incarnation& one : incarnations_) new (&books_->PublishedBy(one.peer)) Published();
  incarnations_.erase(std::remove_if(incarnations_.begin(), incarnations_.end(),
                                     [](const Incarnation& one) { return !one.lives; }),
                      incarnations_.end());
  for (Incarnation& one : incarnations_) {
    one.old = true;
    one.stopped = false;
    totals_.coalesced += Coalesced(one);
    one.coalesced += Coalesced(one);
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    books_->logs[slot].size.Set(0);
    books_->places[slot].published.Set(0);
  }
}

}  // namespace alertpipe::event_soak
