// SPDX-License-Identifier: Apache-2.0
//
// The account of a simulated family: what was accepted, and what has become of it. Each alert has a
// number of its own, in its name or (a response has none) at the beginning of its data; the data is
// made of the number. So whatever turns up can be looked up.
#ifndef ALERTPIPE_TEST_FUZZ_LEDGER_H_
#define ALERTPIPE_TEST_FUZZ_LEDGER_H_

#include <alertpipe/peer.h>
#include <alertpipe/request.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace alertpipe::fuzz {

using Incarnation = std::pair<int, std::uint32_t>;
inline Incarnation IncarnationOf(const Peer& peer) { return {peer.slot, peer.generation}; }

class Ledger {
 public:
  using Lives = std::function<bool(const Incarnation&)>;

  // A number for an alert, and its data.
  std::uint64_t NextNumber() { return ++numbers_; }
  static std::string DataOf(std::uint64_t number, std::size_t bytes);
  static std::string NameOf(std::uint64_t number) { return std::to_string(number); }

  // What happened. Each throws Violation if that breaks the promise.
  // `id` as it was told, or 0.
  void Accepted(const Incarnation& from, const Incarnation& to, std::uint64_t number,
                std::size_t bytes, std::uint64_t id, bool told_elsewhere);
  void Delivered(const Incarnation& from, const Incarnation& to, std::uint64_t number,
                 std::string_view data);
  // `rejected`: by the receiver, which lives; else because it has died or the sender has closed.
  void GivenBack(const Incarnation& from, const Incarnation& to, std::uint64_t id, bool rejected);
  // The name that came with it.
  void CheckName(const Incarnation& from, const Incarnation& to, std::uint64_t id,
                 std::string_view name) const;

  void Asked(const Incarnation& from, std::uint64_t request_id, const Incarnation& to,
             std::uint64_t deadline);
  void RequestArrived(const Incarnation& from, std::uint64_t request_id, const Incarnation& to);
  void GaveUp(const Incarnation& from, std::uint64_t request_id);
  void Ended(const Incarnation& from, std::uint64_t request_id, const Incarnation& to,
             ResponseOutcome outcome, std::uint64_t now, const Lives& lives, bool rejecting);

  // A barrier to `to` begins, and ends: all that was accepted until then has been handled.
  std::uint64_t AcceptedFor(const Incarnation& from, const Incarnation& to) const;
  void Passed(const Incarnation& from, const Incarnation& to, std::uint64_t accepted,
              bool rejecting) const;
  // A worker that was replaced has ended by itself. Everybody's alerts to it have been handled, and
  // all of its own will be.
  void Left(const Incarnation& who, const Lives& lives, bool rejecting);

  // At rest: everything that was accepted is accounted for. `rejecting`: receivers may have had
  // reason to reject.
  void Settle(const Lives& lives, bool rejecting) const;

 private:
  // One ordered pair. Ids count from 1 without a hole.
  struct Account {
    std::uint64_t accepted = 0;
    std::uint64_t last_delivered = 0;
    std::set<std::uint64_t> delivered;
    std::set<std::uint64_t> failed;
    std::set<std::uint64_t> rejected;
    std::set<std::uint64_t> elsewhere;  // requests: their callbacks are told
  };
  struct Request {
    Incarnation to;
    std::uint64_t deadline = 0;
    bool arrived = false;
    bool given_up = false;
    bool ended = false;
  };
  struct Copy {
    std::uint64_t id = 0;
    std::size_t bytes = 0;
    Incarnation from;
  };
  using Pair = std::pair<Incarnation, Incarnation>;

  void SettlePair(const Pair& pair, const Account& account, const Lives& lives,
                  bool rejecting) const;

  std::uint64_t numbers_ = 0;
  std::set<Incarnation> left_;
  std::map<Pair, Account> accounts_;
  std::map<std::pair<std::uint64_t, Incarnation>, Copy> copies_;
  std::map<std::pair<Incarnation, std::uint64_t>, Request> requests_;
};

}  // namespace alertpipe::fuzz

#endif  // ALERTPIPE_TEST_FUZZ_LEDGER_H_
