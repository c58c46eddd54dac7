// SPDX-License-Identifier: Apache-2.0
//
// A worker of the event soak: publisher, receiver and racer on one loop, turned on and off by the
// books' mode, and the report that a quiet point has been reached.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_WORKER_H_
#define ALERTPIPE_TEST_EVENT_SOAK_WORKER_H_

#include <uv.h>

#include <cstdint>
#include <random>
#include <string_view>

#include <alertpipe/alertpipe.h>

#include "books.h"
#include "publisher.h"
#include "racer.h"
#include "receiver.h"
#include "settings.h"
#include "trap.h"

namespace alertpipe::event_soak {

// What the master's alert is called that announces a quiet point. It comes behind its notices of
// all deaths, and so behind all that the dead have written.
inline constexpr std::string_view kQuietName = "quiet";

// The worker's exit code. It ends when it is killed, or its master is gone.
int LiveAsWorker(Slot slot, const Settings& settings, Books* books);

class LiveWorker {
 public:
  LiveWorker(Worker* worker, Events* events, uv_loop_t* loop, Books* books,
             const Settings& settings, Canary canary);
  LiveWorker(const LiveWorker&) = delete;
  LiveWorker& operator=(const LiveWorker&) = delete;

  void Start();

 private:
  void Subscribe();
  void Handle(const Event& event);
  void Tick();
  void Work();
  void Rest();
  void ReportQuiet();

  Worker* worker_;
  Events* events_;
  Books* books_;
  Peer self_;
  Place* place_;
  Trap trap_;
  Publisher publisher_;
  Receiver receiver_;
  Racer racer_;
  std::mt19937 random_;
  std::uint64_t quiet_ = 0;     // the last that was announced
  std::uint64_t reported_ = 0;  // the last that was come to
  int rests_ = 0;
  EventsStats told_;  // what the place has of the library's figures
  uv_timer_t timer_;
  uv_idle_t idle_;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_WORKER_H_
