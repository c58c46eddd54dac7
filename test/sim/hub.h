// SPDX-License-Identifier: Apache-2.0
//
// Ordered events of one process: what the facade's EventHub (lib/event_*.cc) does around
// core::OrderPublisher and core::OrderBook, one step at a time. A step is one access of a claim to
// the ring, one look at it, one send, one event handed out; whatever may happen to others happens
// between two of them.
//
//   Publish -> an alert to everybody (process_send.cc) -> its own copy into the book
//   an arrival -> Handle -> the book, or a gap told
//   BeginTurn -> gaps that found no room -> the claim -> "these have places" -> read, look, hand
//   out
//
// Left out is what is the facade's alone: rules, subscriptions, events that are not ordered.
#ifndef ALERTPIPE_TEST_SIM_HUB_H_
#define ALERTPIPE_TEST_SIM_HUB_H_

#include <alertpipe/peer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/endpoint.h"
#include "core/events/event_record.h"
#include "core/events/order_book.h"
#include "core/events/order_publisher.h"
#include "sim/ledger.h"

namespace alertpipe::sim {

class Process;
class World;

class Hub {
 public:
  Hub(World* world, Process* process);

  // In the middle of a call: Step goes on with it.
  bool busy() const { return stage_ != Stage::kIdle; }
  void Step();
  bool publishing() const { return stage_ == Stage::kPublishNext || stage_ == Stage::kPublishOwn; }
  // Between two accesses to the ring.
  bool claiming() const { return stage_ == Stage::kClaim && claim_steps_ > 0; }

  // One event. `probe`: to everybody, and small.
  void Publish(bool probe);
  // What has become of the send that is under way, for one receiver; NotSent: for all of them.
  void Accepted(const Incarnation& to, std::uint64_t alert_id);
  void Refused(const Incarnation& to, const absl::Status& status);
  void NotSent(const absl::Status& status);

  // An alert of this layer's has come.
  void Handle(const Peer& sender, std::string_view data);

  // As EndpointObserver has them.
  void BeginTurn();
  bool HasWork() const;
  bool WantsTurn() const;
  bool wants_read() const { return book_.wants_read(); }
  bool WaitsFor(int slot) const { return book_.HoldsFrom(slot); }
  std::uint64_t deadline() const { return std::min({wait_until_, look_at_, retry_at_}); }
  void Died(const Peer& last);
  void Drained(const Peer& peer);
  void ComeBack(const Undelivered& undelivered);
  void BeginClosing();

  // What is still to be done, for messages.
  std::string Business() const;
  std::size_t held() const { return book_.held(); }
  std::uint64_t overruns() const { return book_.overruns(); }

 private:
  enum class Stage : std::uint8_t {
    kIdle,
    kPublishNext,  // to the next receiver, where gaps wait for somebody
    kPublishOwn,
    kBacklogs,
    kOrder,
    kClaim,
    kTell,
    kHasRead,
    kLook,
    kNext,
    kClaimRest,  // of one that closes
  };
  enum class Sending : std::uint8_t { kEvent, kGap, kClaimed };
  // Gaps that one receiver has to be told of.
  struct Backlog {
    std::uint32_t generation = 0;
    std::uint64_t count = 0;
  };
  // Who is told of claims, and is waited for.
  struct Receiver {
    bool owed = false;
    bool lags = false;
  };

  static std::size_t Index(int slot) { return static_cast<std::size_t>(slot); }
  Incarnation self() const;
  core::Endpoint& core();
  void StepPublishNext();
  void StepPublishOwn();
  void StepBacklogs();
  void StepOrder();
  void StepClaim();
  void EndClaim();
  void StepTell();
  void StepHasRead();
  void StepLook();
  void StepNext();
  void StepClaimRest();

  void SendEvent(const To& to);
  void SendGap(int slot);
  void Overflowed(const Incarnation& to);
  void TellGap(const Incarnation& publisher, std::uint64_t count);
  void PushGap(const Peer& publisher, std::uint64_t count);
  bool MayHold(std::size_t bytes) const;
  bool Waits(int slot, std::uint32_t generation) const;
  bool AnyWaits() const;
  void StopWaiting();
  void RetryLater();
  void Observe();
  std::string Compose(core::EventRecord record, std::uint64_t serial, std::size_t bytes);

  World* world_;
  Process* process_;
  core::OrderPublisher publisher_;
  core::OrderBook book_;

  Stage stage_ = Stage::kIdle;
  Sending sending_ = Sending::kEvent;
  // What is being published.
  std::string record_;
  std::uint64_t number_ = 0;
  std::uint64_t serial_ = 0;
  bool others_only_ = false;
  bool gap_tried_ = false;  // for the receiver that is next
  std::vector<core::Target> targets_;
  std::size_t at_ = 0;

  std::vector<Backlog> backlogs_;    // by slot
  std::vector<Receiver> receivers_;  // the same
  bool flush_backlogs_ = false;
  std::uint64_t retry_at_ = core::kNever;
  bool waiting_ = false;
  std::uint64_t wait_until_ = core::kNever;
  bool look_ = false;
  std::uint64_t look_at_ = core::kNever;
  bool owes_claims_ = false;
  bool told_early_ = false;  // canary
  std::uint32_t claim_steps_ = 0;
  std::uint64_t overruns_counted_ = 0;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_HUB_H_
