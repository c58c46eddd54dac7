// SPDX-License-Identifier: Apache-2.0
#include "demo_worker.h"

#include <uv.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "demo_text.h"

namespace demo {
namespace {

using alertpipe::Alert;
using alertpipe::Outcome;
using alertpipe::Peer;
using alertpipe::Scope;
using alertpipe::SendResult;
using alertpipe::To;
using alertpipe::Worker;

constexpr std::size_t kJobBytes = 2000;
constexpr std::size_t kTickBytes = 10;
constexpr std::uint64_t kBurstNs = 800000000;

std::string Quote(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::string Describe(const SendResult& sent) {
  if (!sent.ok()) return "refused: " + sent.status().ToString();
  const char* how = sent.outcome() == Outcome::kWritten ? "written to its pipe" : "queued";
  return std::string(how) + " as alert " + std::to_string(sent.alert_id());
}

// What the parts of a worker share: its endpoint, and how to tell the master things.
class Actor {
 public:
  explicit Actor(Worker* worker) : worker_(worker) {}

 protected:
  // A line for people.
  void Say(const std::string& line) { worker_->Send(To::Master(), "line", line); }
  // A number for the master's checks, added to what it has under that key.
  void Report(std::string_view key, std::uint64_t number) {
    worker_->Send(To::Master(), key, Encode({number}));
  }

  Worker* worker_;
};

// Greets and answers; everything but the bursts.
class Talker : public Actor {
 public:
  explicit Talker(Worker* worker) : Actor(worker) {
    worker_->Receive("hello", [this](Alert& alert) { OnHello(alert); });
    worker_->Receive("reply", [this](Alert& alert) { OnReply(alert); });
    worker_->Receive("are you there?", [](Alert& alert) { alert.Respond("yes"); });
    worker_->Receive("do: send", [this](Alert& alert) { DoSend(alert); });
    worker_->Receive("do: broadcast", [this](Alert&) { DoBroadcast(); });
    worker_->Receive("do: break rules", [this](Alert&) { DoBreakRules(); });
    worker_->Receive("do: pile up", [this](Alert&) { DoPileUp(); });
    worker_->Receive("do: send to the dead", [this](Alert&) { DoSendToTheDead(); });
  }

 private:
  void OnHello(Alert& alert) {
    Say("got \"hello\" from " + Name(alert.sender()) + ": " + Quote(alert.data()) + "; replies");
    alert.Reply("reply", "the same to you");
  }

  void OnReply(Alert& alert) {
    Say("got \"reply\" from " + Name(alert.sender()) + ": " + Quote(alert.data()));
    Report("replies", 1);
  }

  void DoSend(const Alert& alert) {
    const auto pid = static_cast<pid_t>(Decode(alert.data()));
    Say("sends \"hello\" to pid " + std::to_string(pid));
    const SendResult sent = worker_->Send(pid, "hello", "good morning");
    Say("got as result of the send: " + Describe(sent));
  }

  void DoBroadcast() {
    Say("broadcasts \"hello\" to all workers, itself included");
    const alertpipe::BroadcastResult result = worker_->Broadcast("hello", "good morning, all");
    Say("got as result of the broadcast: accepted for " + std::to_string(result.accepted) +
        ", refused for " + std::to_string(result.refused.size()));
    Report("accepted", result.accepted);
  }

  // Each of these has to fail with exactly one code; the text is what a user would read.
  void DoBreakRules() {
    const auto stranger = std::numeric_limits<pid_t>::max();
    Expect(worker_->Send(stranger, "hello"), absl::StatusCode::kNotFound);
    Expect(worker_->Send(To::Slot(kVictim), std::string(255, 'n')),
           absl::StatusCode::kInvalidArgument);
    Expect(worker_->Send(To::Slot(kVictim), "hello", std::string(5 << 20, 'd')),
           absl::StatusCode::kInvalidArgument);
  }

  void Expect(const SendResult& sent, absl::StatusCode code) {
    Say(Describe(sent));
    Report(sent.status().code() == code ? "refused" : "wrong", 1);
  }

  // Sends more to the victim, which does not read, than its pipe can take.
  void DoPileUp() {
    worker_->OnUndelivered([this](const alertpipe::Undelivered& lost) { OnUndelivered(lost); });
    worker_->OnLeft([this](const Peer& peer) {
      Say("is told that " + Name(peer) + " has died");
      Report("notices", 1);
    });
    worker_->OnJoined([this](const Peer& peer) {
      Say("is told of the new " + Name(peer));
      Report("notices", 1);
    });
    for (const Peer& peer : worker_->Workers()) {
      if (peer.slot == kVictim) victim_ = peer;
    }
    std::uint64_t accepted = 0;
    const std::string job(kJobBytes, 'j');
    for (std::uint64_t i = 0; i < kJobs; ++i) accepted += worker_->Send(victim_, "job", job).ok();
    Say("sends " + WithCommas(accepted) + " jobs to " + Name(victim_) + ": its pipe is full, and " +
        WithCommas(worker_->QueuedBytes(kVictim)) + " bytes wait here");
    Report("jobs", accepted);
  }

  void OnUndelivered(const alertpipe::Undelivered& lost) {
    const bool as_promised = lost.peer == victim_ && lost.name == "job" && lost.has_data &&
                             lost.data.size() == kJobBytes &&
                             lost.reason == alertpipe::UndeliveredReason::kPeerDied;
    if (undelivered_++ == 0) {
      Say("alert " + std::to_string(lost.alert_id) + " " + Quote(lost.name) + " for " +
          Name(lost.peer) +
          " comes back, with its data: " + std::string(alertpipe::ToString(lost.reason)));
    }
    Report(as_promised ? "undelivered" : "wrong", 1);
  }

  void DoSendToTheDead() {
    Say("sends \"hello\" to " + Name(victim_) + " again, whose slot has a new worker");
    Expect(worker_->Send(victim_, "hello"), absl::StatusCode::kUnavailable);
  }

  Peer victim_;
  std::uint64_t undelivered_ = 0;
};

// One worker sends as many small alerts to another as it can; the other counts.
class Streamer : public Actor {
 public:
  Streamer(Worker* worker, uv_loop_t* loop) : Actor(worker) {
    uv_idle_init(loop, &pump_);
    pump_.data = this;
    worker_->Receive("do: stream", [this](Alert&) { Start(); });
    worker_->Receive("tick", [this](Alert& alert) { OnTick(alert); });
    worker_->Receive("last tick", [this](Alert& alert) { OnLastTick(alert); });
  }

  // Leaves nothing on the loop.
  void Close() {
    auto* handle = reinterpret_cast<uv_handle_t*>(&pump_);
    if (!uv_is_closing(handle)) uv_close(handle, nullptr);
  }

 private:
  void Start() {
    // A queue that was full is empty again: go on.
    worker_->OnDrained([this](const Peer& peer) {
      if (peer.slot == kListener && sending_) uv_idle_start(&pump_, Pump);
    });
    sending_ = true;
    start_ns_ = uv_hrtime();
    uv_idle_start(&pump_, Pump);
  }

  // One turn of the loop. A refusal is no loss: the same tick is sent once the queue has drained.
  static void Pump(uv_idle_t* handle) {
    auto* self = static_cast<Streamer*>(handle->data);
    std::array<char, kTickBytes> tick{};
    bool ok = true;
    for (int i = 0; i < 1000 && ok; ++i) {
      std::memcpy(tick.data(), &self->sent_, sizeof(self->sent_));
      ok = self->worker_->Send(To::Slot(kListener), "tick", {tick.data(), tick.size()}).ok();
      self->sent_ += ok;
    }
    if (ok && uv_hrtime() - self->start_ns_ >= kBurstNs) {
      const std::string totals = Encode({self->sent_, self->start_ns_});
      ok = self->worker_->Send(To::Slot(kListener), "last tick", totals).ok();
      self->sending_ = !ok;
    }
    if (!ok || !self->sending_) uv_idle_stop(handle);
  }

  void OnTick(const Alert& alert) {
    if (alert.data().size() != kTickBytes || Decode(alert.data()) != received_) ++wrong_;
    ++received_;
  }

  void OnLastTick(const Alert& alert) {
    Report("stream ns", uv_hrtime() - Decode(alert.data(), 1));
    Report("stream sent", Decode(alert.data(), 0));
    Report("stream out of order", wrong_);
    Report("stream received", received_);
  }

  uv_idle_t pump_;
  bool sending_ = false;
  std::uint64_t start_ns_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t wrong_ = 0;
};

// One worker pings all others; each pong is answered with the next ping to the worker it came from.
class Pinger : public Actor {
 public:
  explicit Pinger(Worker* worker) : Actor(worker) {
    worker_->Receive("do: pingall", [this](Alert&) {
      start_ns_ = uv_hrtime();
      in_flight_ = worker_->Broadcast("ping", Encode({0}), Scope::kOthers).accepted;
    });
    worker_->Receive("ping", [this](Alert& alert) {
      if (Decode(alert.data()) != pings_++) Report("wrong", 1);
      alert.Reply("pong", alert.data());
    });
    worker_->Receive("pong", [this](Alert& alert) { OnPong(alert); });
    worker_->Receive("count pings", [this](Alert&) { Report("pings received", pings_); });
  }

 private:
  void OnPong(Alert& alert) {
    std::uint64_t& next = next_[alert.sender().slot];
    if (Decode(alert.data()) != next) Report("wrong", 1);
    ++next;
    ++pongs_;
    if (uv_hrtime() - start_ns_ < kBurstNs) {
      alert.Reply("ping", Encode({next}));
    } else if (--in_flight_ == 0) {
      Report("pingall ns", uv_hrtime() - start_ns_);
      Report("pongs", pongs_);
      worker_->Broadcast("count pings", "", Scope::kOthers);
    }
  }

  std::uint64_t start_ns_ = 0;
  std::size_t in_flight_ = 0;
  std::uint64_t pings_ = 0;
  std::uint64_t pongs_ = 0;
  std::map<int, std::uint64_t> next_;
};

}  // namespace

int Serve(alertpipe::Slot slot) {
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return 1;
  auto worker = Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) {
    std::fprintf(stderr, "worker: %s\n", worker.status().ToString().c_str());
    return 1;
  }
  Talker talker(worker->get());
  Pinger pinger(worker->get());
  Streamer streamer(worker->get(), &loop);
  (*worker)->OnDraining([&](const Peer&) {
    streamer.Close();
    (*worker)->Drain();
  });
  (*worker)->OnMasterGone([&] {
    streamer.Close();
    (*worker)->Close(absl::Seconds(1));
  });
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}

}  // namespace demo
