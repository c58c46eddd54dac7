// SPDX-License-Identifier: Apache-2.0
//
// The receiving side: checks every alert that a handler is called with against its stamp and the
// ledger, and writes down what it has heard.
#ifndef ALERTPIPE_TEST_SOAK_LISTENER_H_
#define ALERTPIPE_TEST_SOAK_LISTENER_H_

#include <cstdint>
#include <string_view>

#include <alertpipe/alertpipe.h>

#include "ledger.h"
#include "stamp.h"

namespace alertpipe::soak {

class Listener {
 public:
  Listener(const Peer& self, Ledger* ledger)
      : self_(self), ledger_(ledger), place_(&ledger->places[self.slot]) {}

  void Hear(const Peer& sender, std::string_view data);
  // How many alerts it was called for.
  std::uint64_t heard() const { return heard_; }
  // The last quiet point that the master's alerts have announced.
  std::uint64_t quiet() const { return quiet_; }

 private:
  Heard* HalfOf(const Peer& sender);
  void OutOfTurn(const Stamp& stamp, Heard* half);
  std::string Name(const Peer& sender) const;

  Peer self_;
  Ledger* ledger_;
  Place* place_;
  std::uint64_t heard_ = 0;
  std::uint64_t quiet_ = 0;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_LISTENER_H_
