// SPDX-License-Identifier: Apache-2.0
//
// Settles the books of a round, for every pair of a publisher's and a receiver's incarnation:
//
//   Both live at the quiet point, and the receiver was there before the publisher or since before
//     the round: of each kind, published = heard + told to be missing, exactly; of kind `plain`,
//     published = heard + told + refused for it; of kind `value`, the last value of each key was
//     heard.
//   Any other pair: heard + told is at most what the publisher tried. (One that started later than
//     the publisher gets what is published from then on; of one that was killed nobody knows what
//     it had heard; what a dead publisher had queued, or had not claimed, nobody gets.)
//   No death in the round: the sums of what the calls of Publish returned, exactly: accepted =
//   heard
//     (of `ordered`: accepted + gaps = heard + told; of `value`: accepted - coalesced = heard),
//     gaps = told.
//   A round with room for all, neither was stopped: hardly anything was told to be missing.
//
// and of all logs together: there is one order that all agree with (order_check.h).
#ifndef ALERTPIPE_TEST_EVENT_SOAK_ACCOUNT_H_
#define ALERTPIPE_TEST_EVENT_SOAK_ACCOUNT_H_

#include <cstdint>
#include <string>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "books.h"

namespace alertpipe::event_soak {

// What has been settled.
struct Totals {
  std::uint64_t published[kKinds] = {};
  std::uint64_t heard[kKinds] = {};
  std::uint64_t told[kKinds] = {};     // to be missing
  std::uint64_t refused[kKinds] = {};  // receivers, of what was published
  std::uint64_t coalesced = 0;
  std::uint64_t exact_pairs = 0;
  std::uint64_t other_pairs = 0;
  std::uint64_t exact_events = 0;  // of all kinds, published between exact pairs
  std::uint64_t roomy_heard = 0;   // ordered ones where there was room, and neither was stopped
  std::uint64_t roomy_told = 0;    // and of these to be missing
  std::uint64_t exact_rounds = 0;  // without a death
  std::uint64_t rounds = 0;
  std::uint64_t logs = 0;
  std::uint64_t log_entries = 0;
  std::uint64_t different_events = 0;  // in logs: placed in the one order
};

class Account {
 public:
  Account(Books* books, unsigned gap_percent) : books_(books), gap_percent_(gap_percent) {}

  void Started(const Peer& peer);
  void Ended(const Peer& peer);
  void Stopped(const Peer& peer);
  // Whether the slot can have one more incarnation in this round.
  bool HasRoom(int slot) const;

  // At a quiet point. Whether all pairs that have to agree do so by now.
  bool Agrees() const;
  // Counts what is wrong, and wipes the books for the next round. `roomy`: there was room for all.
  void Settle(bool roomy);
  const Totals& totals() const { return totals_; }

 private:
  // In the order in which they were started.
  struct Incarnation {
    Peer peer;
    bool lives = true;
    bool old = false;             // since before this round
    bool stopped = false;         // in this round
    std::uint64_t coalesced = 0;  // in earlier rounds
  };

  template <typename Each>
  void ForEachPair(Each each) const;
  bool IsExact(std::size_t publisher, std::size_t receiver) const;
  std::int64_t Missing(const Peer& from, const Peer& to, Kind kind) const;
  bool LastValuesCame(const Peer& from, const Peer& to) const;
  std::string Text(const Peer& from, const Peer& to, Kind kind) const;
  void JudgeExact(const Peer& from, const Peer& to);
  void JudgeOther(const Peer& from, const Peer& to);
  void JudgeSums();
  void JudgeSums(const Incarnation& from, Kind kind);
  std::uint64_t Coalesced(const Incarnation& one) const;
  void JudgeRoomy();
  void Count(const Peer& from, const Peer& to);
  void CheckOrder();
  void Wipe();

  Books* books_;
  unsigned gap_percent_;                   // where there is room for all
  std::vector<Incarnation> incarnations_;  // of this round
  Totals totals_;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_ACCOUNT_H_
