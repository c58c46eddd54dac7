// SPDX-License-Identifier: Apache-2.0
//
// A worker's web server: accepts on the listening socket that all workers share, and keeps the
// connections. Knows nothing of alerts.
#ifndef ALERTPIPE_EXAMPLES_HTTP_SERVER_H_
#define ALERTPIPE_EXAMPLES_HTTP_SERVER_H_

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "codec.h"
#include "connection.h"

namespace http_example {

class Server {
 public:
  Server(uv_loop_t* loop, std::uint64_t idle_ms, RequestHandler handler);

  // Starts to accept on `socket`, which it takes over. 0, or an error of libuv.
  int Listen(int socket);

  // Accepts no more; requests that have arrived are answered. `done` is called once, from the loop,
  // when nothing of it is left there. Calls after the first do nothing.
  void Stop(std::function<void()> done);

 private:
  void AcceptOne();
  void OnClosed(Connection* connection);
  void MaybeDone();

  const std::uint64_t idle_ms_;
  const RequestHandler handler_;
  uv_tcp_t listener_{};
  bool waiting_ = false;  // a client that has to wait for one of the others to leave
  bool listening_ = true;
  bool stopping_ = false;
  std::function<void()> done_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_SERVER_H_
