// SPDX-License-Identifier: Apache-2.0
#include "supervisor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "serve.h"

namespace http_example {
namespace {

// One that dies sooner is not replaced before this time: no tight circle of forks.
constexpr std::uint64_t kShortLifeMs = 1000;
// What workers get to end, on top of the time for replies.
constexpr std::uint64_t kGraceMs = 5000;

}  // namespace

int Supervisor::Run() {
  uv_loop_init(&loop_);
  if (const absl::Status started = Start(); !started.ok()) {
    std::fprintf(stderr, "http: %s\n", started.ToString().c_str());
    failed_ = true;
    if (master_ != nullptr) Stop();
  }
  uv_run(&loop_, UV_RUN_DEFAULT);
  if (listening_socket_ >= 0) close(listening_socket_);
  if (uv_loop_close(&loop_) != 0) failed_ = true;
  return failed_ ? 1 : 0;
}

absl::Status Supervisor::Start() {
  if (absl::Status status = Listen(); !status.ok()) return status;
  auto master = alertpipe::Master::Create(options_.family);
  if (!master.ok()) return master.status();
  master_ = std::move(*master);
  uv_timer_init(&loop_, &timer_);
  timer_.data = this;
  constexpr std::array<int, 2> kEndSignals = {SIGINT, SIGTERM};
  for (std::size_t i = 0; i < kEndSignals.size(); ++i) {
    uv_signal_init(&loop_, &signals_[i]);
    signals_[i].data = this;
    uv_signal_start(
        &signals_[i],
        [](uv_signal_t* signal, int) { static_cast<Supervisor*>(signal->data)->Stop(); },
        kEndSignals[i]);
  }
  if (absl::Status status = master_->Attach(&loop_); !status.ok()) return status;
  master_->OnExit([this](const alertpipe::WorkerExit& exit) { OnExit(exit); });
  return StartWorkers();
}

absl::Status Supervisor::Listen() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(options_.port));
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  const int on = 1;
  listening_socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listening_socket_ < 0 ||
      setsockopt(listening_socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(listening_socket_, generic, size) != 0 || listen(listening_socket_, SOMAXCONN) != 0 ||
      getsockname(listening_socket_, generic, &size) != 0) {
    return absl::ErrnoToStatus(errno,
                               "cannot listen on 127.0.0.1, port " + std::to_string(options_.port));
  }
  std::printf("master %d: http://127.0.0.1:%d/pids\n", getpid(), ntohs(address.sin_port));
  return absl::OkStatus();
}

absl::Status Supervisor::StartWorkers() {
  for (int i = 0; i < options_.family.workers_max; ++i) {
    const absl::StatusOr<alertpipe::Peer> worker = master_->Spawn([this](alertpipe::Slot slot) {
      return Serve(std::move(slot), listening_socket_, options_);
    });
    if (!worker.ok()) return worker.status();
    workers_[worker->slot] = {worker->pid, uv_now(&loop_)};
  }
  std::printf("master %d: %zu workers\n", getpid(), workers_.size());
  return absl::OkStatus();
}

void Supervisor::OnExit(const alertpipe::WorkerExit& exit) {
  std::printf("master %d: worker %d ended: exit code %d, signal %d\n", getpid(), exit.worker.pid,
              exit.exit_code, exit.signal);
  const int slot = exit.worker.slot;
  const std::uint64_t lived_ms = uv_now(&loop_) - workers_[slot].started_ms;
  workers_.erase(slot);
  if (stopping_) {
    // A worker that has not yet come to its signal handlers ends by the signal itself.
    const bool by_request = exit.signal == SIGINT || exit.signal == SIGTERM;
    if (exit.exit_code != 0 || (exit.signal != 0 && !by_request)) failed_ = true;
    MaybeEnd();
  } else if (lived_ms < kShortLifeMs) {
    dead_.insert(slot);
    RespawnDead();
  } else {
    Respawn(slot);
  }
}

void Supervisor::Respawn(int slot) {
  const absl::StatusOr<alertpipe::Peer> worker = master_->Respawn(slot);
  if (worker.ok()) {
    workers_[slot] = {worker->pid, uv_now(&loop_)};
    std::printf("master %d: worker %d takes its place\n", getpid(), worker->pid);
    return;
  }
  std::fprintf(stderr, "http: no new worker yet: %s\n", worker.status().ToString().c_str());
  dead_.insert(slot);
  RespawnDead();
}

void Supervisor::RespawnDead() {
  uv_timer_start(
      &timer_,
      [](uv_timer_t* timer) {
        auto* self = static_cast<Supervisor*>(timer->data);
        for (const int slot : std::exchange(self->dead_, {})) self->Respawn(slot);
      },
      kShortLifeMs, 0);
}

void Supervisor::Stop() {
  if (stopping_) return;
  stopping_ = true;
  std::printf("master %d: ends\n", getpid());
  const alertpipe::BroadcastResult asked = master_->Broadcast(kQuit);
  // The signal says the same to a worker whose queue is full.
  for (const alertpipe::Refusal& refusal : asked.refused) {
    if (refusal.peer.pid > 0) kill(refusal.peer.pid, SIGTERM);
  }
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<Supervisor*>(timer->data)->KillAll(); },
      options_.reply_ms + kGraceMs, 0);
  MaybeEnd();
}

void Supervisor::KillAll() {
  for (const auto& [slot, life] : workers_) {
    std::fprintf(stderr, "http: worker %d does not end: killed\n", life.pid);
    kill(life.pid, SIGKILL);
  }
}

void Supervisor::MaybeEnd() {
  if (!workers_.empty()) return;
  for (uv_signal_t& signal : signals_) uv_close(reinterpret_cast<uv_handle_t*>(&signal), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  master_->Close(absl::ZeroDuration());
}

}  // namespace http_example
