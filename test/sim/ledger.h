// SPDX-License-Identifier: Apache-2.0
//
// The account of DESIGN's promise, kept by somebody who sees everything. For each ordered pair of
// incarnations it knows what was accepted, in which order, and what has become of each alert; for
// each request, how it may end. What happens is compared at once: the next alert that a receiver
// gets from a sender must be the first one that has not been delivered or rejected yet, with every
// byte as it was sent. The end, when everything is quiet, settles what must have come of the rest.
#ifndef ALERTPIPE_TEST_SIM_LEDGER_H_
#define ALERTPIPE_TEST_SIM_LEDGER_H_

#include <alertpipe/barrier.h>
#include <alertpipe/endpoint.h>
#include <alertpipe/peer.h>
#include <alertpipe/request.h>

#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "sim/census.h"

namespace alertpipe::sim {

// Something that must not be. What it says names who, what, and which rule.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Incarnation {
  int slot = 0;
  std::uint32_t generation = 0;
  friend bool operator==(const Incarnation& a, const Incarnation& b) {
    return a.slot == b.slot && a.generation == b.generation;
  }
};
inline Incarnation Of(const Peer& peer) { return {peer.slot, peer.generation}; }
std::string ToString(const Incarnation& who);

// kEvent: one that carries an event, or something about events.
enum class AlertKind : std::uint8_t { kPlain, kRequest, kResponse, kEvent };

// What became of every incarnation there was.
struct Fate {
  enum class State : std::uint8_t { kAnnounced, kAlive, kDead };
  State state = State::kAnnounced;
  bool tainted = false;  // has read what a hostile relative has written
  bool closing = false;  // has given back what was queued, to leave
  bool left = false;     // was retired and has left in order
  std::uint32_t pid = 0;
};

class Ledger {
 public:
  Ledger(int slots, Census* census) : fates_(static_cast<std::size_t>(slots)), census_(census) {}

  // ---- Incarnations
  Fate& fate(const Incarnation& who);
  bool EverTainted(int slot) const;
  bool Lives(const Incarnation& who) { return fate(who).state == Fate::State::kAlive; }

  // ---- Alerts
  struct Accepted {
    std::uint64_t serial = 0;
    std::uint64_t id = 0;
    std::uint32_t bytes = 0;  // of data
    AlertKind kind = AlertKind::kPlain;
    bool probe = false;     // sent when everything had come to rest
    std::uint64_t sum = 0;  // of kEvent: Contents::SumOf
  };
  void Accept(const Incarnation& from, const Incarnation& to, const Accepted& alert);
  std::uint64_t NextId(const Incarnation& from, const Incarnation& to) {
    return account(from, to).entries.size() + 1;
  }
  // At the receiver: it was handed out, or could not be held. Deliver returns its serial, or
  // kNoSerial for what does not count (forged).
  std::uint64_t Deliver(const Incarnation& from, const Incarnation& to, std::string_view name,
                        std::string_view data, bool is_response);
  void Reject(const Incarnation& from, const Incarnation& to, std::uint64_t id);
  // At the sender.
  void GiveBack(const Incarnation& from, const Undelivered& undelivered);

  // ---- Requests
  void Ask(const Incarnation& asker, std::uint64_t id, const Incarnation& peer,
           std::uint64_t alert_id, std::uint64_t deadline);
  void GotRequest(const Incarnation& asker, std::uint64_t id, const Incarnation& peer);
  void WillNotRespond(const Incarnation& asker, std::uint64_t id);
  // A response has arrived, in time or late.
  void GotResponse(const Incarnation& asker, std::uint64_t id, const Incarnation& peer);
  void End(const Incarnation& asker, std::uint64_t id, const Incarnation& peer,
           ResponseOutcome outcome, std::uint64_t now);

  // ---- Barriers
  // The number of the next one.
  std::size_t NextBarrier() const { return barriers_.size(); }
  // It covers what has been accepted for `targets` until now.
  void BeginBarrier(const Incarnation& asker, const std::vector<Incarnation>& targets,
                    std::uint64_t deadline);
  void EndBarrier(std::size_t number, const BarrierReport& report, std::uint64_t now);

  // Everything is quiet: whoever lives will get nothing any more.
  void Settle();

 private:
  enum class State : std::uint8_t { kPending, kDelivered, kRejected, kFailed };
  struct Entry {
    std::uint64_t serial = 0;
    std::uint32_t bytes = 0;
    AlertKind kind = AlertKind::kPlain;
    State state = State::kPending;
    bool probe = false;
    bool told = false;  // a reject has reached the sender
    std::uint64_t sum = 0;
  };
  struct Account {
    Incarnation from;
    Incarnation to;
    std::vector<Entry> entries;   // alert id - 1
    std::size_t next = 0;         // the first that was neither delivered nor rejected
    std::size_t failed_from = 0;  // the id of the first that was given back; 0: none
    std::size_t failed_to = 0;
  };
  struct Asked {
    Incarnation asker;
    Incarnation peer;
    std::uint64_t alert_id = 0;
    std::uint64_t deadline = 0;
    bool got = false;
    bool given_up = false;
    bool responded = false;
    bool ended = false;
  };

  struct Barrier {
    struct Part {
      Incarnation peer;
      std::size_t accepted = 0;
    };
    Incarnation asker;
    std::vector<Part> parts;
    std::uint64_t deadline = 0;
    bool ended = false;
  };

  static bool IsName(const Entry& entry, std::string_view name);
  static bool IsData(const Entry& entry, std::string_view data);
  bool Settled(const Entry& entry) const;
  bool Ended(const Incarnation& who) { return Lives(who) || fate(who).left; }
  void CheckPassed(const Barrier& barrier, const Barrier::Part& part);
  static std::uint64_t KeyOf(const Incarnation& from, const Incarnation& to);
  Account& account(const Incarnation& from, const Incarnation& to);
  Asked* FindAsked(const Incarnation& asker, std::uint64_t id);
  bool Exempt(const Incarnation& a, const Incarnation& b) {
    return fate(a).tainted || fate(b).tainted;
  }
  std::string WhereIs(std::uint64_t serial) const;
  void SettleBarriers();
  void SettlePair(Account* account);
  void SettleVictim(const Account& pair);
  void SettleSurvivor(const Account& account);

  std::vector<std::vector<Fate>> fates_;  // by slot and generation
  std::deque<Account> accounts_;
  absl::flat_hash_map<std::uint64_t, Account*> by_pair_;
  std::deque<Asked> asked_;
  absl::flat_hash_map<std::uint64_t, Asked*> by_request_;
  std::deque<Barrier> barriers_;
  Census* census_;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_LEDGER_H_
