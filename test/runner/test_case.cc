// SPDX-License-Identifier: Apache-2.0
//
// The options live in plain vectors behind functions, because the macros fill them during static
// initialisation, in any order of the executable's files.
#include "runner/test_case.h"

#include <gtest/gtest.h>

#include <optional>

namespace alertpipe::runner {
namespace {

constexpr int kTimeLimitSecondsDefault = 60;

struct CaseOption {
  std::string suite;
  std::string test_case;
  std::optional<int> seconds;
  std::optional<Check> check;
};

std::vector<CaseOption>& Options() {
  static auto* const options = new std::vector<CaseOption>();
  return *options;
}

std::vector<void (*)()>& WarmUps() {
  static auto* const functions = new std::vector<void (*)()>();
  return *functions;
}

std::string_view WithoutDisabled(std::string_view name) {
  constexpr std::string_view kDisabled = "DISABLED_";
  if (name.substr(0, kDisabled.size()) == kDisabled) name.remove_prefix(kDisabled.size());
  return name;
}

// GoogleTest decorates names: "Prefix/Suite" and "Case/3" for TEST_P, "Suite/0" for TYPED_TEST.
bool HasSegment(std::string_view full_name, std::string_view wanted) {
  while (true) {
    const size_t slash = full_name.find('/');
    if (WithoutDisabled(full_name.substr(0, slash)) == wanted) return true;
    if (slash == std::string_view::npos) return false;
    full_name.remove_prefix(slash + 1);
  }
}

bool Matches(const CaseOption& option, std::string_view suite, std::string_view test_case) {
  const std::string_view base_name = test_case.substr(0, test_case.find('/'));
  return WithoutDisabled(base_name) == option.test_case && HasSegment(suite, option.suite);
}

bool MatchesAnyCase(const CaseOption& option) {
  const testing::UnitTest& unit_test = *testing::UnitTest::GetInstance();
  for (int i = 0; i < unit_test.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *unit_test.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      if (Matches(option, suite.name(), suite.GetTestInfo(j)->name())) return true;
    }
  }
  return false;
}

}  // namespace

bool SetTimeLimit(std::string_view suite, std::string_view test_case, int seconds) {
  Options().push_back({std::string(suite), std::string(test_case), seconds, std::nullopt});
  return true;
}

bool Allow(std::string_view suite, std::string_view test_case, Check check) {
  Options().push_back({std::string(suite), std::string(test_case), std::nullopt, check});
  return true;
}

bool AddWarmUp(void (*function)()) {
  WarmUps().push_back(function);
  return true;
}

int TimeLimitSeconds(std::string_view suite, std::string_view test_case) {
  for (const CaseOption& option : Options()) {
    if (option.seconds.has_value() && Matches(option, suite, test_case)) return *option.seconds;
  }
  return kTimeLimitSecondsDefault;
}

bool IsAllowed(std::string_view suite, std::string_view test_case, Check check) {
  for (const CaseOption& option : Options()) {
    if (option.check == check && Matches(option, suite, test_case)) return true;
  }
  return false;
}

void RunWarmUps() {
  for (void (*function)() : WarmUps()) function();
}

std::vector<std::string> UnmatchedOptions() {
  std::vector<std::string> names;
  for (const CaseOption& option : Options()) {
    if (!MatchesAnyCase(option)) names.push_back(option.suite + "." + option.test_case);
  }
  return names;
}

}  // namespace alertpipe::runner
