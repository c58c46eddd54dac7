// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint has to say about things that should not happen, in a form that can go straight
// into a log: structured, at most one report of a kind each second, and never anything of an
// alert's data. The exact account is in the counters (stats.h).
#ifndef ALERTPIPE_DIAGNOSTIC_H_
#define ALERTPIPE_DIAGNOSTIC_H_

#include <cstdint>
#include <string_view>

#include <alertpipe/export.h>
#include <alertpipe/peer.h>

namespace alertpipe {

// What happened, `count` times since the last report of that kind; all else is of the latest time.
// The views are valid until the hook returns.
struct Diagnostic {
  enum class Kind : std::uint8_t {
    // Damage, as Damage::Kind: `value` bytes were discarded. The peer is who the packet claims to
    // be from, if that is known.
    kDamagedFraming,
    kDamagedPacket,
    kDamagedRecord,
    // As a receiver: an alert of the peer was turned down because `value` of `limit` bytes
    // (MasterOptions::reassembly_bytes_max) were held for incomplete alerts, or memory was short.
    kRejectedFull,
    kRejectedMemory,
    // As a receiver: notices of rejected alerts found no room; a sender floods and does not read.
    kRejectsDropped,
    // As a sender: an alert to the peer was refused because `value` of `limit` bytes were queued
    // (MasterOptions::queued_bytes_per_peer_max or queued_bytes_max), or memory was short.
    kRefusedFull,
    kRefusedMemory,
    // An alert called `name`, of the peer, had no handler.
    kUnhandled,
    // The handler for `name`, an alert of the peer, threw an `exception`.
    kHandlerThrew,
    // A system call failed with `error`: writing to the peer's pipe (a full pipe, or one without a
    // reader, is no failure), reading the own one (the master: or draining that of the dead peer,
    // whose alerts then go uncounted), or having the loop wait for the peer's pipe.
    kWriteFailed,
    kReadFailed,
    kPollFailed,
    // In the master: the kernel granted `value` bytes to a pipe where `limit` were asked for
    // (MasterOptions::pipe_capacity). Once, with the smallest.
    kPipeSmall,
    // Somebody cleared O_NONBLOCK of a pipe; it was set again. Where that does not matter
    // (SECURITY.md) it is not noticed either.
    kNonblockRestored,
    // Alerts for an earlier generation of this slot were discarded.
    kStale,
    // In the master: alerts were taken unread from the pipe of the peer, which has died.
    kDrained,
    // In the master: the peer was killed because it had not ended, or as a successor not answered,
    // by the deadline of its replacement. With an `error`: it could not be killed and lives.
    kKilled,
  };
  static constexpr int kKinds = static_cast<int>(Kind::kKilled) + 1;

  Kind kind = Kind::kDamagedFraming;
  std::uint64_t count = 1;
  Peer peer;                // slot -1 when there is none, or none is known
  int error = 0;            // errno
  std::uint64_t limit = 0;  // with `value`: see the kinds; else 0
  std::uint64_t value = 0;
  std::string_view name;  // of the alert, any bytes: escape it for a log. Names are not payload
  std::string_view exception;  // its type, as the compiler spells it; a static string
  std::string_view text;       // the kind as a sentence without a full stop; a static string
};

// "damaged framing", "unhandled", ...; a static string.
ALERTPIPE_EXPORT std::string_view ToString(Diagnostic::Kind kind);

}  // namespace alertpipe

#endif  // ALERTPIPE_DIAGNOSTIC_H_
