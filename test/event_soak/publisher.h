// SPDX-License-Identifier: Apache-2.0
//
// The publishing side of a worker: events of all kinds to all, as many as the receivers take, each
// written down before and after the call. What the library refuses, and for whom, is written down
// as it was told.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_PUBLISHER_H_
#define ALERTPIPE_TEST_EVENT_SOAK_PUBLISHER_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "books.h"
#include "trap.h"

namespace alertpipe::event_soak {

// How the kinds are published: for EventsOptions.
std::vector<EventRule> Rules();

class Publisher {
 public:
  // All must outlive it.
  Publisher(Endpoint* endpoint, Events* events, Books* books, std::uint64_t seed);

  // Whether this worker is to publish now.
  bool wanted() const;
  // Some events. False: none, since most receivers have enough to read.
  bool PublishSome();
  void PublishFew();
  void PublishOne();
  // Nothing of its own is on its way, as far as this process knows.
  bool AtRest() const { return events_->stats().held_bytes == 0 && endpoint_->QueuedBytes() == 0; }

 private:
  bool MostAreFull() const;
  Kind DrawKind();
  std::size_t DrawBytes();
  void WriteDown(Kind kind, const PublishResult& result);

  Endpoint* endpoint_;
  Events* events_;
  Books* books_;
  Peer self_;
  Place* place_;
  Trap trap_;
  std::mt19937 random_;
  std::uint32_t number_ = 0;
  std::string data_;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_PUBLISHER_H_
