// SPDX-License-Identifier: Apache-2.0
#include "trap.h"

#include <signal.h>
#include <time.h>
#include <uv.h>

namespace alertpipe::event_soak {
namespace {

// About what it takes to publish an event to sixteen receivers, and what follows.
constexpr std::uint64_t kFuseNsMax = 40000;

}  // namespace

void Trap::Spring(Doing doing) {
  place_->trap.Set(0);
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer;
  itimerspec fuse = {};
  fuse.it_value.tv_nsec = static_cast<long>(1 + uv_hrtime() % kFuseNsMax);
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return;
  timer_settime(timer, 0, &fuse, nullptr);
  // A callback takes its time.
  while (doing == Doing::kHandling) {
  }
}

}  // namespace alertpipe::event_soak
