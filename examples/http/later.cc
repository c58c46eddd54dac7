// SPDX-License-Identifier: Apache-2.0
#include "later.h"

#include <utility>

namespace http_example {

Later::Later(uv_loop_t* loop) : loop_(loop) {
  uv_timer_init(loop, &timer_);
  timer_.data = this;
}

void Later::After(std::uint64_t ms, std::function<void()> call) {
  if (closed_) return;
  calls_.emplace(uv_now(loop_) + ms, std::move(call));
  Arm();
}

void Later::Close() {
  if (std::exchange(closed_, true)) return;
  calls_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
}

void Later::Arm() {
  if (closed_ || calls_.empty()) return;
  const std::uint64_t now = uv_now(loop_);
  const std::uint64_t due = calls_.begin()->first;
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<Later*>(timer->data)->CallDue(); },
      due > now ? due - now : 0, 0);
}

void Later::CallDue() {
  const std::uint64_t now = uv_now(loop_);
  while (!calls_.empty() && calls_.begin()->first <= now) {
    const std::function<void()> call = std::move(calls_.begin()->second);
    calls_.erase(calls_.begin());
    call();
  }
  Arm();
}

}  // namespace http_example
