// SPDX-License-Identifier: Apache-2.0
//
// One process of the soak on its loop: a sender and a listener, turned on and off by the ledger's
// mode, and the report that a quiet point has been reached. A worker plays with all it has; the
// master, which has to notice deaths and fork, a little at each tick.
#ifndef ALERTPIPE_TEST_SOAK_PLAYER_H_
#define ALERTPIPE_TEST_SOAK_PLAYER_H_

#include <uv.h>

#include <cstdint>

#include <alertpipe/alertpipe.h>

#include "canary_bird.h"
#include "ledger.h"
#include "listener.h"
#include "sender.h"

namespace alertpipe::soak {

class Player {
 public:
  // All must outlive it. Sets the endpoint's hooks.
  Player(Endpoint* endpoint, uv_loop_t* loop, Ledger* ledger, Material* material,
         std::uint64_t seed, Canary canary);
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  // For a worker that can be replaced: lingers a little when it is told so, sends on, and drains.
  void LeaveWhenTold(Worker* worker);
  // Begins its ticks.
  void Start();
  void CloseHandles();
  Sender& sender() { return sender_; }

 private:
  void SetHooks();
  void Tick();
  void Work();
  void Rest();
  void Spin();
  void ReportQuiet();
  void Left();
  void Wake();
  Mode LookAtMode();

  Endpoint* endpoint_;
  Peer self_;
  Ledger* ledger_;
  Place* place_;
  Sender sender_;
  Listener listener_;
  CanaryBird bird_;
  bool eager_;
  Mode mode_ = Mode::kPause;
  int rests_ = 0;
  int spins_ = 0;
  std::uint64_t handled_ = 0;  // alerts that the handler was called for
  std::uint64_t reported_ = 0;
  Worker* leaving_ = nullptr;  // until it drains
  std::uint64_t lingers_ = 0;  // ticks
  uv_timer_t timer_;
  uv_idle_t idle_;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_PLAYER_H_
