// SPDX-License-Identifier: Apache-2.0
//
// While a role posts, the loop does not sleep: a turn is as much as the role likes to post.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_IDLE_TURNS_H_
#define ALERTPIPE_BENCH_TRANSPORTS_IDLE_TURNS_H_

#include <uv.h>

#include <functional>
#include <utility>

namespace alertpipe::bench {

class IdleTurns {
 public:
  IdleTurns() = default;
  IdleTurns(const IdleTurns&) = delete;
  IdleTurns& operator=(const IdleTurns&) = delete;

  void Open(uv_loop_t* loop) {
    uv_idle_init(loop, &idle_);
    idle_.data = this;
  }
  // The loop has to run once more before this is destroyed.
  void Close() { uv_close(reinterpret_cast<uv_handle_t*>(&idle_), nullptr); }

  void OnTurn(std::function<void()> turn) { turn_ = std::move(turn); }

  // Whether there is to be a next turn.
  void Want(bool wanted) {
    if (wanted == active_) return;
    active_ = wanted;
    if (active_) {
      uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<IdleTurns*>(idle->data)->turn_(); });
    } else {
      uv_idle_stop(&idle_);
    }
  }

 private:
  uv_idle_t idle_;
  std::function<void()> turn_;
  bool active_ = false;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_IDLE_TURNS_H_
