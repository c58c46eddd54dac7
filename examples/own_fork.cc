// SPDX-License-Identifier: Apache-2.0
//
// A program with a process manager of its own, which wants only the alerts of this library: it
// forks, it watches SIGCHLD, it reaps and it decides about successors. The four lines that it needs
// for that are marked with arrows.
//
// Three workers greet the master. Each greeted one is asked to end in another way: by an exit code,
// by a signal, by a request; the first two are replaced. The exit code is 0 if all came and went as
// expected.
#include <alertpipe/alertpipe.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

namespace {

constexpr int kWorkers = 3;

// ---- A worker ----

[[noreturn]] void RunWorker(alertpipe::Slot slot) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop);  // <--
  if (!worker.ok()) {
    std::fprintf(stderr, "worker %d: %s\n", getpid(), worker.status().ToString().c_str());
    _exit(1);
  }
  (*worker)->Receive("fail", [](alertpipe::Alert&) { _exit(7); });
  (*worker)->Receive("crash", [](alertpipe::Alert&) { raise(SIGKILL); });
  (*worker)->Receive("quit", [&](alertpipe::Alert&) { (*worker)->Close(absl::Seconds(1)); });
  (*worker)->OnMasterGone([&] { (*worker)->Close(absl::ZeroDuration()); });
  // Sent at once: the parent may not have confirmed yet.
  (*worker)->Send(alertpipe::To::Master(), "hello", std::to_string(getpid()));
  uv_run(&loop, UV_RUN_DEFAULT);
  _exit(uv_loop_close(&loop) == 0 ? 0 : 1);
}

// ---- The process manager ----

class Manager {
 public:
  Manager(alertpipe::Master* master, uv_loop_t* loop) : master_(master), loop_(loop) {
    uv_signal_init(loop_, &child_signal_);
    child_signal_.data = this;
    uv_signal_start(
        &child_signal_,
        [](uv_signal_t* signal, int) { static_cast<Manager*>(signal->data)->ReapChildren(); },
        SIGCHLD);
    uv_timer_init(loop_, &timeout_);
    timeout_.data = this;
    uv_timer_start(
        &timeout_, [](uv_timer_t* timer) { static_cast<Manager*>(timer->data)->Fail("too slow"); },
        20000, 0);
    master_->Receive("hello", [this](alertpipe::Alert& alert) { OnHello(alert); });
  }

  void Fork() {
    auto slot = master_->Reserve();  // <--
    if (!slot.ok()) return Fail(slot.status().ToString());
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      // The parent's handler would tell the parent of signals that this process gets.
      uv_signal_stop(&child_signal_);
      RunWorker(*std::move(slot));
    }
    if (pid < 0) return Fail("cannot fork");  // the slot is free again when `slot` is destroyed
    const auto worker = master_->Confirm(slot->number(), pid);  // <--
    if (!worker.ok()) return Fail(worker.status().ToString());
    children_[pid] = worker->slot;
    std::printf("forked %d for slot %d, generation %u\n", pid, worker->slot, worker->generation);
  }

  bool Run() {
    for (int i = 0; i < kWorkers; ++i) Fork();
    while (!failed_ && !children_.empty()) uv_run(loop_, UV_RUN_ONCE);
    master_->Close(absl::ZeroDuration());
    uv_close(reinterpret_cast<uv_handle_t*>(&child_signal_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&timeout_), nullptr);
    uv_run(loop_, UV_RUN_DEFAULT);
    return !failed_ && hellos_ == kWorkers + 2 && coded_ == 1 && killed_ == 1 &&
           orderly_ == kWorkers;
  }

 private:
  void Fail(const std::string& why) {
    std::fprintf(stderr, "own_fork: %s\n", why.c_str());
    failed_ = true;
  }

  void OnHello(alertpipe::Alert& alert) {
    std::printf("%s says hello from slot %d\n", std::string(alert.data()).c_str(),
                alert.sender().slot);
    ++hellos_;
    alert.Reply(hellos_ == 1 ? "fail" : hellos_ == 2 ? "crash" : "quit");
  }

  void ReapChildren() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      const auto exit = master_->ReportExit(pid, status);  // <--
      if (!exit.ok()) continue;                            // some other child of the program
      children_.erase(pid);
      std::printf("%d has ended: code %d, signal %d\n", pid, exit->exit_code, exit->signal);
      coded_ += exit->exit_code == 7 ? 1 : 0;
      killed_ += exit->signal == SIGKILL ? 1 : 0;
      const bool in_order = exit->exit_code == 0 && exit->signal == 0;
      orderly_ += in_order ? 1 : 0;
      if (!in_order && !failed_) Fork();
    }
  }

  alertpipe::Master* master_;
  uv_loop_t* loop_;
  uv_signal_t child_signal_;
  uv_timer_t timeout_;
  std::map<pid_t, int> children_;  // pid -> slot
  int hellos_ = 0, coded_ = 0, killed_ = 0, orderly_ = 0;
  bool failed_ = false;
};

}  // namespace

int main() {
  uv_loop_t loop;  // before the master, which it has to outlive
  uv_loop_init(&loop);
  alertpipe::MasterOptions options;
  options.workers_max = kWorkers;
  auto master = alertpipe::Master::Create(options);
  const absl::Status attached = master.ok() ? (*master)->Attach(&loop) : master.status();
  if (!attached.ok()) {
    std::fprintf(stderr, "own_fork: %s\n", attached.ToString().c_str());
    return 1;
  }
  Manager manager(master->get(), &loop);
  const bool ok = manager.Run() && uv_loop_close(&loop) == 0;
  std::printf("%s\n", ok ? "as expected" : "NOT as expected");
  return ok ? 0 : 1;
}
