// SPDX-License-Identifier: Apache-2.0
//
// The figures of a whole family, slot by slot: for its master (Master::StatsOf) and for any other
// process of the same user (ReadFamilyStats). Reading disturbs nobody: no process of the family
// takes part in it or notices.
#ifndef ALERTPIPE_FAMILY_STATS_H_
#define ALERTPIPE_FAMILY_STATS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include <alertpipe/export.h>
#include <alertpipe/peer.h>
#include <alertpipe/stats.h>

namespace alertpipe {

// What the master says of a slot.
enum class SlotState : std::uint8_t {
  kFree = 0,  // never had a worker; the master's own: it is not attached to a loop
  kStarting,  // announced before the fork: what is sent waits in the pipe; the pid may not be known
  kUp,
  kDraining,  // being replaced: takes replies, no new alerts
  kDown,      // its worker is dead
};

// "free", "starting", "up", "draining", "down"; a static string.
ALERTPIPE_EXPORT std::string_view ToString(SlotState state);

// The figures of one incarnation. Each is what it was at some moment of the reading, and never
// less than at an earlier reading unless it is an amount (queued_bytes and the like); two of them
// need not be of the same moment.
struct IncarnationStats {
  Peer peer;
  Stats stats;
};

// One slot.
struct SlotStats {
  int slot = -1;
  SlotState state = SlotState::kFree;
  // The worker that lives there now; in the master's slot, the master, attached or not. Counters
  // that were not written by that incarnation are never shown for it.
  std::optional<IncarnationStats> live;
  // The worker that died there last, as the master found its counters after the death, and with
  // what was drained from its pipe (alerts_drained). They stay until the next worker of the slot
  // has died.
  std::optional<IncarnationStats> last;
};

struct FamilyStats {
  Peer master;
  std::vector<SlotStats> slots;  // by number; the first is the master's
};

// Reads the figures of the families whose master is the process `master`: mostly one, in the order
// of their descriptors. For processes of the same user, and root: whoever may look into
// /proc/PID/fd. A master that has changed its user is closed to that user until it says
// prctl(PR_SET_DUMPABLE, 1).
//
// Errors:
//   kInvalidArgument     `master` is not positive.
//   kNotFound            There is no such process, or it is no master: a worker, or not of
//                        alertpipe. A dead master's figures are gone. Also where the kernel cannot
//                        seal shared memory for good (before Linux 5.1) or /proc is not mounted.
//   kPermissionDenied    It belongs to another user, or does not let itself be looked at.
//   kFailedPrecondition  All of its families use another version of this library.
//   kResourceExhausted   No memory or descriptors here.
ALERTPIPE_EXPORT absl::StatusOr<std::vector<FamilyStats>> ReadFamilyStats(pid_t master);

}  // namespace alertpipe

#endif  // ALERTPIPE_FAMILY_STATS_H_
