// SPDX-License-Identifier: Apache-2.0
#include "supervisor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "cache.h"
#include "origin.h"
#include "serve.h"

namespace http_example {
namespace {

using Event = alertpipe::SupervisorEvent;

// What workers get to end, on top of the time for replies.
constexpr std::uint64_t kGraceMs = 5000;

absl::StatusOr<int> Listen(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  const int on = 1;
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listening < 0 || setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(listening, generic, size) != 0 || listen(listening, SOMAXCONN) != 0 ||
      getsockname(listening, generic, &size) != 0) {
    return absl::ErrnoToStatus(errno, "cannot listen on 127.0.0.1, port " + std::to_string(port));
  }
  std::printf("master %d: http://127.0.0.1:%d/pids\n", getpid(), ntohs(address.sin_port));
  return listening;
}

}  // namespace

int Supervise(const Options& options) {
  // Before the first fork: all workers, also those of later, accept on the same socket.
  const absl::StatusOr<int> listening = Listen(options.port);
  if (!listening.ok()) {
    std::fprintf(stderr, "http: %s\n", listening.status().ToString().c_str());
    return static_cast<int>(alertpipe::SupervisorResult::kNotStarted);
  }
  std::unique_ptr<Origin> origin;
  if (!options.origin.empty()) {
    absl::StatusOr<std::unique_ptr<Origin>> opened = Origin::Open(options.origin);
    if (!opened.ok()) {
      std::fprintf(stderr, "http: %s\n", opened.status().ToString().c_str());
      return static_cast<int>(alertpipe::SupervisorResult::kNotStarted);
    }
    origin = *std::move(opened);
  }
  alertpipe::SupervisorOptions supervised;
  supervised.workers = options.workers;
  supervised.master = options.family;
  if (origin != nullptr) supervised.master.events = Cache::Settings(options);
  supervised.worker_main = [&](alertpipe::Slot slot) {
    return Serve(std::move(slot), *listening, origin.get(), options);
  };
  supervised.stop_deadline = absl::Milliseconds(options.reply_ms + kGraceMs);
  supervised.on_event = [&, started = 0](const Event& event) mutable {
    std::printf("master %d: %s\n", getpid(), ToString(event).c_str());
    if (event.kind == Event::Kind::kStarted && ++started == options.workers)
      std::printf("master %d: %d workers\n", getpid(), started);
  };
  const int code = alertpipe::RunSupervised(std::move(supervised));
  close(*listening);
  return code;
}

}  // namespace http_example
