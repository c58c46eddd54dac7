// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <uv.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "routes.h"
#include "server.h"

namespace http_example {
namespace {

// What a worker consists of. Lives for as long as its loop runs.
class Life {
 public:
  Life(uv_loop_t* loop, alertpipe::Worker* worker, const Options& options)
      : worker_(worker),
        routes_(worker, absl::Milliseconds(options.reply_ms)),
        server_(loop, options.idle_ms, [this](const Request& request, const Respond& respond) {
          routes_.Answer(request, respond);
        }) {
    // What is being served is served to the end. It may still send and wait for replies.
    worker_->OnDraining(
        [this](const alertpipe::Peer&) { server_.Stop([this] { worker_->Drain(); }); });
    worker_->OnMasterGone([this] { server_.Stop([this] { worker_->Close(absl::Seconds(1)); }); });
  }

  int Listen(int socket) { return server_.Listen(socket); }

 private:
  alertpipe::Worker* const worker_;
  Routes routes_;
  Server server_;
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
