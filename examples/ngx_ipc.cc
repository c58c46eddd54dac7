// SPDX-License-Identifier: Apache-2.0
//
// The scenario that ngx.ipc's README shows, without the web server: every worker answers "hello" to
// whoever said it; one worker sends "hello" to a pid, another broadcasts it. What nginx would get
// as an HTTP request, a worker here gets from the master as an alert "send" or "broadcast", and
// what nginx would write to its error log, a worker here sends to the master as an alert "log". The
// master knows which lines have to come and from which pid. The exit code is 0 if exactly these
// came.
#include <alertpipe/alertpipe.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr int kWorkers = 4;

// ---- A worker ----

void Log(alertpipe::Worker* worker, const std::string& line) {
  worker->Send(alertpipe::To::Master(), "log", line);
}

// "PID TEXT": what /send/PID/TEXT is in ngx.ipc's example.
void SendRequest(alertpipe::Worker* worker, const std::string& request) {
  const std::size_t space = request.find(' ');
  const pid_t pid = std::atoi(request.c_str());
  const alertpipe::SendResult sent = worker->Send(pid, "hello", request.substr(space + 1));
  if (!sent.ok()) Log(worker, "not sent: " + sent.status().ToString());
}

void Listen(alertpipe::Worker* worker) {
  worker->Receive("hello", [worker](alertpipe::Alert& alert) {
    const std::string data(alert.data());
    Log(worker, "sender " + std::to_string(alert.sender().pid) + " says " + data);
    alert.Reply("reply", "hello to you too, you said " + data);
  });
  worker->Receive("reply", [worker](alertpipe::Alert& alert) {
    const std::string data(alert.data());
    Log(worker, std::to_string(alert.sender().pid) + " replied " + data);
  });
  worker->Receive("send", [worker](alertpipe::Alert& alert) {
    SendRequest(worker, std::string(alert.data()));
  });
  worker->Receive("broadcast",
                  [worker](alertpipe::Alert& alert) { worker->Broadcast("hello", alert.data()); });
  worker->OnMasterGone([worker] { worker->Close(absl::ZeroDuration()); });
}

int Serve(alertpipe::Slot slot) {
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return 1;
  auto worker = alertpipe::Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) {
    std::fprintf(stderr, "worker: %s\n", worker.status().ToString().c_str());
    return 1;
  }
  Listen(worker->get());
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}

// ---- The master ----

// A line of the log, as far as it is known beforehand: who writes it, and how it begins.
using Line = std::pair<pid_t, std::string>;

class Check {
 public:
  explicit Check(alertpipe::Master* master, uv_loop_t* loop) : master_(master), loop_(loop) {
    master_->Receive("log", [this](alertpipe::Alert& alert) { OnLog(alert); });
    master_->OnExit([this](const alertpipe::WorkerExit& exit) {
      --live_;
      if (exit.exit_code != 0 || exit.signal != 0) Fail("a worker ended with an error");
    });
    uv_timer_init(loop_, &timer_);
    timer_.data = this;
    uv_timer_start(&timer_, OnTimeout, 10000, 0);
  }

  bool Start() {
    for (int i = 0; i < kWorkers; ++i) {
      const absl::StatusOr<alertpipe::Peer> worker = master_->Spawn(Serve);
      if (!worker.ok()) return Fail(worker.status().ToString());
      pids_.push_back(worker->pid);
      ++live_;
    }
    return true;
  }

  bool SendToPid(pid_t from, pid_t to) {
    std::printf("-- worker %d sends to pid %d\n", from, to);
    expected_ = {{to, "sender " + std::to_string(from) + " says good morning"},
                 {from, std::to_string(to) + " replied hello to you too, you said good morning"}};
    return Request(from, "send", std::to_string(to) + " good morning");
  }

  bool SendToStranger(pid_t from) {
    const pid_t stranger = std::numeric_limits<pid_t>::max();
    std::printf("-- worker %d sends to pid %d, which is not of this family\n", from, stranger);
    expected_ = {{from, "not sent: NOT_FOUND"}};
    return Request(from, "send", std::to_string(stranger) + " good morning");
  }

  bool Broadcast(pid_t from) {
    std::printf("-- worker %d broadcasts, to itself as well\n", from);
    expected_.clear();
    for (const pid_t pid : pids_) {
      expected_.emplace(pid, "sender " + std::to_string(from) + " says to all");
      expected_.emplace(from, std::to_string(pid) + " replied hello to you too, you said to all");
    }
    return Request(from, "broadcast", "to all");
  }

  bool Stop() {
    std::printf("-- the master asks all workers to end\n");
    for (const alertpipe::Peer& worker : master_->Workers())
      master_->Retire(worker.slot).IgnoreError();
    if (!RunUntil([this] { return live_ == 0; })) return false;
    master_->Close(absl::ZeroDuration());
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    uv_run(loop_, UV_RUN_DEFAULT);
    return uv_loop_close(loop_) == 0 || Fail("something is left on the loop");
  }

  pid_t pid(int worker) const { return pids_[static_cast<std::size_t>(worker)]; }

 private:
  bool Fail(const std::string& why) {
    if (!failed_) std::fprintf(stderr, "ngx_ipc: %s\n", why.c_str());
    failed_ = true;
    return false;
  }

  // Until everything that is expected has been logged.
  bool Request(pid_t worker, std::string_view what, const std::string& data) {
    const alertpipe::SendResult sent = master_->Send(worker, what, data);
    if (!sent.ok()) return Fail(sent.status().ToString());
    return RunUntil([this] { return expected_.empty(); });
  }

  bool RunUntil(const std::function<bool()>& done) {
    while (!failed_ && !done()) uv_run(loop_, UV_RUN_ONCE);
    return !failed_;
  }

  void OnLog(const alertpipe::Alert& alert) {
    const std::string text(alert.data());
    std::printf("[%d] %s\n", alert.sender().pid, text.c_str());
    for (auto line = expected_.begin(); line != expected_.end(); ++line) {
      if (line->first == alert.sender().pid && text.rfind(line->second, 0) == 0) {
        expected_.erase(line);
        return;
      }
    }
    Fail("this line was not expected: " + text);
  }

  static void OnTimeout(uv_timer_t* timer) {
    auto* check = static_cast<Check*>(timer->data);
    std::string missing = "nothing";
    if (!check->expected_.empty()) missing = check->expected_.begin()->second;
    check->Fail("time is up; still missing: " + missing);
  }

  alertpipe::Master* master_;
  uv_loop_t* loop_;
  uv_timer_t timer_;
  std::vector<pid_t> pids_;
  std::multiset<Line> expected_;
  int live_ = 0;
  bool failed_ = false;
};

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  alertpipe::MasterOptions options;
  options.workers_max = kWorkers;
  uv_loop_t loop;  // before the master, which it has to outlive
  uv_loop_init(&loop);
  auto master = alertpipe::Master::Create(options);
  const absl::Status attached = master.ok() ? (*master)->Attach(&loop) : master.status();
  if (!attached.ok()) {
    std::fprintf(stderr, "ngx_ipc: %s\n", attached.ToString().c_str());
    return 1;
  }
  Check check(master->get(), &loop);
  const bool ok = check.Start() && check.SendToPid(check.pid(0), check.pid(2)) &&
                  check.Broadcast(check.pid(1)) &&
                  check.SendToPid(check.pid(3), check.pid(3)) &&  // to itself
                  check.SendToStranger(check.pid(0)) && check.Stop();
  std::printf("%s\n", ok ? "as expected" : "NOT as expected");
  return ok ? 0 : 1;
}
