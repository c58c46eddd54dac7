// SPDX-License-Identifier: Apache-2.0
//
// The main of all test executables. Started by a person or by Meson it supervises: each case runs
// in a process of its own, under a time limit and leak checks. Started by itself it runs one case.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "runner/case_process.h"
#include "runner/settings.h"
#include "runner/supervisor.h"

namespace {

// --help and --gtest_list_tests only print something.
bool OnlyPrints(const std::vector<std::string>& arguments) {
  const auto asks_for_help = [](const std::string& argument) {
    return argument == "--help" || argument == "-h" || argument == "-?" || argument == "/?" ||
           argument == "--gtest_help";
  };
  return GTEST_FLAG_GET(list_tests) ||
         std::any_of(arguments.begin(), arguments.end(), asks_for_help);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  testing::InitGoogleTest(&argc, argv);
  if (OnlyPrints(arguments)) return RUN_ALL_TESTS();
  const std::optional<std::string> folder = alertpipe::runner::FindCaseFolder(arguments);
  if (folder.has_value()) return alertpipe::runner::RunCase(*folder);
  const std::optional<alertpipe::runner::Settings> settings = alertpipe::runner::ReadSettings();
  if (!settings.has_value()) return 2;
  if (settings->direct) return alertpipe::runner::RunDirectly();
  return alertpipe::runner::Supervise(*settings, arguments);
}
