// SPDX-License-Identifier: Apache-2.0
#include "connection.h"

#include <algorithm>
#include <array>
#include <utility>

namespace http_example {
namespace {

// More than a header may have, so that a header always fits.
constexpr std::size_t kInputBytesMax = 65536;
// How long a client may take to take notice of a last response.
constexpr std::uint64_t kLingerMs = 2000;
// How long a client may take for its first request to a worker that is about to end.
constexpr std::uint64_t kFirstRequestMs = 1000;

}  // namespace

Connection::Connection(std::uint64_t idle_ms, const RequestHandler* handler, ClosedHook on_closed)
    : idle_ms_(idle_ms), handler_(handler), on_closed_(std::move(on_closed)) {}

void Connection::Accept(uv_stream_t* listener) {
  uv_timer_init(listener->loop, &timer_);
  uv_tcp_init(listener->loop, &tcp_);
  timer_.data = tcp_.data = write_.data = shutdown_.data = this;
  open_handles_ = 2;
  if (uv_accept(listener, stream()) != 0) {
    Close();
    return;
  }
  uv_tcp_nodelay(&tcp_, 1);
  Limit(idle_ms_);
  Read(true);
}

void Connection::Finish() {
  last_ = true;
  if (state_ == State::kReading) {
    // A client that has just been accepted has a request under way, and nobody else to answer it.
    // Later ones know that a connection can end between two requests, and try again.
    if (request_number_ > 0) return Close();
    Limit(std::min(idle_ms_, kFirstRequestMs));
  }
  if (state_ == State::kWriting) Limit(kLingerMs);
}

void Connection::Process() {
  if (state_ != State::kReading) return;
  const RequestReader::Outcome outcome = reader_.Read(&input_);
  if (outcome == RequestReader::Outcome::kNeedsMore) {
    if (input_ended_) Close();
    return;
  }
  state_ = State::kAnswering;
  ++request_number_;
  if (outcome == RequestReader::Outcome::kRefused) {
    last_ = true;
    is_head_ = false;
    Respond(reader_.refusal());
    return;
  }
  uv_timer_stop(&timer_);
  is_head_ = reader_.request().method == "HEAD";
  if (!reader_.request().keep_alive) last_ = true;
  (*handler_)(reader_.request(),
              [self = weak_from_this(), number = request_number_](const Response& response) {
                const std::shared_ptr<Connection> connection = self.lock();
                if (connection != nullptr && connection->request_number_ == number) {
                  connection->Respond(response);
                }
              });
}

void Connection::Respond(const Response& response) {
  if (state_ != State::kAnswering) return;
  state_ = State::kWriting;
  output_ = Serialize(response, is_head_, !last_);
  Limit(idle_ms_);
  const uv_buf_t bytes = uv_buf_init(output_.data(), static_cast<unsigned>(output_.size()));
  const int error = uv_write(&write_, stream(), &bytes, 1,
                             [](uv_write_t* write, int status) { Of(write)->OnWritten(status); });
  if (error != 0) Close();
}

void Connection::OnWritten(int status) {
  if (state_ == State::kClosing) return;
  if (status != 0) {
    Close();
  } else if (last_) {
    Linger();
  } else {
    state_ = State::kReading;
    Limit(idle_ms_);
    Process();
    if (state_ != State::kClosing && input_.size() < kInputBytesMax) Read(true);
  }
}

// Closing with unread input would reset the connection, and the client might lose the response: so
// it is only told that nothing more comes, and what it still sends is dropped.
void Connection::Linger() {
  if (input_ended_) {
    Close();
    return;
  }
  state_ = State::kLingering;
  Limit(kLingerMs);
  if (uv_shutdown(&shutdown_, stream(), [](uv_shutdown_t*, int) {}) != 0) {
    Close();
    return;
  }
  Read(true);
}

void Connection::Read(bool on) {
  if (!on) {
    uv_read_stop(stream());
    return;
  }
  if (input_ended_) return;
  const int error = uv_read_start(
      stream(),
      [](uv_handle_t*, std::size_t, uv_buf_t* buffer) {
        static std::array<char, 16384> bytes;  // used up before the next read
        *buffer = uv_buf_init(bytes.data(), bytes.size());
      },
      [](uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
        Of(stream)->OnRead(buffer->base, size);
      });
  if (error != 0 && error != UV_EALREADY) Close();
}

void Connection::OnRead(const char* bytes, ssize_t size) {
  if (size == 0) return;
  if (size < 0 && (size != UV_EOF || state_ == State::kLingering)) {
    Close();
    return;
  }
  if (state_ == State::kLingering) return;
  // A client that sends no more may still wait for its responses.
  if (size < 0) {
    input_ended_ = true;
    Read(false);
  } else {
    input_.append(bytes, static_cast<std::size_t>(size));
    if (input_.size() >= kInputBytesMax) Read(false);
  }
  Process();
}

// Not started again by single bytes: a request has to arrive within the limit as a whole.
void Connection::Limit(std::uint64_t ms) {
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { Of(timer)->OnTimer(); }, ms, 0);
}

void Connection::OnTimer() {
  if (state_ != State::kReading || (input_.empty() && !reader_.begun())) {
    Close();
    return;
  }
  state_ = State::kAnswering;
  ++request_number_;
  last_ = true;
  Respond({408, "the request took too long\n"});
}

void Connection::Close() {
  if (state_ == State::kClosing) return;
  state_ = State::kClosing;
  const auto closed = [](uv_handle_t* handle) { Of(handle)->OnHandleClosed(); };
  uv_close(reinterpret_cast<uv_handle_t*>(&tcp_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), closed);
}

void Connection::OnHandleClosed() {
  if (--open_handles_ == 0) on_closed_(this);  // destroys it
}

}  // namespace http_example
