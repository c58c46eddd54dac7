// SPDX-License-Identifier: Apache-2.0
//
// The receiving side of a worker: checks what callbacks are called with against its stamp, and
// writes it down.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_RECEIVER_H_
#define ALERTPIPE_TEST_EVENT_SOAK_RECEIVER_H_

#include <cstdint>
#include <string>

#include <alertpipe/alertpipe.h>

#include "books.h"
#include "settings.h"
#include "stamp.h"

namespace alertpipe::event_soak {

class Receiver {
 public:
  Receiver(const Peer& self, Books* books, Canary canary);

  void Hear(const Event& event);
  void HearGap(const Gap& gap);
  void HearRace(const Event& event);
  // Keeps nothing back.
  void Release();

 private:
  void Hear(const Peer& publisher, const Stamp& stamp);
  void WriteDown(const Stamp& stamp, Heard* heard);
  Heard& HeardOf(const Peer& publisher);
  bool Fits(const Event& event, const Stamp& stamp) const;
  bool Act(const Event& event, const Stamp& stamp);

  Peer self_;
  Books* books_;
  Place* place_;
  Log* log_;
  std::uint64_t heard_ = 0;
  std::uint64_t last_place_ = 0;

  // What it does wrong on purpose.
  Canary canary_;
  Stamp held_;
  Peer holder_;  // slot -1: nothing is held
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_RECEIVER_H_
