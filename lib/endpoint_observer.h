// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint tells the layer that events are: hooks that are not the application's.
#ifndef ALERTPIPE_ENDPOINT_OBSERVER_H_
#define ALERTPIPE_ENDPOINT_OBSERVER_H_

#include <alertpipe/endpoint.h>

#include <cstdint>

namespace alertpipe::internal {

class EndpointObserver {
 public:
  // At the end of a turn, and before the loop waits: what was queued has been written as far as
  // possible, and what OnTurn queues will be.
  virtual void OnTurn() = 0;
  // Whether OnTurn should be called in this turn / should be called soon, whatever happens.
  virtual bool HasWork() const = 0;
  virtual bool WantsTurn() const = 0;
  // Whether a read of the inbox would help although nothing shows that there is anything.
  virtual bool WantsRead() const = 0;
  // Whether it holds what only the worker in `slot` can settle, or its death. Without a master
  // nobody tells of deaths: the endpoint asks for those, then.
  virtual bool WaitsFor(int slot) const = 0;
  // When OnTurn should be called at the latest, by the monotonic clock.
  virtual std::uint64_t deadline() const = 0;

  virtual void OnJoined(const Peer& peer) = 0;
  virtual void OnLeft(const Peer& peer) = 0;
  // As core::Event::Kind::kDied.
  virtual void OnDied(const Peer& last) = 0;
  virtual void OnDrained(const Peer& peer) = 0;
  // Whether it was one of the observer's alerts.
  virtual bool OnUndelivered(const Undelivered& undelivered) = 0;
  // This worker is being replaced, and begins to drain.
  virtual void OnDraining() = 0;
  // The endpoint ends: nothing can be sent any more after the call.
  virtual void OnClosing() = 0;
  // The process ends, and the loop may be gone: nothing may be sent.
  virtual void OnLastWords() = 0;

 protected:
  ~EndpointObserver() = default;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_ENDPOINT_OBSERVER_H_
