// SPDX-License-Identifier: Apache-2.0
#include "racer.h"

#include <sched.h>
#include <uv.h>

#include <algorithm>
#include <string>

namespace alertpipe::event_soak {
namespace {

// How long those are waited for who may have been killed, and who must come.
constexpr std::uint64_t kShortNs = 3000000;
constexpr std::uint64_t kLongNs = 30000000000;

}  // namespace

void Racer::Meet(Race* race) const {
  race->arrived.AddShared();
  const std::uint64_t racers = books_->racers.Get();
  const std::uint64_t until = uv_hrtime() + (racers == 0 ? kShortNs : kLongNs);
  const std::uint64_t wanted = racers == 0 ? books_->publishers.Get() : racers;
  while (race->arrived.Get() < wanted) {
    if (uv_hrtime() > until) {
      if (racers != 0) books_->Complain(Violation::kHung, "not all come to the race");
      return;
    }
    sched_yield();
  }
}

void Racer::RaceOnce() {
  // One that starts late begins where the others are.
  next_ = std::max(next_, books_->race_now.Get());
  if (done()) return;
  books_->race_now.Set(std::max(next_, books_->race_now.Get()));
  Race& race = books_->races[next_];
  Meet(&race);
  Place& place = books_->places[self_.slot];
  const Doing before = place.Enter(Doing::kPublishing);
  trap_.Enter(Doing::kPublishing);
  const PublishResult result =
      events_->Publish(Audience::Unique("key " + std::to_string(next_)), kSource, kRaceName,
                       std::string_view(reinterpret_cast<const char*>(&next_), sizeof next_));
  place.Enter(before);
  if (result.accepted == 1) race.won.AddShared();
  if (!result.ok() || result.accepted + (result.duplicate ? 1 : 0) != 1)
    books_->Complain(Violation::kBroken, Name(self_) + ": " + result.status().ToString());
  ++next_;
  place.raced.Set(std::uint64_t{self_.generation} << 32 | next_);
}

}  // namespace alertpipe::event_soak
