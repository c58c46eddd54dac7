// SPDX-License-Identifier: Apache-2.0
//
// The master: one listening socket, workers that share it, a new worker for each that dies, and an
// orderly end.
#ifndef ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_
#define ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_

#include <alertpipe/alertpipe.h>
#include <uv.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>

#include "options.h"

namespace http_example {

class Supervisor {
 public:
  explicit Supervisor(const Options& options) : options_(options) {}

  // Until a signal ends it. The exit code of the program: 0 if all workers ended when asked to.
  int Run();

 private:
  struct Life {
    pid_t pid = 0;
    std::uint64_t started_ms = 0;
  };

  absl::Status Start();
  absl::Status Listen();
  absl::Status StartWorkers();
  void OnExit(const alertpipe::WorkerExit& exit);
  void Respawn(int slot);
  void RespawnDead();
  void Stop();
  void KillAll();
  void MaybeEnd();

  const Options options_;
  uv_loop_t loop_{};  // before the master, which it has to outlive
  std::unique_ptr<alertpipe::Master> master_;
  int listening_socket_ = -1;
  std::map<int, Life> workers_;  // by slot; those that live
  std::set<int> dead_;           // slots that wait for a new worker
  bool stopping_ = false;
  bool failed_ = false;
  std::array<uv_signal_t, 2> signals_{};
  uv_timer_t timer_{};  // until the next respawn; once stopping, until the workers are killed
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_
