// SPDX-License-Identifier: Apache-2.0
//
// What the environment says about how to run. Everything else is GoogleTest's own flags.
#ifndef ALERTPIPE_RUNNER_SETTINGS_H_
#define ALERTPIPE_RUNNER_SETTINGS_H_

#include <optional>

namespace alertpipe::runner {

struct Settings {
  bool direct = false;      // ALERTPIPE_DIRECT: no fork, no time limit; for gdb and valgrind.
  bool verbose = false;     // ALERTPIPE_VERBOSE: show the output of cases that pass, too.
  int repeat = 1;           // ALERTPIPE_REPEAT: run each case so often, stop at its first failure.
  int jobs = 1;             // ALERTPIPE_JOBS: cases at once.
  double time_scale = 1.0;  // ALERTPIPE_TIME_SCALE: factor on time limits, for slow builds.
};

// Nothing when a variable is not understood, which has then been said on standard error.
std::optional<Settings> ReadSettings();

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_SETTINGS_H_
