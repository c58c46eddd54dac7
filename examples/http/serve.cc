// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <uv.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <utility>

#include "cache.h"
#include "routes.h"
#include "server.h"

namespace http_example {
namespace {

// What a worker consists of. Lives for as long as its loop runs.
class Life {
 public:
  Life(uv_loop_t* loop, alertpipe::Worker* worker, std::unique_ptr<Cache> cache,
       const Options& options)
      : worker_(worker),
        cache_(std::move(cache)),
        routes_(worker, cache_.get(), absl::Milliseconds(options.reply_ms)),
        server_(loop, options.idle_ms, [this](const Request& request, const Respond& respond) {
          routes_.Answer(request, respond);
        }) {
    // What is being served is served to the end. It may still send and wait for replies.
    worker_->OnDraining([this](const alertpipe::Peer&) {
      if (cache_ != nullptr) cache_->Leave();
      Stop([this] { worker_->Drain(); });
    });
    worker_->OnMasterGone([this] { Stop([this] { worker_->Close(absl::Seconds(1)); }); });
  }

  int Listen(int socket) { return server_.Listen(socket); }

 private:
  void Stop(std::function<void()> done) {
    server_.Stop([this, done = std::move(done)] {
      if (cache_ != nullptr) cache_->Close();
      done();
    });
  }

  alertpipe::Worker* const worker_;
  const std::unique_ptr<Cache> cache_;
  Routes routes_;
  Server server_;
};

// At once after the worker has attached: nothing has arrived yet.
absl::StatusOr<std::unique_ptr<Cache>> MakeCache(uv_loop_t* loop, alertpipe::Worker* worker,
                                                 Origin* origin, const Options& options) {
  if (origin == nullptr) return nullptr;
  auto events = alertpipe::Events::Attach(worker, Cache::Rules());
  if (!events.ok()) return events.status();
  return std::make_unique<Cache>(loop, worker, *std::move(events), origin, options);
}

}  // namespace

int Serve(alertpipe::Slot slot, int listening_socket, Origin* origin, const Options& options) {
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return 1;
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) {
    std::fprintf(stderr, "worker: %s\n", worker.status().ToString().c_str());
    return 1;
  }
  auto cache = MakeCache(&loop, worker->get(), origin, options);
  if (!cache.ok()) {
    std::fprintf(stderr, "worker: %s\n", cache.status().ToString().c_str());
    return 1;
  }
  Life life(&loop, worker->get(), *std::move(cache), options);
  if (const int error = life.Listen(listening_socket); error != 0) {
    std::fprintf(stderr, "worker: cannot listen: %s\n", uv_strerror(error));
    return 1;
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}

}  // namespace http_example
