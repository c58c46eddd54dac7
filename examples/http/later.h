// SPDX-License-Identifier: Apache-2.0
//
// "In so many milliseconds, do that": any number of times with one timer of the loop.
#ifndef ALERTPIPE_EXAMPLES_HTTP_LATER_H_
#define ALERTPIPE_EXAMPLES_HTTP_LATER_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <map>

namespace http_example {

class Later {
 public:
  explicit Later(uv_loop_t* loop);

  // Calls `call` once, from the loop.
  void After(std::uint64_t ms, std::function<void()> call);
  // Forgets what is still to come, and whatever is asked for from now on. Has to be called before
  // the loop can end, and the loop has to turn once more before this object may go.
  void Close();

 private:
  void Arm();
  void CallDue();

  uv_loop_t* const loop_;
  uv_timer_t timer_{};
  bool closed_ = false;
  std::multimap<std::uint64_t, std::function<void()>> calls_;  // by the loop's time
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_LATER_H_
