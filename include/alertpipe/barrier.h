// SPDX-License-Identifier: Apache-2.0
//
// Barriers: "tell me when they have handled everything that I have sent up to here". What a barrier
// waited for is told to the callback that was given with it.
#ifndef ALERTPIPE_BARRIER_H_
#define ALERTPIPE_BARRIER_H_

#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <alertpipe/peer.h>

namespace alertpipe {

// How a barrier ended.
struct BarrierReport {
  // OK: all that were asked have handled everything, or have died. kDeadlineExceeded: not in time.
  // kCancelled: this endpoint was closed or destroyed first.
  absl::Status status;
  // Those that had not said so by then: alive, but slow, stopped, or stuck in a handler. In the
  // order of their slots; empty if the status is OK.
  std::vector<Peer> missing;
  // Those that died before they had said so. They may have handled any part of it, from the front.
  std::vector<Peer> died;
};

// Called exactly once for each barrier that was begun, on the endpoint's thread, from its loop
// (from Close and the destructor for what these give up), never from inside Barrier. May do
// anything that a handler may. What it throws is caught and given to OnHandlerError.
using BarrierCallback = absl::AnyInvocable<void(const BarrierReport&)>;

}  // namespace alertpipe

#endif  // ALERTPIPE_BARRIER_H_
