// SPDX-License-Identifier: Apache-2.0
//
// What the processes of the workloads do, whatever the transport.
//
//   stream, fanout   process 0 is a Sender, the others Receivers
//   fanin            process 0 is a Receiver, the others Senders
//   pingall          process 0 is a Pinger, the others Pongers
//   pingpong         the same with two processes, and every round trip is timed
//
// Everybody checks everything that arrives. A Sender ends with an alert "last" whose number says
// how many came before; a Pinger ends when every ping has had its pong.
#ifndef ALERTPIPE_BENCH_ROLES_H_
#define ALERTPIPE_BENCH_ROLES_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "board.h"
#include "contents.h"
#include "link.h"
#include "meter.h"
#include "settings.h"

namespace alertpipe::bench {

// Where a sender with a fault commits it: early, for the slowest of machines.
inline constexpr std::uint64_t kFaultyAlert = 1;

// The most that a sender posts before its loop looks at other things.
inline constexpr std::size_t kTurnAlertsMax = 1024;
inline constexpr std::size_t kTurnBytesMax = 1048576;

// So that readings of the clock cost nothing, and slow alerts are still measured finely.
inline std::uint64_t AlertsPerReading(std::size_t bytes) {
  return std::clamp<std::size_t>(32768 / bytes, 1, 256);
}
inline constexpr std::uint64_t kPongsPerReading = 16;

class Sender {
 public:
  Sender(const Settings& settings, const Window& window)
      : contents_(settings.bytes, settings.checksum),
        window_(window),
        fault_(settings.fault),
        turn_alerts_(std::clamp<std::size_t>(kTurnBytesMax / settings.bytes, 1, kTurnAlertsMax)) {}

  bool posting() const { return !done_; }

  template <typename Link>
  void OnReady(Link& link) {
    if (NowNs() > window_.end_ns) {
      done_ = PostOne(link, Name::kLast);
      if (done_) link.Finish();
      return;
    }
    for (std::size_t i = 0; i < turn_alerts_; ++i) {
      if (!PostOne(link, Name::kItem)) return;
      ++number_;
    }
  }

  template <typename Link>
  void OnAlert(Link& link, int from, Name, std::string_view) {
    link.Fail("a sender was sent something by process " + std::to_string(from));
  }

 private:
  template <typename Link>
  bool PostOne(Link& link, Name name) {
    char* data = link.Data();
    if (data == nullptr) return false;
    contents_.Stamp(data, number_);
    if (fault_ != Fault::kNone && number_ == kFaultyAlert) {
      if (fault_ == Fault::kDrop) return true;
      data[contents_.bytes() - 1] ^= 1;
    }
    return link.Post(name);
  }

  Contents contents_;
  Window window_;
  Fault fault_;
  std::size_t turn_alerts_;
  std::uint64_t number_ = 0;
  bool done_ = false;
};

class Receiver {
 public:
  Receiver(const Settings& settings, const Window& window, int senders)
      : contents_(settings.bytes, settings.checksum),
        meter_(window, AlertsPerReading(settings.bytes)),
        senders_(senders),
        expected_(static_cast<std::size_t>(settings.processes())) {}

  bool posting() const { return false; }
  template <typename Link>
  void OnReady(Link&) {}

  template <typename Link>
  void OnAlert(Link& link, int from, Name name, std::string_view data) {
    std::uint64_t& expected = expected_[static_cast<std::size_t>(from)];
    if (!contents_.IsRight(data, expected)) link.Fail(contents_.Explain(data, expected));
    if (name == Name::kItem) {
      ++expected;
      meter_.Count();
    } else if (name != Name::kLast) {
      link.Fail("a receiver was sent a " + std::string(ToString(name)));
    } else if (++ended_ == senders_) {
      link.Finish();
    }
  }

  void Report(Place* place) const { place->alerts_per_second = meter_.PerSecond(); }

 private:
  Contents contents_;
  Meter meter_;
  int senders_;
  int ended_ = 0;
  std::vector<std::uint64_t> expected_;  // by sender: the number of its next alert
};

class Pinger {
 public:
  Pinger(const Settings& settings, const Window& window)
      : contents_(settings.bytes, settings.checksum),
        meter_(window, settings.workload == Workload::kPingPong ? 1 : kPongsPerReading),
        window_(window),
        fault_(settings.fault),
        timed_(settings.workload == Workload::kPingPong),
        in_flight_(settings.processes() - 1),
        next_(static_cast<std::size_t>(settings.processes())),
        ping_(settings.bytes, '\0') {
    contents_.Prepare(ping_.data());
    if (timed_) latencies_.Allocate();
  }

  // Only the first pings, and the word that there will be no more, are posted.
  bool posting() const { return !started_ || (in_flight_ == 0 && !done_); }

  template <typename Link>
  void OnReady(Link& link) {
    char* data = link.Data();
    if (data == nullptr) return;
    contents_.Stamp(data, 0);
    if (!started_) {
      sent_ns_ = NowNs();
      started_ = link.Post(Name::kPing);
    } else if (link.Post(Name::kLast)) {
      done_ = true;
      link.Finish();
    }
  }

  template <typename Link>
  void OnAlert(Link& link, int from, Name name, std::string_view data) {
    std::uint64_t& next = next_[static_cast<std::size_t>(from)];
    if (name != Name::kPong) link.Fail("a pinger was sent a " + std::string(ToString(name)));
    if (!contents_.IsRight(data, next)) link.Fail(contents_.Explain(data, next));
    ++next;
    if (timed_) {
      Time();
    } else {
      meter_.Count();
    }
    if (meter_.is_over()) {
      --in_flight_;
    } else {
      Ping(link, next);
    }
  }

  void Report(Place* place) {
    place->alerts_per_second = meter_.PerSecond();
    place->p50_us = latencies_.Percentile(50);
    place->p99_us = latencies_.Percentile(99);
    place->p999_us = latencies_.Percentile(99.9);
  }

 private:
  // One reading of the clock ends a round trip and begins the next.
  void Time() {
    const std::int64_t now_ns = NowNs();
    if (sent_ns_ >= window_.begin_ns && now_ns <= window_.end_ns) latencies_.Add(now_ns - sent_ns_);
    sent_ns_ = now_ns;
    meter_.CountAt(now_ns);
  }

  template <typename Link>
  void Ping(Link& link, std::uint64_t number) {
    contents_.Stamp(ping_.data(), number);
    if (fault_ != Fault::kNone && number == kFaultyAlert) {
      if (fault_ == Fault::kDrop) return;
      ping_.back() = static_cast<char>(ping_.back() ^ 1);
    }
    if (!link.Reply(Name::kPing, ping_)) link.Fail("a ping was refused");
  }

  Contents contents_;
  Meter meter_;
  Window window_;
  Fault fault_;
  bool timed_;
  Latencies latencies_;
  int in_flight_;
  bool started_ = false;
  bool done_ = false;
  std::int64_t sent_ns_ = 0;
  std::vector<std::uint64_t> next_;  // by ponger: the number of its next pong
  std::string ping_;
};

class Ponger {
 public:
  explicit Ponger(const Settings& settings) : contents_(settings.bytes, settings.checksum) {}

  bool posting() const { return false; }
  template <typename Link>
  void OnReady(Link&) {}

  template <typename Link>
  void OnAlert(Link& link, int, Name name, std::string_view data) {
    if (name == Name::kLast) {
      link.Finish();
      return;
    }
    if (name != Name::kPing) link.Fail("a ponger was sent a " + std::string(ToString(name)));
    if (!contents_.IsRight(data, next_)) link.Fail(contents_.Explain(data, next_));
    ++next_;
    if (!link.Reply(Name::kPong, data)) link.Fail("a pong was refused");
  }

 private:
  Contents contents_;
  std::uint64_t next_ = 0;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_ROLES_H_
