// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <signal.h>
#include <uv.h>

#include <array>
#include <cstdio>
#include <memory>
#include <utility>

#include "routes.h"
#include "server.h"

namespace http_example {
namespace {

constexpr std::array<int, 2> kEndSignals = {SIGINT, SIGTERM};

// What a worker consists of. Lives for as long as its loop runs.
class Life {
 public:
  Life(uv_loop_t* loop, alertpipe::Worker* worker, const Options& options)
      : worker_(worker),
        routes_(worker, absl::Milliseconds(options.reply_ms)),
        server_(loop, options.idle_ms, [this](const Request& request, const Respond& respond) {
          routes_.Answer(request, respond);
        }) {
    worker_->Receive(kQuit, [this](alertpipe::Alert&) { Stop(); });
    worker_->OnMasterGone([this] { Stop(); });
    // Ctrl-C reaches all processes of the terminal at once: no reason to drop what is being served.
    for (std::size_t i = 0; i < kEndSignals.size(); ++i) {
      uv_signal_init(loop, &signals_[i]);
      signals_[i].data = this;
      uv_signal_start(
          &signals_[i], [](uv_signal_t* signal, int) { static_cast<Life*>(signal->data)->Stop(); },
          kEndSignals[i]);
    }
  }

  int Listen(int socket) { return server_.Listen(socket); }

 private:
  void Stop() {
    server_.Stop([this] {
      for (uv_signal_t& signal : signals_) {
        uv_close(reinterpret_cast<uv_handle_t*>(&signal), nullptr);
      }
      worker_->Close(absl::Seconds(1));
    });
  }

  alertpipe::Worker* const worker_;
  Routes routes_;
  Server server_;
  std::array<uv_signal_t, kEndSignals.size()> signals_{};
};

}  // namespace

int Serve(alertpipe::Slot slot, int listening_socket, const Options& options) {
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return 1;
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) {
    std::fprintf(stderr, "worker: %s\n", worker.status().ToString().c_str());
    return 1;
  }
  Life life(&loop, worker->get(), options);
  if (const int error = life.Listen(listening_socket); error != 0) {
    std::fprintf(stderr, "worker: cannot listen: %s\n", uv_strerror(error));
    return 1;
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}

}  // namespace http_example
