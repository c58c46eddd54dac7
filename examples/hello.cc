// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/alertpipe.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>

int Serve(alertpipe::Slot slot) {  // runs in each forked worker; what it returns is its exit code
  uv_loop_t loop;
  uv_loop_init(&loop);
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop).value();
  worker->Receive("hello", [](alertpipe::Alert& alert) {
    alert.Reply("reply", "hello to you too, you said " + std::string(alert.data()));
  });
  worker->Receive("reply", [&, replies = 0](alertpipe::Alert& alert) mutable {
    std::printf("%d replied: %s\n", alert.sender().pid, std::string(alert.data()).c_str());
    if (++replies == 4) worker->Broadcast("bye");
  });
  worker->Receive("bye", [&](alertpipe::Alert&) { worker->Close(absl::Seconds(1)); });
  if (worker->self().slot == 4) worker->Broadcast("hello", "from the last of us");
  return uv_run(&loop, UV_RUN_DEFAULT);  // returns when Close is done
}

int main() {
  auto master = alertpipe::Master::Create({/*workers_max=*/4}).value();  // pipes and roster exist
  for (int i = 0; i < 4; ++i) master->Spawn(Serve).value();
  for (int live = 4; live > 0; live -= master->Service().value()) usleep(10000);
}
