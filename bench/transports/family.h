// SPDX-License-Identifier: Apache-2.0
//
// A family of alertpipe as a transport: its master in the process that starts the measurement, and
// a worker for each process of it. What they do is the user's: `Use` has
//
//   using Link = ...;             // made with (settings, process, place), then Attach(Slot)
//   static constexpr std::string_view kName;
//   static constexpr Abilities kCan;
//   static void Prepare(MasterOptions* options);
#ifndef ALERTPIPE_BENCH_TRANSPORTS_FAMILY_H_
#define ALERTPIPE_BENCH_TRANSPORTS_FAMILY_H_

#include <alertpipe/alertpipe.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "board.h"
#include "link.h"
#include "settings.h"

namespace alertpipe::bench {

constexpr int SlotOf(int process) { return process + 1; }
constexpr int ProcessOf(const Peer& peer) { return peer.slot - 1; }

template <typename Use>
class FamilyTransport {
 public:
  using Link = typename Use::Link;
  static constexpr std::string_view kName = Use::kName;
  static constexpr Abilities kCan = Use::kCan;

  static absl::StatusOr<std::unique_ptr<FamilyTransport>> Create(const Settings& settings) {
    MasterOptions options;
    options.workers_max = settings.processes();
    options.pipe_capacity = settings.capacity;
    Use::Prepare(&options);
    absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(options);
    if (!master.ok()) return master.status();
    return std::unique_ptr<FamilyTransport>(new FamilyTransport(settings, *std::move(master)));
  }

  absl::StatusOr<pid_t> Spawn(int process, Place* place, const std::function<int(Link&)>& main) {
    const absl::StatusOr<Peer> worker = master_->Spawn([&](Slot slot) {
      if (slot.number() != SlotOf(process)) return 1;
      Link link(settings_, process, place);
      if (const absl::Status attached = link.Attach(std::move(slot)); !attached.ok()) {
        link.Fail(attached.ToString());
        return 1;
      }
      return main(link);
    });
    if (!worker.ok()) return worker.status();
    return worker->pid;
  }

  std::vector<Ended> Reap() {
    ended_.clear();
    if (!master_->Service().ok()) std::abort();
    return ended_;
  }

  std::size_t capacity() const { return master_->pipe_capacity(); }

 private:
  FamilyTransport(const Settings& settings, std::unique_ptr<Master> master)
      : settings_(settings), master_(std::move(master)) {
    master_->OnExit([this](const WorkerExit& exit) {
      ended_.push_back({exit.worker.pid, exit.exit_code, exit.signal});
    });
  }

  Settings settings_;
  std::vector<Ended> ended_;
  std::unique_ptr<Master> master_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_FAMILY_H_
