// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/alertpipe.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <string>
#include <utility>

int Serve(alertpipe::Slot slot) {  // runs in each forked worker; what it returns is the exit code
  uv_loop_t loop;
  uv_loop_init(&loop);
  const bool is_last = slot.number() == 4;
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop).value();
  std::size_t expected = 0, replies = 0;
  worker->Receive("hello", [](alertpipe::Alert& alert) {
    alert.Reply("reply", std::string("hello to you too, you said ").append(alert.data()));
  });
  worker->Receive("reply", [&](alertpipe::Alert& alert) {
    std::printf("%d replied: %s\n", alert.sender().pid, std::string(alert.data()).c_str());
    if (++replies == expected) worker->Broadcast("bye");
  });
  worker->Receive("bye", [&](alertpipe::Alert&) { worker->Close(absl::Seconds(1)); });
  if (is_last) expected = worker->Broadcast("hello", "from the last of us").accepted;
  uv_run(&loop, UV_RUN_DEFAULT);  // returns when Close is done
  return replies == expected ? uv_loop_close(&loop) : 1;
}

int main() {
  alertpipe::MasterOptions options;
  options.workers_max = 4;
  auto master = alertpipe::Master::Create(options).value();  // pipes and roster exist from here on
  int failed = 0;
  master->OnExit([&](const alertpipe::WorkerExit& e) { failed += e.exit_code || e.signal; });
  for (int i = 0; i < 4; ++i) master->Spawn(Serve).value();
  for (int live = 4; live > 0; live -= master->Service().value()) usleep(10000);
  return failed;
}
