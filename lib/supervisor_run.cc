// SPDX-License-Identifier: Apache-2.0
//
// The supervisor for main(): with a loop of its own, and words on stderr.
#include <alertpipe/supervisor.h>

#include <uv.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

namespace alertpipe {
namespace {

void Print(const SupervisorEvent& event) { std::fprintf(stderr, "%s\n", ToString(event).c_str()); }

int NotStarted(const absl::Status& status) {
  std::fprintf(stderr, "not started: %s\n", std::string(status.message()).c_str());
  return static_cast<int>(SupervisorResult::kNotStarted);
}

}  // namespace

int RunSupervised(SupervisorOptions options,
                  const std::function<absl::Status(Supervisor*)>& setup) {
  if (!options.on_event) options.on_event = Print;
  options.attach.keep_loop_alive = true;
  auto loop = std::make_unique<uv_loop_t>();
  if (const int error = uv_loop_init(loop.get()); error != 0)
    return NotStarted(absl::InternalError(uv_strerror(error)));
  int code = 0;
  {
    absl::StatusOr<std::unique_ptr<Supervisor>> supervisor =
        Supervisor::Create(loop.get(), std::move(options));
    absl::Status status = supervisor.status();
    if (status.ok() && setup) status = setup(supervisor->get());
    if (status.ok()) status = (*supervisor)->Start();
    if (status.ok()) {
      // Turn by turn: the program may have opened more on this loop than the supervisor.
      while (!(*supervisor)->stopped()) uv_run(loop.get(), UV_RUN_ONCE);
      code = static_cast<int>((*supervisor)->result());
    } else {
      code = NotStarted(status);
    }
  }
  uv_run(loop.get(), UV_RUN_NOWAIT);
  // What the program has left open lives on, unused, until the process ends.
  static uv_loop_t* left_open = nullptr;
  if (uv_loop_close(loop.get()) != 0) left_open = loop.release();
  (void)left_open;
  return code;
}

}  // namespace alertpipe
