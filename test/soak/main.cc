// SPDX-License-Identifier: Apache-2.0
//
// The soak of one family: see Usage in settings.cc, and soak.py, which runs it at all capacities.
#include <cstdio>
#include <string>

#include "director.h"
#include "settings.h"

int main(int argc, char** argv) {
  alertpipe::soak::Settings settings;
  const std::string trouble = alertpipe::soak::ReadSettings(argc, argv, &settings);
  if (!trouble.empty()) {
    std::fprintf(stderr, "soak: %s\n%s", trouble.c_str(), alertpipe::soak::Usage());
    return 2;
  }
  alertpipe::soak::Director director(settings);
  const std::string cannot = director.Begin();
  if (!cannot.empty()) {
    std::fprintf(stderr, "soak: %s\n", cannot.c_str());
    return 2;
  }
  director.Run();
  director.Finish();
  director.Report();
  return director.sound() ? 0 : 1;
}
