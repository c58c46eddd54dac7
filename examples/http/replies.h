// SPDX-License-Identifier: Apache-2.0
//
// The web requests that wait for another worker's reply. Alerts and their replies find each other
// by a number in front of the data: Tag puts it there and Untag takes it off.
#ifndef ALERTPIPE_EXAMPLES_HTTP_REPLIES_H_
#define ALERTPIPE_EXAMPLES_HTTP_REPLIES_H_

#include <sys/types.h>
#include <uv.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "codec.h"

namespace http_example {

struct Tagged {
  std::uint64_t number = 0;
  std::string_view data;
};

std::string Tag(std::uint64_t number, std::string_view data);
std::optional<Tagged> Untag(std::string_view tagged);

class Replies {
 public:
  Replies(uv_loop_t* loop, std::uint64_t limit_ms);

  std::uint64_t NextNumber() { return ++last_number_; }
  bool full() const;

  // Keeps `respond` until worker `from` has replied under that number, has died, or time is up.
  void Wait(std::uint64_t number, pid_t from, Respond respond);

  void OnReply(pid_t from, const Tagged& reply);
  void OnLeft(pid_t worker);

  // Leaves nothing on the loop.
  void Close();

 private:
  struct Waiting {
    pid_t from = 0;
    std::uint64_t deadline_ms = 0;
    Respond respond;
  };

  void StartTimer();
  void OnTimer();

  uv_loop_t* const loop_;
  const std::uint64_t limit_ms_;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, Waiting> waiting_;  // by number, so the oldest comes first
  uv_timer_t timer_{};
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_REPLIES_H_
