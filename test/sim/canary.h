// SPDX-License-Identifier: Apache-2.0
//
// Rules that the environment can be told to break, one at a time: what the master's system calls,
// the pipes, the driver and what there is of events do around the core, never the core itself. A
// simulator that does not notice proves nothing.
#ifndef ALERTPIPE_TEST_SIM_CANARY_H_
#define ALERTPIPE_TEST_SIM_CANARY_H_

#include <cstdint>
#include <string_view>

namespace alertpipe::sim {

enum class Canary : std::uint8_t {
  kNone,
  kNoDrain,                  // the pipe of a dead worker is not emptied
  kLateDrain,                // it is emptied after its successor was published
  kNoDestinationGeneration,  // packets say that they are for whoever reads them
  kSwallowedMemory,          // a send that got no memory is reported as accepted
  kNoDeathNotice,            // the master tells nobody of a death
  kEarlyBarrier,             // a worker acknowledges what it has not handled yet
  kNoticeLost,               // a notice that finds a full pipe is not tried again
  // Of ordered events.
  kClaimBeforeWrite,  // places are claimed for what has not left
  kClaimToldEarly,    // that events have places is told before it is so
  kNoClaimTold,       // it is told to nobody
  kClaimToldOnce,     // one whose queue is full then is not told later
  kOwnAtOnce,         // one's own events are handed out without a place
  kNoRead,            // a read that began before the look proves what the look saw
  kHalfRead,          // a read proves it although not all that it brought was handed out
  kNoBurial,          // the book of events does not hear of deaths
  kLateStart,         // a newcomer starts at the end of the ring, not where its slot was announced
  kGapForgotten,      // what a full queue has refused is told to nobody
};
inline constexpr Canary kCanaries[] = {
    Canary::kNoDrain,         Canary::kLateDrain,        Canary::kNoDestinationGeneration,
    Canary::kSwallowedMemory, Canary::kNoDeathNotice,    Canary::kEarlyBarrier,
    Canary::kNoticeLost,      Canary::kClaimBeforeWrite, Canary::kClaimToldEarly,
    Canary::kNoClaimTold,     Canary::kNoRead,           Canary::kHalfRead,
    Canary::kNoBurial,        Canary::kClaimToldOnce,    Canary::kOwnAtOnce,
    Canary::kLateStart,       Canary::kGapForgotten,
};

inline std::string_view ToString(Canary canary) {
  switch (canary) {
    case Canary::kNone:
      return "none";
    case Canary::kNoDrain:
      return "no drain";
    case Canary::kLateDrain:
      return "late drain";
    case Canary::kNoDestinationGeneration:
      return "no destination generation";
    case Canary::kSwallowedMemory:
      return "swallowed ENOMEM";
    case Canary::kNoDeathNotice:
      return "no death notice";
    case Canary::kEarlyBarrier:
      return "barrier too early";
    case Canary::kNoticeLost:
      return "notice lost on a full pipe";
    case Canary::kClaimBeforeWrite:
      return "claim before the write";
    case Canary::kClaimToldEarly:
      return "claim told too early";
    case Canary::kNoClaimTold:
      return "claim told to nobody";
    case Canary::kNoRead:
      return "no read after the look";
    case Canary::kHalfRead:
      return "read not handed out";
    case Canary::kNoBurial:
      return "death not told to events";
    case Canary::kClaimToldOnce:
      return "claim not told again";
    case Canary::kOwnAtOnce:
      return "own events at once";
    case Canary::kLateStart:
      return "newcomer starts late in the order";
    case Canary::kGapForgotten:
      return "gap forgotten";
  }
  return "";
}

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_CANARY_H_
