// SPDX-License-Identifier: Apache-2.0
//
// What a soak is asked to do: one family, one capacity.
#ifndef ALERTPIPE_TEST_SOAK_SETTINGS_H_
#define ALERTPIPE_TEST_SOAK_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace alertpipe::soak {

// What a worker does wrong on purpose, once: the books must show exactly that.
enum class Canary : std::uint8_t {
  kNone,
  kDrop,        // an alert that was delivered is not counted
  kDuplicate,   // one is counted twice
  kReorder,     // two change places
  kCorrupt,     // a bit of one is flipped
  kMisdeliver,  // one of somebody else's turns up
  kInvent,      // one that was never sent turns up
  kLate,        // one of a dead worker turns up when its account is closed
  kForget,      // one that came back is not counted
  kHang,        // the worker stops making progress
  kDie,         // it ends
  kLeak,        // it keeps memory at every quiet point
  kHasty,       // it is being replaced, and ends without draining
  kDescriptor,  // it keeps descriptors
};

struct Settings {
  std::size_t capacity = 65536;
  double seconds = 10;
  // Targets: the soak ends when all are reached; 0: no limit but the time.
  std::uint64_t kills = 0;
  std::uint64_t alerts = 0;  // settled between pairs that both lived
  std::uint64_t replacements = 0;
  std::uint64_t seed = 1;
  // Phases that are run.
  bool kill = true;
  bool stream = true;
  bool replace = true;
  int workers = 8;
  // The longest that a round may take before everybody comes to rest.
  double round_seconds = 4;
  // How long anything that must happen may take.
  double patience_seconds = 30;
  Canary canary = Canary::kNone;
};

// Reads the options and ALERTPIPE_SOAK_CANARY. An empty string, or what is wrong.
std::string ReadSettings(int argc, char** argv, Settings* settings);
const char* Usage();

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_SETTINGS_H_
