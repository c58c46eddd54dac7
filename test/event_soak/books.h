// SPDX-License-Identifier: Apache-2.0
//
// The books of an event soak, in memory that all its processes share. As in the soak of alerts each
// word has one writer, which stores it whole, so that a kill -9 at any instruction leaves them
// usable.
//
// Time passes in rounds, which end at quiet points: everything that was published has been handed
// out by then, or was told to be missing. So the books of a round are whole, and are settled and
// wiped before the next one:
//
//   Published  of one incarnation: what it tried to publish, and what came of it.
//   Refused    of a pair: which events the library said that a receiver did not get.
//   Heard      of a pair: what the receiver's callbacks were called for.
//   Log        of a slot: every ordered event in the order in which it was handed out there.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_BOOKS_H_
#define ALERTPIPE_TEST_EVENT_SOAK_BOOKS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <alertpipe/alertpipe.h>

#include "soak/complaints.h"

namespace alertpipe::event_soak {

using soak::Violation;
using soak::Word;

inline constexpr int kSlots = 33;  // the master and up to 32 workers
inline constexpr int kRing = 32;   // generations of a slot in one round
inline constexpr std::size_t kLogMax = 1 << 20;
inline constexpr std::uint64_t kRacesMax = 65536;
inline constexpr int kKeys = 8;  // of events that coalesce, for each publisher

// The worker in this slot is never killed: it hears all that happens to the others.
inline constexpr int kKeeper = 1;

// Events by the rule that they are published under.
enum class Kind : std::uint8_t {
  kOrdered,  // refused where there is no room, which is a gap there
  kPlain,    // refused where there is no room
  kGap,      // a gap where there is no room
  kValue,    // the last value of each key, where there is no room
};
inline constexpr int kKinds = static_cast<int>(Kind::kValue) + 1;
inline constexpr std::string_view kSource = "soak";
const char* NameOf(Kind kind);

using Counts = std::array<Word, kKinds>;

struct alignas(64) Published {
  Word key;         // the generation whose books these are; 0: nobody's yet
  Counts tried;     // before each call
  Counts done;      // after it
  Counts accepted;  // sums of what the calls returned
  Counts gaps;
  Counts refused;
  Word values[kKeys];  // the number of the last value of each key
};

struct alignas(64) Refused {
  Word key;  // the two generations
  Counts full;
  Counts otherwise;  // not for want of room
};

struct alignas(64) Heard {
  Word key;
  Word last;  // the highest number that was heard
  Counts heard;
  Counts told;  // to be missing
  Word values[kKeys];
};

inline std::uint64_t KeyOf(const Peer& from, const Peer& to) {
  return std::uint64_t{from.generation} << 32 | to.generation;
}

// An ordered event as it stands in a log.
struct Entry {
  static constexpr int kBegins = 0xff;  // as slot: the log of that generation begins

  int slot = 0;
  std::uint32_t generation = 0;  // 24 bits
  std::uint32_t number = 0;

  std::uint64_t Pack() const {
    return std::uint64_t(static_cast<unsigned>(slot)) << 56 | std::uint64_t{generation} << 32 |
           number;
  }
  static Entry Unpack(std::uint64_t packed) {
    return {static_cast<int>(packed >> 56), static_cast<std::uint32_t>(packed >> 32 & 0xffffff),
            static_cast<std::uint32_t>(packed)};
  }
};

struct Log {
  Word size;
  Word entries[kLogMax];
};

// What a process is in the midst of: found there after its death.
enum class Doing : std::uint8_t {
  kLoop,        // the library's own work, or waiting
  kHandling,    // a callback
  kPublishing,  // Events::Publish
  kClaiming,    // the turn in which something ordered was published has not ended
};
inline constexpr int kDoings = static_cast<int>(Doing::kClaiming) + 1;

// What the process in a slot says of itself. Sums go on from one generation to the next.
struct alignas(64) Place {
  Word doing;
  Word trap;      // what it is to be killed in, if anything; of Doing
  Word ticks;     // turns of its timer: progress
  Word ready;     // the generation that has called Ready
  Word quiet;     // generation << 32 | the last quiet point that it has come to
  Word fresh_ns;  // when the latest ordered event of another worker that was heard was published
  Word published_ns;  // when it published an ordered event last
  Word published;     // ordered events, this round
  Word raced;         // generation << 32 | the unique key that comes next
  Word handled;       // sums of the library's own figures
  Word gaps;
  Word late;
  Word withdrawn;
  Word coalesced;
  Word heap_bytes;
  Word rss_bytes;
  Word descriptors;

  Doing Enter(Doing next) {
    const auto before = static_cast<Doing>(doing.Get());
    doing.Set(static_cast<std::uint64_t>(next));
    return before;
  }
};

// A unique key that all publish at the same moment.
struct Race {
  Word arrived;
  Word won;    // publications that were accepted
  Word heard;  // by whomever
};

// Publishers do nothing, as much as they can, a little at each tick; or all race for unique keys.
enum class Mode : std::uint32_t { kPause, kLoad, kPaced, kRace };

struct Books : soak::ComplaintBook {
  Word mode;
  Word quiet;       // number of the quiet point that is wanted
  Word round;       // counted from 1
  Word publishers;  // slots 1 to this one publish
  Word share;       // ordered events that each of them may publish in a round
  Word race_to;     // the key that is not raced for any more
  Word race_now;    // the last that somebody has come to
  Word racers;      // as many are waited for; 0: not for long, some may be killed
  Place places[kSlots];
  Race races[kRacesMax];
  Published published[kSlots][kRing];
  Refused refused[kSlots][kRing][kSlots][kRing];  // [publisher][generation][receiver][generation]
  Heard heard[kSlots][kRing][kSlots][kRing];      // [receiver][generation][publisher][generation]
  Log logs[kSlots];

  Mode mode_now() const { return static_cast<Mode>(mode.Get()); }
  Published& PublishedBy(const Peer& peer) { return published[peer.slot][peer.generation % kRing]; }
  Refused& RefusedBy(const Peer& to, const Peer& from) {
    return refused[from.slot][from.generation % kRing][to.slot][to.generation % kRing];
  }
  Heard& HeardBy(const Peer& to, const Peer& from) {
    return heard[to.slot][to.generation % kRing][from.slot][from.generation % kRing];
  }
};

std::string Name(const Peer& peer);  // "slot.generation"

// Zeroed shared memory, for good. Null when there is none.
Books* MapBooks();

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_BOOKS_H_
