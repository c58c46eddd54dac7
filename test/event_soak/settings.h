// SPDX-License-Identifier: Apache-2.0
//
// What an event soak is asked to do.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_SETTINGS_H_
#define ALERTPIPE_TEST_EVENT_SOAK_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace alertpipe::event_soak {

// What the keeper does wrong on purpose: the books must show exactly that.
enum class Canary : std::uint8_t {
  kNone,
  kSwap,       // ordered events of two publishers change places, some of them
  kLose,       // one that was handed out is not written down
  kDuplicate,  // one is written down twice
  kGap,        // a gap is written down as one event less
  kUnique,     // a unique event is written down twice
  kHang,       // it stops in a callback
  kDie,        // it ends
};

struct Settings {
  // Ordered events to publish in the first phase, a tenth of that in the second. 0: until the time
  // is over.
  std::uint64_t events = 0;
  double seconds = 0;       // for all; 0: 60, or 900 if there are targets
  std::uint64_t races = 0;  // for unique keys; 0: 1,000
  int workers = 16;
  int publishers = 8;
  std::uint64_t seed = 1;
  // Phases that are run.
  bool order = true;
  bool speed = true;
  bool unique = true;
  std::size_t capacity = 65536;         // of a pipe
  std::uint64_t round_events = 200000;  // ordered ones
  unsigned kill_ms = 80;                // between two kills, on an average; 0: none
  unsigned stop_ms = 60;
  double patience_seconds = 30;  // how long anything that must happen may take
  double stall_seconds = 5;      // how old the news of a worker that runs may be
  // How many of a hundred events may be gaps under light load. All, in small pipes or where
  // everything is slow.
  unsigned gap_percent = 1;
  bool json = false;
  bool help = false;
  Canary canary = Canary::kNone;
};

// Reads the options, ALERTPIPE_SOAK_CANARY and ALERTPIPE_TIME_SCALE. An empty string, or what is
// wrong.
std::string ReadSettings(int argc, char** argv, Settings* settings);
const char* Usage();

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_SETTINGS_H_
