// SPDX-License-Identifier: Apache-2.0
#include "server.h"

#include <utility>

namespace http_example {
namespace {

constexpr int kBacklog = 128;
constexpr std::size_t kConnectionsMax = 512;

}  // namespace

Server::Server(uv_loop_t* loop, std::uint64_t idle_ms, RequestHandler handler)
    : idle_ms_(idle_ms), handler_(std::move(handler)) {
  uv_tcp_init(loop, &listener_);
  listener_.data = this;
}

int Server::Listen(int socket) {
  const int error = uv_tcp_open(&listener_, socket);
  if (error != 0) return error;
  return uv_listen(reinterpret_cast<uv_stream_t*>(&listener_), kBacklog,
                   [](uv_stream_t* listener, int status) {
                     auto* self = static_cast<Server*>(listener->data);
                     // libuv asks for no more clients until this one is accepted.
                     self->waiting_ = status == 0;
                     if (self->connections_.size() < kConnectionsMax) self->AcceptOne();
                   });
}

void Server::AcceptOne() {
  if (!waiting_ || stopping_) return;
  waiting_ = false;
  auto connection = std::make_shared<Connection>(idle_ms_, &handler_,
                                                 [this](Connection* closed) { OnClosed(closed); });
  connections_.emplace(connection.get(), connection);
  connection->Accept(reinterpret_cast<uv_stream_t*>(&listener_));
}

void Server::OnClosed(Connection* connection) {
  connections_.erase(connection);
  AcceptOne();
  MaybeDone();
}

void Server::Stop(std::function<void()> done) {
  if (stopping_) return;
  stopping_ = true;
  done_ = std::move(done);
  uv_close(reinterpret_cast<uv_handle_t*>(&listener_), [](uv_handle_t* listener) {
    auto* self = static_cast<Server*>(listener->data);
    self->listening_ = false;
    self->MaybeDone();
  });
  for (const auto& [key, connection] : connections_) connection->Finish();
}

void Server::MaybeDone() {
  if (stopping_ && !listening_ && connections_.empty() && done_ != nullptr) {
    std::exchange(done_, nullptr)();
  }
}

}  // namespace http_example
