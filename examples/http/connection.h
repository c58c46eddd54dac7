// SPDX-License-Identifier: Apache-2.0
//
// One client. Its requests are answered one after the other: the next one is looked at when the
// response before it has been written, so responses keep their order and one client never holds
// more than one response and kInputBytesMax of input. Every state but kAnswering, which whoever
// answers has to end, has a time limit.
#ifndef ALERTPIPE_EXAMPLES_HTTP_CONNECTION_H_
#define ALERTPIPE_EXAMPLES_HTTP_CONNECTION_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "codec.h"

namespace http_example {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using ClosedHook = std::function<void(Connection*)>;

  // `on_closed` is called once, from the loop, when libuv has let go of it. The owner keeps it
  // until then.
  Connection(std::uint64_t idle_ms, const RequestHandler* handler, ClosedHook on_closed);

  // Takes the connection that waits at `listener`. Whatever fails ends in `on_closed`.
  void Accept(uv_stream_t* listener);

  // Answers what it is answering, or the first request if that is still to come, and ends.
  void Finish();

 private:
  enum class State { kReading, kAnswering, kWriting, kLingering, kClosing };

  void Process();
  void Respond(const Response& response);
  void Linger();
  void Close();

  void Read(bool on);
  void Limit(std::uint64_t ms);
  void OnRead(const char* bytes, ssize_t size);
  void OnWritten(int status);
  void OnTimer();
  void OnHandleClosed();

  template <typename Handle>
  static Connection* Of(const Handle* handle) {
    return static_cast<Connection*>(handle->data);
  }
  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp_); }

  const std::uint64_t idle_ms_;
  const RequestHandler* const handler_;
  ClosedHook on_closed_;
  RequestReader reader_;
  State state_ = State::kReading;
  std::string input_;   // read and not yet understood
  std::string output_;  // the response that is being written
  bool input_ended_ = false;
  bool last_ = false;  // the response is the last one
  bool is_head_ = false;
  int open_handles_ = 0;
  std::uint64_t request_number_ = 0;
  uv_tcp_t tcp_{};
  uv_timer_t timer_{};
  uv_write_t write_{};
  uv_shutdown_t shutdown_{};
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_CONNECTION_H_
