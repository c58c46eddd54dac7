// SPDX-License-Identifier: Apache-2.0
//
// The account of ordered events, kept by somebody who sees everything: what each process has
// published, for whom it was accepted, when it was claimed, and what has become of it at each of
// its receivers. What happens is compared at once; the end settles that each event has come to
// something at everybody who lives, and that all have got what they have in one order.
//
// The numbers of places are not believed. That there is one order is shown by finding one: a
// sequence of all events in which each process's own log is contained. Of the ring only this is
// looked at: that the next place has been taken, by whom and for which events, in the step that has
// taken it.
#ifndef ALERTPIPE_TEST_SIM_ORDER_LEDGER_H_
#define ALERTPIPE_TEST_SIM_ORDER_LEDGER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "../events/ring_memory.h"
#include "sim/ledger.h"

namespace alertpipe::sim {

class OrderLedger {
 public:
  OrderLedger(Ledger* ledger, core::OrderRingMemory* memory, std::uint64_t places, Census* census)
      : ledger_(ledger), memory_(memory), places_(places), census_(census) {}

  // ---- At the publisher
  // `probe`: published when everything had come to rest.
  void Publish(const Incarnation& publisher, std::uint64_t number, std::uint64_t serial,
               bool probe);
  // Its last event has been accepted for `receiver`, as that alert; 0: it is its own.
  void Accept(const Incarnation& publisher, const Incarnation& receiver, std::uint64_t alert_id);
  // It owes `receiver` a gap: its last event was refused, or one has come back.
  void Refuse(const Incarnation& publisher, const Incarnation& receiver);
  void ComeBack(const Incarnation& publisher, const Incarnation& receiver, std::uint64_t alert_id);
  // A step of a claim has been taken. `may_lag` says of an event's copy whether it has not left and
  // its receiver is not waited for.
  void Observe(const Incarnation& publisher,
               const std::function<bool(const Incarnation&, std::uint64_t alert_id)>& may_lag);

  // ---- At the receiver
  enum class Gap : std::uint8_t { kLate, kNoRoom };
  void Arrive(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number);
  void Deliver(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number,
               std::uint64_t serial);
  // Told as a gap of its own. `overrun`: the ring has run over this receiver.
  void Miss(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number,
            Gap gap, bool overrun);
  void Withdraw(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number);
  // `count` events are missing, as the publisher has said.
  void TellGap(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t count);

  // Everything is quiet: nobody who lives holds what has been claimed.
  void CheckHandedOut();
  // The end.
  void Settle();

 private:
  enum class State : std::uint8_t { kPending, kDelivered, kMissed, kOverrun, kWithdrawn, kOwed };
  // An event, for one receiver.
  struct Copy {
    Incarnation receiver;
    std::uint64_t alert_id = 0;
    State state = State::kPending;
    bool arrived = false;
    bool due = false;  // it had left when it was claimed, or was waited for: it must come
  };
  struct Entry {
    Incarnation publisher;
    std::uint64_t number = 0;
    std::uint64_t serial = 0;
    bool probe = false;
    bool claimed = false;
    std::vector<Copy> copies;
  };
  struct Publisher {
    std::vector<std::size_t> entries;  // number - 1
    std::uint64_t claimed = 0;
  };
  struct Receiver {
    Incarnation who;
    std::vector<std::size_t> log;  // of entries, as they were delivered
  };
  // Gaps that are told by number, and the last event that was delivered.
  struct Pair {
    Incarnation publisher;
    Incarnation receiver;
    std::uint64_t owed = 0;
    std::uint64_t told = 0;
    std::uint64_t last = 0;
  };

  static std::uint64_t KeyOf(const Incarnation& who) {
    return (static_cast<std::uint64_t>(who.slot) << 24) | who.generation;
  }
  bool Tainted(const Incarnation& who) { return ledger_->fate(who).tainted; }
  Entry& Last(const Incarnation& publisher);
  Copy* Find(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number,
             Entry** entry);
  Copy* Pending(const Incarnation& receiver, const Incarnation& publisher, std::uint64_t number,
                Entry** entry, const char* what);
  Receiver& receiver(const Incarnation& who);
  Pair& pair(const Incarnation& publisher, const Incarnation& receiver);
  void Claim(const Incarnation& publisher, const core::OrderWord& word,
             const std::function<bool(const Incarnation&, std::uint64_t)>& may_lag);
  void SettleCopy(const Entry& entry, const Copy& copy);
  void SettlePair(const Pair& pair);
  void FindOneOrder();

  Ledger* ledger_;
  core::OrderRingMemory* memory_;
  std::uint64_t places_;
  Census* census_;
  std::uint64_t taken_ = 0;  // places, so far
  std::deque<Entry> entries_;
  absl::flat_hash_map<std::uint64_t, Publisher> publishers_;
  std::deque<Receiver> receivers_;
  absl::flat_hash_map<std::uint64_t, Receiver*> by_receiver_;
  std::deque<Pair> pairs_;
  absl::flat_hash_map<std::uint64_t, Pair*> by_pair_;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_ORDER_LEDGER_H_
