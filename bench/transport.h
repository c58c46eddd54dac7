// SPDX-License-Identifier: Apache-2.0
//
// All transports, by name. A transport is a class (link.h says what it offers) in one file that
// ends with an object Registered<TheClass>.
#ifndef ALERTPIPE_BENCH_TRANSPORT_H_
#define ALERTPIPE_BENCH_TRANSPORT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "board.h"
#include "link.h"
#include "roles.h"
#include "settings.h"
#include "supervisor.h"

namespace alertpipe::bench {

// Runs one measurement; what the processes found is then on the board.
using Measure = std::function<absl::Status(const Settings&, Board*, std::size_t* capacity)>;

struct Known {
  Measure measure;
  Abilities can;
};

std::map<std::string, Known>& Transports();

// What a transport needs that not every machine has. One that was not there when this was built is
// missing from Transports().
struct Requirement {
  const char* transport;
  const char* package;  // of Debian and Ubuntu
};
inline constexpr Requirement kRequirements[] = {{"boost", "libboost-dev"},
                                                {"zeromq", "libzmq3-dev"}};

// What to do about a transport that is not there.
std::string Absence(const std::string& transport);

// What process `self` does, from the start to its end.
template <typename Link>
class Process {
 public:
  Process(const Settings& settings, Board* board, int self)
      : settings_(settings), board_(board), self_(self) {}

  int Run(Link& link) {
    Supervisor::DieWithParent();
    const Window window = board_->AwaitStart(self_);
    Place& place = board_->place(self_);
    switch (settings_.workload) {
      case Workload::kStream:
      case Workload::kFanOut:
        self_ == 0 ? Send(link, window) : Receive(link, window, &place, 1);
        break;
      case Workload::kFanIn:
        self_ == 0 ? Receive(link, window, &place, settings_.workers) : Send(link, window);
        break;
      case Workload::kPingAll:
      case Workload::kPingPong:
        self_ == 0 ? Ping(link, window, &place) : Pong(link);
        break;
    }
    const Tally tally = link.tally();
    place.alerts_sent = tally.alerts;
    place.packets_written = tally.packets;
    return place.failed.load() ? 1 : 0;
  }

 private:
  void Send(Link& link, const Window& window) {
    Sender role(settings_, window);
    link.Run(role);
  }
  void Receive(Link& link, const Window& window, Place* place, int senders) {
    Receiver role(settings_, window, senders);
    link.Run(role);
    role.Report(place);
  }
  void Ping(Link& link, const Window& window, Place* place) {
    Pinger role(settings_, window);
    link.Run(role);
    role.Report(place);
  }
  void Pong(Link& link) {
    Ponger role(settings_);
    link.Run(role);
  }

  const Settings& settings_;
  Board* board_;
  int self_;
};

template <typename Transport>
absl::Status MeasureOver(const Settings& settings, Board* board, std::size_t* capacity) {
  using Link = typename Transport::Link;
  auto transport = Transport::Create(settings);
  if (!transport.ok()) return transport.status();
  *capacity = (*transport)->capacity();
  Supervisor supervisor(settings, board, [&] { return (*transport)->Reap(); });
  for (int i = 0; i < settings.processes(); ++i) {
    const absl::StatusOr<pid_t> pid = (*transport)->Spawn(i, &board->place(i), [&](Link& link) {
      return Process<Link>(settings, board, i).Run(link);
    });
    if (!pid.ok()) return pid.status();
    supervisor.Add(*pid);
  }
  return supervisor.Run();
}

template <typename Transport>
class Registered {
 public:
  Registered() {
    Transports()[std::string(Transport::kName)] = {MeasureOver<Transport>, Transport::kCan};
  }
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORT_H_
