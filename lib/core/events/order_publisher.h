// SPDX-License-Identifier: Apache-2.0
//
// The sending half of the one order: numbers the ordered events of this incarnation, and claims
// places for them once they have left. A batch is what was published up to the end of a turn: its
// events are claimed together, for one compare-and-swap.
#ifndef ALERTPIPE_CORE_EVENTS_ORDER_PUBLISHER_H_
#define ALERTPIPE_CORE_EVENTS_ORDER_PUBLISHER_H_

#include <alertpipe/peer.h>

#include <cstdint>
#include <vector>

#include "core/endpoint.h"
#include "core/events/order_ring.h"

namespace alertpipe::core {

class OrderPublisher {
 public:
  OrderPublisher(OrderRing ring, const Peer& self, int slots)
      : ring_(ring), self_(self), receivers_(static_cast<std::size_t>(slots)) {}

  // The number of a new event.
  std::uint64_t Number() { return ++numbered_; }
  // The event numbered last has been accepted for a receiver, as `alert_id`.
  void Sent(int slot, std::uint32_t generation, std::uint64_t alert_id);

  // Whether there is a batch to claim places for, or one could be closed.
  bool pending() const { return claimed_ < numbered_; }
  // Closes the batch, if none is closed yet: what is numbered from now on is for the next one.
  void Close();
  // Whether all of the closed batch has left for all who are waited for.
  bool HasLeft(const Endpoint& endpoint);
  // Those that it has not left for are not waited for any longer, until nothing is queued for them.
  // They get it late, as a gap.
  void StopWaiting(const Endpoint& endpoint);
  bool closed() const { return closed_ > claimed_; }

  // Claims a place, one step at a time, for the closed batch. False when all of it has places.
  bool Step();
  // All up to this one have places.
  std::uint64_t claimed() const { return claimed_; }

 private:
  struct Receiver {
    std::uint32_t generation = 0;
    std::uint64_t latest = 0;   // alert id of the last event
    std::uint64_t closing = 0;  // the same within the closed batch; 0: none
    bool lags = false;
  };

  OrderRing ring_;
  Peer self_;
  std::vector<Receiver> receivers_;
  std::uint64_t numbered_ = 0;
  std::uint64_t closed_ = 0;
  std::uint64_t claimed_ = 0;
  bool claiming_ = false;
  OrderRing::Claim claim_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_ORDER_PUBLISHER_H_
