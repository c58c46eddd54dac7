// SPDX-License-Identifier: Apache-2.0
//
// Settles the ledger, as the promise says, for every ordered pair of incarnations:
//
//   Both lived (or left in order), and the pair is quiet: accepted = heard + came back, exactly.
//   The receiver was killed: what was heard is a prefix of what was accepted, what came back is its
//     end, none is in both; what lies between was in the dead one's pipe or memory.
//   The sender was killed: what was heard is a prefix of what it attempted, and holds at least all
//     that Send had called written, since that was in the pipe of one that lived.
//   Both were killed: what was heard is a prefix of what was attempted.
//
// Nothing here guesses: at a quiet point every survivor has heard of every death, and behind it.
#ifndef ALERTPIPE_TEST_SOAK_ACCOUNT_H_
#define ALERTPIPE_TEST_SOAK_ACCOUNT_H_

#include <cstdint>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "ledger.h"

namespace alertpipe::soak {

enum class End : std::uint8_t { kLives, kLeft, kKilled };

// Alerts as their senders accepted them.
struct Totals {
  std::uint64_t lived_alerts = 0;   // settled between two that both lived (or left in order)
  std::uint64_t left_alerts = 0;    // of these: one of the two had been replaced
  std::uint64_t died_alerts = 0;    // settled between two of which one was killed
  std::uint64_t came_back = 0;      // of died_alerts
  std::uint64_t heard_of_died = 0;  // of died_alerts
  std::uint64_t lived_pairs = 0;
  std::uint64_t died_pairs = 0;
};

class Account {
 public:
  explicit Account(Ledger* ledger) : ledger_(ledger) {}

  void Started(const Peer& peer);
  void Ended(const Peer& peer, End end);
  // Whether the slot can have one more incarnation before the next quiet point.
  bool HasRoom(int slot) const { return slots_[slot].size() + 2 < kRing; }

  // At a quiet point. Whether all pairs that have to agree do so by now.
  bool Agrees() const;
  // Counts what is wrong, and closes the books of the dead.
  void Settle();
  const Totals& totals() const { return totals_; }

 private:
  struct Incarnation {
    Peer peer;
    End end = End::kLives;
  };
  struct Pair {
    std::uint64_t attempted = 0;
    std::uint64_t accepted = 0;
    std::uint64_t written = 0;
    std::uint64_t failed = 0;
    std::uint64_t failed_first = 0;
    std::uint64_t failed_last = 0;
    std::uint64_t last = 0;
    std::uint64_t missing = 0;

    std::uint64_t heard() const { return last - missing; }
  };

  template <typename Each>
  void ForEachPair(Each each) const;
  Pair Read(const Peer& from, const Peer& to) const;
  void Judge(const Incarnation& from, const Incarnation& to, const Pair& pair);
  void Count(const Incarnation& from, const Incarnation& to, const Pair& pair);
  void Wrong(Violation violation, std::uint64_t count, const Incarnation& from,
             const Incarnation& to, const Pair& pair);
  void Close(const Peer& from, const Peer& to);

  Ledger* ledger_;
  std::vector<Incarnation> slots_[kSlots];      // not settled for good, oldest first
  std::uint64_t counted_[kSlots][kSlots] = {};  // of the accepted of two that live now
  Totals totals_;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_ACCOUNT_H_
