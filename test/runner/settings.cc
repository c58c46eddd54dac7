// SPDX-License-Identifier: Apache-2.0
#include "runner/settings.h"

#include <absl/strings/numbers.h>

#include <cstdio>
#include <cstdlib>

namespace alertpipe::runner {
namespace {

constexpr double kRepeatMax = 1e6;
constexpr double kJobsMax = 256;
constexpr double kTimeScaleMin = 0.01;
constexpr double kTimeScaleMax = 1000;

// Leaves `value` alone when the variable is unset or empty.
bool ReadNumber(const char* name, double min, double max, double* value) {
  const char* const text = std::getenv(name);
  if (text == nullptr || *text == '\0') return true;
  if (absl::SimpleAtod(text, value) && *value >= min && *value <= max) return true;
  std::fprintf(stderr, "%s is %s, but must be a number from %g to %g\n", name, text, min, max);
  return false;
}

}  // namespace

std::optional<Settings> ReadSettings() {
  double direct = 0, verbose = 0, repeat = 1, jobs = 1, time_scale = 1;
  const bool good = ReadNumber("ALERTPIPE_DIRECT", 0, 1, &direct) &&
                    ReadNumber("ALERTPIPE_VERBOSE", 0, 1, &verbose) &&
                    ReadNumber("ALERTPIPE_REPEAT", 1, kRepeatMax, &repeat) &&
                    ReadNumber("ALERTPIPE_JOBS", 1, kJobsMax, &jobs) &&
                    ReadNumber("ALERTPIPE_TIME_SCALE", kTimeScaleMin, kTimeScaleMax, &time_scale);
  if (!good) return std::nullopt;
  Settings settings;
  settings.direct = direct != 0;
  settings.verbose = verbose != 0;
  settings.repeat = static_cast<int>(repeat);
  settings.jobs = static_cast<int>(jobs);
  settings.time_scale = time_scale;
  return settings;
}

}  // namespace alertpipe::runner
