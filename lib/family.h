// SPDX-License-Identifier: Apache-2.0
//
// Everything that a family shares, created by the master before its first fork, all or nothing: the
// roster (sealed), the counter pages, a pipe per slot, and the lifeline. A forked worker inherits
// the whole of it and gives up what is not its own: the reading ends of all other inboxes, the
// other counter pages, and all ways to write the roster.
#ifndef ALERTPIPE_FAMILY_H_
#define ALERTPIPE_FAMILY_H_

#include <alertpipe/master.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "core/counters.h"
#include "core/events/events_memory.h"
#include "core/roster.h"
#include "os/kernel.h"
#include "os/lifeline.h"
#include "os/memory.h"
#include "os/pipe.h"

namespace alertpipe::internal {

class Family {
 public:
  static absl::StatusOr<std::unique_ptr<Family>> Create(const MasterOptions& options);

  int slots() const { return static_cast<int>(pipes_.size()); }
  const os::Kernel& kernel() const { return kernel_; }
  core::Roster roster() const {
    return core::Roster(static_cast<const core::RosterMemory*>(roster_.readable()));
  }
  core::RosterWriter roster_writer() {
    return core::RosterWriter(static_cast<core::RosterMemory*>(roster_.writable()));
  }
  // The counters of a slot; in a worker only its own.
  core::CounterPage* counters(int slot) {
    return static_cast<core::CounterPage*>(
        counters_.At(static_cast<std::size_t>(slot) * sizeof(core::CounterPage)));
  }
  // Not valid in a family without events.
  core::EventsMemory events();
  // Makes a slot's counters those of its next worker.
  void ResetCounters(int slot, std::uint32_t generation);
  os::Lifeline& lifeline() { return lifeline_; }
  std::size_t pipe_capacity_min() const { return capacity_min_; }

  int inbox_fd(int slot) const { return pipes_[static_cast<std::size_t>(slot)].read.get(); }
  std::vector<int> outbox_fds() const;

  // In the process that has just been forked for `slot`: gives up what belongs to others.
  // `keep_master_inbox`: that descriptor has been replaced by a harmless one that must stay open.
  void EnterChild(int slot, bool keep_master_inbox);
  // Where the kernel cannot ignore a cleared O_NONBLOCK call by call: open file descriptions that
  // are shared with nobody. What cannot be reopened (no /proc) stays shared.
  void MakePrivate(int slot);

 private:
  Family(const os::Kernel& kernel, os::SealedRegion roster, os::SharedRegion counters,
         os::Lifeline lifeline)
      : kernel_(kernel),
        roster_(std::move(roster)),
        counters_(std::move(counters)),
        lifeline_(std::move(lifeline)) {}

  os::Kernel kernel_;
  os::SealedRegion roster_;
  os::SharedRegion counters_;
  std::optional<os::SharedRegion> events_;
  os::Lifeline lifeline_;
  std::vector<os::Pipe> pipes_;
  std::size_t capacity_min_ = 0;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_FAMILY_H_
