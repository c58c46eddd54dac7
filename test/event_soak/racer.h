// SPDX-License-Identifier: Apache-2.0
//
// Races for unique keys: all workers meet at a barrier in shared memory and then publish the same
// key at the same moment.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_RACER_H_
#define ALERTPIPE_TEST_EVENT_SOAK_RACER_H_

#include <cstdint>
#include <string_view>

#include <alertpipe/alertpipe.h>

#include "books.h"
#include "trap.h"

namespace alertpipe::event_soak {

inline constexpr std::string_view kRaceName = "race";

class Racer {
 public:
  Racer(const Peer& self, Events* events, Books* books)
      : self_(self), events_(events), books_(books), trap_(&books->places[self.slot]) {}

  // One key, if there is one left.
  void RaceOnce();
  bool done() const { return next_ >= books_->race_to.Get(); }

 private:
  void Meet(Race* race) const;

  Peer self_;
  Events* events_;
  Books* books_;
  Trap trap_;
  std::uint64_t next_ = 0;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_RACER_H_
