// SPDX-License-Identifier: Apache-2.0
//
// The soak of events: see Usage in settings.cc.
#include <cstdio>
#include <string>

#include "director.h"
#include "settings.h"

int main(int argc, char** argv) {
  alertpipe::event_soak::Settings settings;
  const std::string trouble = alertpipe::event_soak::ReadSettings(argc, argv, &settings);
  if (!trouble.empty() || settings.help) {
    std::fprintf(settings.help ? stdout : stderr, "%s%s%s", trouble.c_str(),
                 trouble.empty() ? "" : "\n", alertpipe::event_soak::Usage());
    return settings.help ? 0 : 2;
  }
  alertpipe::event_soak::Director director(settings);
  const std::string cannot = director.Begin();
  if (!cannot.empty()) {
    std::fprintf(stderr, "soak-events: %s\n", cannot.c_str());
    return 2;
  }
  director.Run();
  director.Finish();
  director.Report();
  return director.sound() ? 0 : 1;
}
