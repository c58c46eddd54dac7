// SPDX-License-Identifier: Apache-2.0
#include "replies.h"

#include <charconv>
#include <utility>
#include <vector>

namespace http_example {
namespace {

// Clients may go while their replies are awaited, so the number of clients is no bound.
constexpr std::size_t kWaitingMax = 10000;

}  // namespace

std::string Tag(std::uint64_t number, std::string_view data) {
  return std::to_string(number).append(" ").append(data);
}

std::optional<Tagged> Untag(std::string_view tagged) {
  Tagged result;
  const char* end = tagged.data() + tagged.size();
  const auto [rest, error] = std::from_chars(tagged.data(), end, result.number);
  if (error != std::errc() || rest == end || *rest != ' ') return std::nullopt;
  result.data = tagged.substr(static_cast<std::size_t>(rest + 1 - tagged.data()));
  return result;
}

Replies::Replies(uv_loop_t* loop, std::uint64_t limit_ms) : loop_(loop), limit_ms_(limit_ms) {
  uv_timer_init(loop_, &timer_);
  timer_.data = this;
}

bool Replies::full() const { return waiting_.size() >= kWaitingMax; }

void Replies::Wait(std::uint64_t number, pid_t from, Respond respond) {
  waiting_[number] = {from, uv_now(loop_) + limit_ms_, std::move(respond)};
  if (waiting_.size() == 1) StartTimer();
}

void Replies::OnReply(pid_t from, const Tagged& reply) {
  const auto found = waiting_.find(reply.number);
  if (found == waiting_.end() || found->second.from != from) return;  // too late
  const Respond respond = std::move(found->second.respond);
  waiting_.erase(found);
  respond({200, std::to_string(from) + " replied: " + std::string(reply.data) + "\n"});
}

void Replies::OnLeft(pid_t worker) {
  std::vector<Respond> failed;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (it->second.from == worker) {
      failed.push_back(std::move(it->second.respond));
      it = waiting_.erase(it);
    } else {
      ++it;
    }
  }
  for (const Respond& respond : failed) {
    respond({502, "worker " + std::to_string(worker) + " died before it replied\n"});
  }
}

// All wait equally long, so the oldest is the first whose time is up.
void Replies::StartTimer() {
  const std::uint64_t deadline = waiting_.begin()->second.deadline_ms;
  const std::uint64_t now = uv_now(loop_);
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<Replies*>(timer->data)->OnTimer(); },
      deadline > now ? deadline - now : 0, 0);
}

void Replies::OnTimer() {
  while (!waiting_.empty() && waiting_.begin()->second.deadline_ms <= uv_now(loop_)) {
    const Waiting oldest = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    oldest.respond({504, "worker " + std::to_string(oldest.from) + " did not reply in time\n"});
  }
  if (!waiting_.empty()) StartTimer();
}

void Replies::Close() { uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr); }

}  // namespace http_example
