// SPDX-License-Identifier: Apache-2.0
//
// ./dev demo: four real workers show what alertpipe does, one thing after the other. The master
// directs: by alerts it tells the workers what to do, and it prints what they report, so that all
// lines come from one process, in one order. Whatever a line claims is checked; the exit code is 0
// only if everything was as the text says.
#include <alertpipe/alertpipe.h>
#include <signal.h>
#include <sys/wait.h>
#include <uv.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "demo_text.h"
#include "demo_worker.h"

namespace {

using alertpipe::Alert;
using alertpipe::Master;
using alertpipe::Peer;
using alertpipe::SendResult;
using alertpipe::To;
using demo::Decode;
using demo::Encode;
using demo::kJobs;
using demo::kListener;
using demo::kSpeaker;
using demo::kVictim;
using demo::kWorkers;
using demo::Name;
using demo::WithCommas;

constexpr std::uint64_t kTimeLimitMs = 9000;
constexpr std::size_t kTextColumns = 73;

class Director {
 public:
  Director(Master* master, uv_loop_t* loop) : master_(master), loop_(loop) {
    master_->Receive("line", [this](Alert& alert) { Line(alert.sender(), alert.data()); });
    master_->ReceiveDefault(
        [this](Alert& alert) { facts_[std::string(alert.name())] += Decode(alert.data()); });
    master_->OnExit([this](const alertpipe::WorkerExit& exit) { OnExit(exit); });
    uv_timer_init(loop_, &timer_);
    timer_.data = this;
    uv_timer_start(&timer_, OnTimeout, kTimeLimitMs, 0);
  }

  bool ShowAll() {
    return StartWorkers() && ShowSend() && ShowBroadcast() && ShowRefusals() && ShowDeath() &&
           ShowStream() && ShowPingAll() && ShowRestart();
  }

  bool Stop();

 private:
  bool StartWorkers() {
    Title("Four workers are started");
    for (int i = 0; i < kWorkers; ++i) {
      const absl::StatusOr<Peer> worker = master_->Spawn(demo::Serve);
      if (!worker.ok()) return Fail(worker.status().ToString());
      Joined(*worker);
    }
    return true;
  }

  bool ShowSend() {
    Title("Send to a pid; the receiver replies to whoever sent");
    return Tell(kSpeaker, "do: send", Encode({PidOf(kVictim)})) && WaitFor("replies", 1);
  }

  bool ShowBroadcast() {
    Title("Broadcast to all workers, and a reply from each");
    return Tell(kListener, "do: broadcast") && WaitFor("replies", kWorkers) &&
           WaitForReport("accepted") &&
           Check(facts_["accepted"] == kWorkers, "the broadcast was accepted for all");
  }

  bool ShowRefusals() {
    Title("What cannot be sent is refused at the call, with a reason, and leaves no trace");
    return Tell(kSpeaker, "do: break rules") && WaitFor("refused", 3);
  }

  bool ShowDeath();
  bool ShowStream();
  bool ShowPingAll();
  bool ShowRestart();
  void Ask();

  void Title(const std::string& title) {
    facts_.clear();
    std::printf("\n%d. %s\n", ++step_, title.c_str());
  }

  // Who, and what; long texts go on below.
  void Line(const Peer& who, std::string_view text) {
    const std::string name = who.is_master() ? "master" : Name(who);
    std::printf("   %-10s pid %-8d", name.c_str(), who.pid);
    while (text.size() > kTextColumns) {
      const std::size_t space = text.rfind(' ', kTextColumns);
      if (space == std::string_view::npos) break;
      std::printf("%.*s\n%27s", static_cast<int>(space), text.data(), "");
      text.remove_prefix(space + 1);
    }
    std::printf("%.*s\n", static_cast<int>(text.size()), text.data());
  }

  void Say(const std::string& text) { Line(master_->self(), text); }

  bool Fail(const std::string& why) {
    if (!failed_) std::fprintf(stderr, "demo: FAILED: %s\n", why.c_str());
    failed_ = true;
    return false;
  }

  bool Check(bool right, const std::string& what) { return right || Fail("not so: " + what); }

  bool Tell(int slot, std::string_view what, const std::string& data = {}) {
    const SendResult sent = master_->Send(To::Slot(slot), what, data);
    return sent.ok() || Fail(sent.status().ToString());
  }

  bool RunUntil(const std::string& what, const std::function<bool()>& done) {
    waiting_for_ = what;
    while (!failed_ && !done()) {
      uv_run(loop_, UV_RUN_ONCE);
      if (facts_.count("wrong") != 0) Fail("a worker saw something else than promised");
    }
    return !failed_;
  }

  bool WaitFor(const std::string& fact, std::uint64_t number) {
    return RunUntil(fact, [&] { return facts_[fact] >= number; });
  }

  bool WaitForReport(const std::string& fact) {
    return RunUntil(fact, [&] { return facts_.count(fact) != 0; });
  }

  std::uint64_t PidOf(int slot) const { return static_cast<std::uint64_t>(workers_.at(slot).pid); }

  void Joined(const Peer& worker) {
    workers_[worker.slot] = worker;
    Say("has started " + Name(worker) + ": slot " + std::to_string(worker.slot) + ", generation " +
        std::to_string(worker.generation) + ", pid " + std::to_string(worker.pid));
  }

  void OnExit(const alertpipe::WorkerExit& exit);

  static void OnTimeout(uv_timer_t* timer) {
    auto* self = static_cast<Director*>(timer->data);
    self->Fail("time is up, waiting for: " + self->waiting_for_);
  }

  Master* master_;
  uv_loop_t* loop_;
  uv_timer_t timer_;
  std::map<int, Peer> workers_;                 // by slot; those that live
  std::map<std::string, std::uint64_t> facts_;  // what workers have reported in this step
  std::string waiting_for_;
  std::uint64_t drained_ = 0;
  int step_ = 0;
  bool failed_ = false;
};

void Director::OnExit(const alertpipe::WorkerExit& exit) {
  workers_.erase(exit.worker.slot);
  if (exit.retired) {
    if (exit.exit_code != 0 || exit.signal != 0) Fail(Name(exit.worker) + " ended with an error");
    return;
  }
  if (exit.worker.slot != kVictim || exit.signal != SIGKILL) {
    Fail(Name(exit.worker) + " ended by itself");
    return;
  }
  drained_ = exit.alerts_drained;
  Say("sees that " + Name(exit.worker) + " was ended by signal " + std::to_string(exit.signal) +
      "; " + WithCommas(drained_) + " alerts that were in its pipe are lost with it");
  const absl::StatusOr<Peer> worker = master_->Respawn(kVictim);
  if (!worker.ok()) {
    Fail(worker.status().ToString());
    return;
  }
  Joined(*worker);
}

bool Director::ShowDeath() {
  Title("A worker is killed with kill -9 and replaced");
  const Peer victim = workers_.at(kVictim);
  Say("stops " + Name(victim) + ", so that it does not read");
  siginfo_t info;
  if (kill(victim.pid, SIGSTOP) != 0 ||
      waitid(P_PID, static_cast<id_t>(victim.pid), &info, WSTOPPED) != 0) {
    return Fail("the worker could not be stopped");
  }
  if (!Tell(kSpeaker, "do: pile up") || !WaitForReport("jobs")) return false;
  const std::uint64_t jobs = facts_["jobs"];
  Say("kills " + Name(victim));
  if (kill(victim.pid, SIGKILL) != 0) return Fail("the worker could not be killed");
  if (!RunUntil("a new worker",
                [&] { return workers_.count(kVictim) && workers_[kVictim] != victim; }) ||
      !WaitFor("undelivered", jobs - drained_) || !WaitFor("notices", 2)) {
    return false;
  }
  Say("counts " + WithCommas(jobs) + " jobs sent = " + WithCommas(drained_) +
      " lost with the worker + " + WithCommas(facts_["undelivered"]) + " that came back");
  return Check(jobs == kJobs && facts_["undelivered"] == jobs - drained_,
               "every job is accounted for") &&
         Check(workers_[kVictim].generation == victim.generation + 1, "the generation counts up") &&
         Tell(kSpeaker, "do: send to the dead") && WaitFor("refused", 1) &&
         Tell(kSpeaker, "do: send", Encode({PidOf(kVictim)})) && WaitFor("replies", 1);
}

bool Director::ShowStream() {
  Title("A stream: one worker sends alerts of 10 bytes to another, as fast as it can");
  if (!Tell(kSpeaker, "do: stream") || !WaitForReport("stream received")) return false;
  const std::uint64_t sent = facts_["stream sent"];
  const double seconds = static_cast<double>(facts_["stream ns"]) / 1e9;
  std::printf("   sent %s, received %s, out of order %s, in %.2f s: %s alerts per second\n",
              WithCommas(sent).c_str(), WithCommas(facts_["stream received"]).c_str(),
              WithCommas(facts_["stream out of order"]).c_str(), seconds,
              WithCommas(static_cast<std::uint64_t>(static_cast<double>(sent) / seconds)).c_str());
  return Check(sent > 0 && facts_["stream received"] == sent, "received as many as sent") &&
         Check(facts_["stream out of order"] == 0, "received in the order of sending");
}

bool Director::ShowPingAll() {
  Title("Ping-all: one worker pings the three others, each pong triggers the next ping");
  if (!Tell(kSpeaker, "do: pingall") || !WaitForReport("pongs")) return false;
  const std::uint64_t pongs = facts_["pongs"];
  if (!WaitFor("pings received", pongs)) return false;
  const double seconds = static_cast<double>(facts_["pingall ns"]) / 1e9;
  std::printf("   pings received %s, pongs received %s, in order, in %.2f s: %s pongs per second\n",
              WithCommas(facts_["pings received"]).c_str(), WithCommas(pongs).c_str(), seconds,
              WithCommas(static_cast<std::uint64_t>(static_cast<double>(pongs) / seconds)).c_str());
  return Check(pongs > 0 && facts_["pings received"] == pongs, "one pong for each ping");
}

// Asks any worker, and again when there is an answer.
void Director::Ask() {
  const SendResult asked = master_->Request(To::AnyWorker(), "are you there?", "", absl::Seconds(5),
                                            [this](alertpipe::Response& answer) {
                                              if (!answer.ok()) Fail(answer.status().ToString());
                                              ++facts_["answered"];
                                              if (facts_.count("restarted") == 0) Ask();
                                            });
  if (asked.ok()) {
    ++facts_["asked"];
  } else {
    Fail(asked.status().ToString());
  }
}

bool Director::ShowRestart() {
  Title("All workers are replaced, one after the other, while they are asked for things");
  const absl::Status begun =
      master_->RestartAll(absl::Seconds(5), [this](const alertpipe::RestartReport& report) {
        if (!report.status.ok()) Fail(report.status.ToString());
        for (const alertpipe::Replacement& replaced : report.replaced) {
          workers_[replaced.successor.slot] = replaced.successor;
          Line(replaced.successor, "takes the place of " + Name(replaced.old_worker));
        }
        facts_["restarted"] = report.replaced.size();
      });
  if (!begun.ok()) return Fail(begun.ToString());
  for (int i = 0; i < kWorkers; ++i) Ask();
  if (!WaitForReport("restarted") || !WaitFor("answered", facts_["asked"])) return false;
  Say("has asked " + WithCommas(facts_["asked"]) + " times meanwhile, and was always answered");
  return Check(facts_["restarted"] == kWorkers, "all workers are new");
}

// Always ends the workers, also after a failure: by asking, and then by force.
bool Director::Stop() {
  if (!failed_) {
    Title("All workers are asked to end");
    for (const Peer& worker : master_->Workers()) {
      if (const absl::Status told = master_->Retire(worker.slot); !told.ok()) Fail(told.ToString());
    }
    RunUntil("the end of all workers", [this] { return workers_.empty(); });
  }
  for (const auto& [slot, worker] : workers_) kill(worker.pid, SIGKILL);
  if (failed_) return false;
  Say("has seen all of them end with exit code 0");
  master_->Close(absl::ZeroDuration());
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  uv_run(loop_, UV_RUN_DEFAULT);
  return Check(uv_loop_close(loop_) == 0, "nothing is left on the loop");
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf(
      "alertpipe demo: a master and four workers send alerts to each other.\n"
      "\"worker 3.2\" is the second generation of slot 3. Each line says who speaks.\n");
  uv_loop_t loop;  // before the master, which it has to outlive
  uv_loop_init(&loop);
  alertpipe::MasterOptions options;
  options.workers_max = kWorkers + 1;  // one to replace another in
  auto master = Master::Create(options);
  const absl::Status attached = master.ok() ? (*master)->Attach(&loop) : master.status();
  if (!attached.ok()) {
    std::fprintf(stderr, "demo: %s\n", attached.ToString().c_str());
    return 1;
  }
  Director director(master->get(), &loop);
  const bool shown = director.ShowAll();
  const bool stopped = director.Stop();
  if (shown && stopped) std::printf("\nAll of it was as described.\n");
  return shown && stopped ? 0 : 1;
}
