// SPDX-License-Identifier: Apache-2.0
#include "account.h"

#include <algorithm>
#include <string>
#include <utility>

namespace alertpipe::soak {
namespace {

const char* NameOf(End end) {
  static constexpr const char* kNames[] = {"lives", "left", "killed"};
  return kNames[static_cast<int>(end)];
}

}  // namespace

void Account::Started(const Peer& peer) { slots_[peer.slot].push_back({peer, End::kLives}); }

void Account::Ended(const Peer& peer, End end) {
  for (Incarnation& one : slots_[peer.slot]) {
    if (one.peer == peer) one.end = end;
  }
}

template <typename Each>
void Account::ForEachPair(Each each) const {
  for (const auto& senders : slots_) {
    for (const Incarnation& from : senders) {
      for (const auto& receivers : slots_) {
        for (const Incarnation& to : receivers) each(from, to);
      }
    }
  }
}

Account::Pair Account::Read(const Peer& from, const Peer& to) const {
  Pair pair;
  const std::uint64_t key = KeyOf(from.generation, to.generation);
  const Sent& sent = ledger_->SentBy(from, to);
  if (sent.key.Get() == key) {
    pair.attempted = sent.attempted.Get();
    pair.accepted = sent.accepted.Get();
    pair.written = sent.written.Get();
    pair.failed = sent.failed.Get();
    pair.failed_first = sent.failed_first.Get();
    pair.failed_last = sent.failed_last.Get();
  }
  const Heard& heard = ledger_->HeardBy(to, from);
  if (heard.key.Get() == key) {
    pair.last = heard.last.Get();
    pair.missing = heard.missing.Get();
  }
  return pair;
}

bool Account::Agrees() const {
  bool agree = true;
  ForEachPair([&](const Incarnation& from, const Incarnation& to) {
    if (from.end == End::kKilled || to.end == End::kKilled) return;
    const Pair pair = Read(from.peer, to.peer);
    agree = agree && pair.accepted == pair.heard() + pair.failed;
  });
  return agree;
}

void Account::Wrong(Violation violation, std::uint64_t count, const Incarnation& from,
                    const Incarnation& to, const Pair& pair) {
  const auto name = [](const Incarnation& one) {
    return std::to_string(one.peer.slot) + "." + std::to_string(one.peer.generation) + " (" +
           NameOf(one.end) + ")";
  };
  ledger_->Complain(
      violation,
      name(from) + " to " + name(to) + ": attempted " + std::to_string(pair.attempted) +
          ", accepted " + std::to_string(pair.accepted) + ", written " +
          std::to_string(pair.written) + ", heard up to " + std::to_string(pair.last) +
          ", missing " + std::to_string(pair.missing) + ", came back " +
          std::to_string(pair.failed) + " from " + std::to_string(pair.failed_first) + " to " +
          std::to_string(pair.failed_last),
      count);
}

void Account::Judge(const Incarnation& from, const Incarnation& to, const Pair& pair) {
  const auto wrong = [&](Violation violation, std::uint64_t count) {
    Wrong(violation, count, from, to, pair);
  };
  const bool from_exact = from.end != End::kKilled;
  const bool to_exact = to.end != End::kKilled;
  const std::uint64_t sent_max = from_exact ? pair.accepted : pair.attempted;
  if (pair.last > sent_max) return wrong(Violation::kInvented, pair.last - sent_max);
  if (from_exact && to_exact) {
    const std::uint64_t known = pair.heard() + pair.failed;
    if (known < pair.accepted) wrong(Violation::kLost, pair.accepted - known);
    if (known > pair.accepted) wrong(Violation::kDuplicated, known - pair.accepted);
    return;
  }
  // What was heard of, or by, one that was killed is a prefix.
  if (pair.missing > 0) wrong(Violation::kLost, pair.missing);
  if (to_exact && pair.last < pair.written) wrong(Violation::kLost, pair.written - pair.last);
  if (pair.failed == 0) return;
  if (pair.failed_first <= pair.last)
    wrong(Violation::kDuplicated, pair.last - pair.failed_first + 1);
  // And what came back is the end of what was accepted, without a hole.
  const std::uint64_t run = pair.failed_last - pair.failed_first + 1;
  if (run > pair.failed) wrong(Violation::kLost, run - pair.failed);
  if (from_exact && pair.failed_last < pair.accepted)
    wrong(Violation::kLost, pair.accepted - pair.failed_last);
}

void Account::Count(const Incarnation& from, const Incarnation& to, const Pair& pair) {
  std::uint64_t& counted = counted_[from.peer.slot][to.peer.slot];
  const bool live = from.end == End::kLives && to.end == End::kLives;
  const bool exact = from.end != End::kKilled && to.end != End::kKilled;
  // An earlier generation of the slots has nothing counted: `counted` is of the oldest pair here.
  const bool oldest = slots_[from.peer.slot].front().peer == from.peer &&
                      slots_[to.peer.slot].front().peer == to.peer;
  const std::uint64_t fresh = pair.accepted - (oldest ? counted : 0);
  if (exact) {
    totals_.lived_alerts += fresh;
    totals_.lived_pairs += fresh > 0;
    if (!live) totals_.left_alerts += fresh;
    return;
  }
  totals_.died_alerts += fresh;
  totals_.died_pairs += pair.attempted > 0;
  totals_.came_back += pair.failed;
  totals_.heard_of_died += pair.last - std::min(pair.last, pair.accepted - fresh);
}

// What is written there later is a violation.
void Account::Close(const Peer& from, const Peer& to) {
  const std::uint64_t key = KeyOf(from.generation, to.generation) | kClosed;
  ledger_->SentBy(from, to).key.Set(key);
  ledger_->HeardBy(to, from).key.Set(key);
}

void Account::Settle() {
  ForEachPair([this](const Incarnation& from, const Incarnation& to) {
    const Pair pair = Read(from.peer, to.peer);
    Judge(from, to, pair);
    Count(from, to, pair);
  });
  ForEachPair([this](const Incarnation& from, const Incarnation& to) {
    const bool live = from.end == End::kLives && to.end == End::kLives;
    if (!live) Close(from.peer, to.peer);
    counted_[from.peer.slot][to.peer.slot] = live ? Read(from.peer, to.peer).accepted : 0;
  });
  for (auto& slot : slots_) {
    slot.erase(std::remove_if(slot.begin(), slot.end(),
                              [](const Incarnation& one) { return one.end != End::kLives; }),
               slot.end());
  }
}

}  // namespace alertpipe::soak
