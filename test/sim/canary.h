// SPDX-License-Identifier: Apache-2.0
//
// Rules that the environment can be told to break, one at a time: what the master's system calls,
// the pipes and the driver do around the core, never the core itself. A simulator that does not
// notice proves nothing.
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
};
inline constexpr Canary kCanaries[] = {
    Canary::kNoDrain,         Canary::kLateDrain,     Canary::kNoDestinationGeneration,
    Canary::kSwallowedMemory, Canary::kNoDeathNotice, Canary::kEarlyBarrier,
    Canary::kNoticeLost,
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
  }
  return "";
}

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_CANARY_H_
