// SPDX-License-Identifier: Apache-2.0
//
// A kill -9 at a chosen moment: the director sets a trap for a worker that is about to publish, or
// about to be called back, and a timer of the kernel kills it some microseconds later, at whatever
// instruction that is: in the call, or in the turn behind it, which writes and claims. From outside
// one hits hardly ever what takes so little time.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_TRAP_H_
#define ALERTPIPE_TEST_EVENT_SOAK_TRAP_H_

#include "books.h"

namespace alertpipe::event_soak {

class Trap {
 public:
  explicit Trap(Place* place) : place_(place) {}

  // The worker is in the midst of `doing` from now on.
  void Enter(Doing doing) {
    if (place_->trap.Get() == static_cast<std::uint64_t>(doing)) Spring(doing);
  }

 private:
  void Spring(Doing doing);

  Place* place_;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_TRAP_H_
