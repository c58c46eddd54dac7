// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include "fuzz.h"

namespace alertpipe::fuzz {
namespace {

std::string ToText(const Incarnation& from, const Incarnation& to) {
  const auto name = [](const Incarnation& who) {
    return std::to_string(who.first) + "." + std::to_string(who.second);
  };
  return " (" + name(from) + " to " + name(to) + ")";
}

void Check(bool good, const char* what, const Incarnation& from, const Incarnation& to) {
  if (!good) throw Violation(what + ToText(from, to));
}

}  // namespace

std::string Ledger::DataOf(std::uint64_t number, std::size_t bytes) {
  std::string data(bytes, '\0');
  std::uint64_t state = number * 0x9E3779B97F4A7C15;
  for (char& byte : data) {
    state = state * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<char>(state >> 56);
  }
  return data;
}

void Ledger::Accepted(const Incarnation& from, const Incarnation& to, std::uint64_t number,
                      std::size_t bytes, std::uint64_t id, bool told_elsewhere) {
  Account& account = accounts_[{from, to}];
  ++account.accepted;
  Check(id == 0 || id == account.accepted, "ids have a hole", from, to);
  if (told_elsewhere) account.elsewhere.insert(account.accepted);
  copies_[{number, to}] = {account.accepted, bytes, from};
}

void Ledger::Delivered(const Incarnation& from, const Incarnation& to, std::uint64_t number,
                       std::string_view data) {
  const auto copy = copies_.find({number, to});
  Check(copy != copies_.end(), "delivered to somebody whom it was not for", from, to);
  Check(copy->second.from == from, "delivered with the wrong sender", from, to);
  Check(data == DataOf(number, copy->second.bytes), "torn", from, to);
  Account& account = accounts_[{from, to}];
  const std::uint64_t id = copy->second.id;
  Check(id > account.last_delivered, "out of order or twice", from, to);
  Check(account.failed.count(id) == 0, "delivered and given back", from, to);
  account.last_delivered = id;
  account.delivered.insert(id);
}

void Ledger::GivenBack(const Incarnation& from, const Incarnation& to, std::uint64_t id,
                       bool rejected) {
  Account& account = accounts_[{from, to}];
  Check(id >= 1 && id <= account.accepted, "given back, but never accepted", from, to);
  Check(account.elsewhere.count(id) == 0, "its callback is told, and OnUndelivered too", from, to);
  Check(account.delivered.count(id) == 0, "given back and delivered", from, to);
  Check(account.failed.count(id) + account.rejected.count(id) == 0, "given back twice", from, to);
  (rejected ? account.rejected : account.failed).insert(id);
}

void Ledger::CheckName(const Incarnation& from, const Incarnation& to, std::uint64_t id,
                       std::string_view name) const {
  std::uint64_t number = 0;
  for (const char digit : name) number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  const auto copy = copies_.find({number, to});
  Check(copy != copies_.end() && copy->second.id == id, "given back under a wrong name", from, to);
}

void Ledger::Asked(const Incarnation& from, std::uint64_t request_id, const Incarnation& to,
                   std::uint64_t deadline) {
  Check(requests_.emplace(std::pair{from, request_id}, Request{to, deadline, false, false, false})
            .second,
        "a request id was used again", from, to);
}

void Ledger::RequestArrived(const Incarnation& from, std::uint64_t request_id,
                            const Incarnation& to) {
  const auto at = requests_.find({from, request_id});
  Check(at != requests_.end() && at->second.to == to, "a request that nobody made", from, to);
  Check(!std::exchange(at->second.arrived, true), "a request came twice", from, to);
}

void Ledger::GaveUp(const Incarnation& from, std::uint64_t request_id) {
  const auto at = requests_.find({from, request_id});
  if (at != requests_.end()) at->second.given_up = true;
}

void Ledger::Ended(const Incarnation& from, std::uint64_t request_id, const Incarnation& to,
                   ResponseOutcome outcome, std::uint64_t now, const Lives& lives, bool rejecting) {
  const auto at = requests_.find({from, request_id});
  Check(at != requests_.end() && at->second.to == to, "a request ended that nobody made", from, to);
  Request& request = at->second;
  Check(!std::exchange(request.ended, true), "a request ended twice", from, to);
  switch (outcome) {
    case ResponseOutcome::kResponse:
      return Check(request.arrived, "a response to what never arrived", from, to);
    case ResponseOutcome::kDeadline:
      return Check(request.deadline <= now, "before its deadline", from, to);
    case ResponseOutcome::kPeerDied:
      return Check(!lives(to), "the peer lives", from, to);
    case ResponseOutcome::kUnhandled:
      return Check(request.given_up, "nobody gave up", from, to);
    case ResponseOutcome::kUndelivered:
      return Check(rejecting, "nobody had reason to reject", from, to);
    default:
      return;
  }
}

std::uint64_t Ledger::AcceptedFor(const Incarnation& from, const Incarnation& to) const {
  const auto at = accounts_.find({from, to});
  return at == accounts_.end() ? 0 : at->second.accepted;
}

void Ledger::Passed(const Incarnation& from, const Incarnation& to, std::uint64_t accepted,
                    bool rejecting) const {
  const auto at = accounts_.find({from, to});
  if (at == accounts_.end()) return;
  const Account& account = at->second;
  for (std::uint64_t id = 1; id <= accepted; ++id) {
    const bool handled = account.delivered.count(id) + account.rejected.count(id) > 0 ||
                         (rejecting && account.elsewhere.count(id) > 0);
    Check(handled, "a barrier has ended before it should", from, to);
  }
}

void Ledger::Left(const Incarnation& who, const Lives& lives, bool rejecting) {
  left_.insert(who);
  if (rejecting) return;
  for (const auto& [pair, account] : accounts_) {
    if (pair.second != who || !lives(pair.first)) continue;
    Check(account.delivered.size() == account.accepted, "lost with a worker that was replaced",
          pair.first, who);
  }
}

void Ledger::Settle(const Lives& lives, bool rejecting) const {
  for (const auto& [pair, account] : accounts_) SettlePair(pair, account, lives, rejecting);
  for (const auto& [who, request] : requests_) {
    if (lives(who.first)) Check(request.ended, "a request has not ended", who.first, request.to);
  }
}

void Ledger::SettlePair(const Pair& pair, const Account& account, const Lives& lives,
                        bool rejecting) const {
  const auto& [from, to] = pair;
  const auto check = [from = from, to = to](bool good, const char* what) {
    Check(good, what, from, to);
  };
  std::set<std::uint64_t> untold;
  for (const std::uint64_t id : account.elsewhere) {
    if (account.delivered.count(id) == 0) untold.insert(id);
  }
  check(rejecting || account.rejected.empty(), "rejected without a reason");
  if (lives(from) && lives(to)) {
    check(account.failed.empty(), "given back although the receiver lives");
    check(account.delivered.size() + account.rejected.size() + untold.size() == account.accepted,
          "accepted is not delivered and given back");
    check(rejecting || untold.empty(), "a request was neither delivered nor given back");
    return;
  }
  if (!rejecting && left_.count(from) > 0 && lives(to)) {
    check(account.delivered.size() == account.accepted,
          "lost what a worker that was replaced had sent");
  }
  if (!rejecting) check(account.last_delivered == account.delivered.size(), "not a prefix");
  if (!lives(from) || account.failed.empty()) return;
  // What comes back from a dead receiver is the end of what was accepted.
  std::uint64_t id = account.accepted;
  std::size_t found = 0;
  for (; id > 0 && (account.failed.count(id) + untold.count(id) > 0); --id)
    found += account.failed.count(id);
  check(rejecting || found == account.failed.size(), "what was given back has a hole");
  check(account.failed.count(account.accepted) + untold.count(account.accepted) > 0,
        "the last one was not given back");
  check(account.last_delivered < *account.failed.begin(), "delivered behind what was given back");
}

}  // namespace alertpipe::fuzz
