// SPDX-License-Identifier: Apache-2.0
//
// The books of a soak, in memory that all its processes share. For each ordered pair of
// incarnations there are two halves: what the sender wrote down (Sent) and what the receiver did
// (Heard). Each half has one writer, which stores one word at a time, so a kill -9 at any
// instruction leaves them usable: the sender says what it is about to send (attempted) before the
// call and what came of it (accepted, written) after it, so at most one alert is in doubt; the
// receiver says what it has heard as soon as the handler is called.
//
// An incarnation has a place in a ring of its slot's generations. At a quiet point the master
// settles all pairs (account.h) and wipes those of the dead, so the ring only has to hold the
// generations between two quiet points.
#ifndef ALERTPIPE_TEST_SOAK_LEDGER_H_
#define ALERTPIPE_TEST_SOAK_LEDGER_H_

#include <cstdint>

#include <alertpipe/alertpipe.h>

#include "complaints.h"

namespace alertpipe::soak {

inline constexpr int kSlots = 11;  // the master, 8 workers, 2 spare ones for replacements
inline constexpr int kRing = 64;   // generations of a slot between two quiet points

// The worker in this slot is never killed: it lives through all that happens to the others.
inline constexpr int kKeeper = 1;
inline constexpr bool LivesLong(int slot) { return slot == kMasterSlot || slot == kKeeper; }

struct alignas(64) Sent {
  Word key;           // the two generations: whose half this is; 0: nobody's yet
  Word attempted;     // the number that was given to Send last
  Word accepted;      // the last that Send accepted
  Word written;       // the last that Send said is in the receiver's pipe, whole
  Word failed;        // alerts that came back
  Word failed_first;  // the lowest number among them
  Word failed_last;   // and the highest; all between came back, or it is a violation
};

struct alignas(64) Heard {
  Word key;
  Word last;       // the highest number that was heard
  Word missing;    // numbers below it that were not
  Word gap_begin;  // the last run of such numbers, to tell reordered from duplicated
  Word gap_end;
};

// In a key: the books of this pair are closed; its place may be used by another.
inline constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

inline std::uint64_t KeyOf(std::uint32_t from_generation, std::uint32_t to_generation) {
  return std::uint64_t{from_generation} << 32 | to_generation;
}

// Loads: none; all sizes, as much as the queues take; the same a little at each tick, so that
// queues are mostly short; small alerts only, as fast as they are read.
enum class Mode : std::uint32_t { kPause, kMixed, kPaced, kPacked };

// What the process in a slot says of itself. Counters go on from one generation to the next.
struct alignas(64) Place {
  Word ticks;      // turns of its timer: progress
  Word delivered;  // alerts
  Word delivered_bytes;
  Word quiet;  // generation << 32 | the last quiet point that it has come to
  Word inode;  // of its pipe
  Word heap_bytes;
  Word rss_bytes;
  Word descriptors;
};

struct Ledger : ComplaintBook {
  Word mode;
  Word quiet;  // number of the quiet point that is wanted
  Place places[kSlots];
  Sent sent[kSlots][kRing][kSlots][kRing];    // [from][generation][to][generation]
  Heard heard[kSlots][kRing][kSlots][kRing];  // [to][generation][from][generation]

  Sent& SentBy(const Peer& from, const Peer& to) {
    return sent[from.slot][from.generation % kRing][to.slot][to.generation % kRing];
  }
  Heard& HeardBy(const Peer& to, const Peer& from) {
    return heard[to.slot][to.generation % kRing][from.slot][from.generation % kRing];
  }
  Mode mode_now() const { return static_cast<Mode>(mode.Get()); }
};

// Zeroed shared memory, for good: it is the program's last owner. Null when there is none.
Ledger* MapLedger();

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_LEDGER_H_
