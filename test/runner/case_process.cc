// SPDX-License-Identifier: Apache-2.0
//
// RUN_ALL_TESTS is called again for the runs that leak_check.h explains. GoogleTest advises
// against that on account of thread-safe death tests, whose child finds its place by counting; the
// child of one here never gets past the first call, so its count is right.
#include "runner/case_process.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "runner/leak_check.h"
#include "runner/test_case.h"

namespace alertpipe::runner {
namespace {

constexpr char kFolderFlag[] = "--alertpipe_case=";
constexpr char kTunables[] = "GLIBC_TUNABLES";
constexpr char kSavedTunables[] = "ALERTPIPE_SAVED_TUNABLES";
constexpr char kExactHeap[] = "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1";

// The case sees the environment that its caller gave.
void RestoreEnvironment() {
  const char* const saved = std::getenv(kSavedTunables);
  if (saved == nullptr) {
    unsetenv(kTunables);
  } else {
    setenv(kTunables, saved, 1);
    unsetenv(kSavedTunables);
  }
}

void WriteRunStart(const CaseFolder& folder) {
  std::ofstream(folder.run_start) << MonotonicNanoseconds();
}

// Returns the listener, which GoogleTest owns.
LeakCheck* InstallLeakCheck(std::string escape_mark, bool judges_growth) {
  auto* const check = new LeakCheck(std::move(escape_mark), judges_growth);
  testing::UnitTest::GetInstance()->listeners().Append(check);
  return check;
}

}  // namespace

std::optional<std::string> FindCaseFolder(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument.rfind(kFolderFlag, 0) == 0) return argument.substr(sizeof(kFolderFlag) - 1);
  }
  return std::nullopt;
}

std::string CaseFolderFlag(const std::string& folder) { return kFolderFlag + folder; }

void SetCaseEnvironment() {
  const char* const tunables = std::getenv(kTunables);
  if (tunables == nullptr) {
    setenv(kTunables, kExactHeap, 1);
  } else {
    setenv(kSavedTunables, tunables, 1);
    setenv(kTunables, absl::StrCat(tunables, ":", kExactHeap).c_str(), 1);
  }
  // The supervisor has chosen the cases already.
  for (const char* name : {"GTEST_TOTAL_SHARDS", "GTEST_SHARD_INDEX", "GTEST_SHARD_STATUS_FILE"}) {
    unsetenv(name);
  }
}

int64_t MonotonicNanoseconds() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t ReadRunStart(const CaseFolder& folder) {
  std::string text;
  std::ifstream(folder.run_start) >> text;
  int64_t start = 0;
  return absl::SimpleAtoi(text, &start) ? start : 0;
}

int RunCase(const std::string& folder_path) {
  const CaseFolder folder(folder_path);
  RestoreEnvironment();
  RunWarmUps();
  const LeakCheck* const check = InstallLeakCheck(folder.escape_mark, IsHeapMeasurable());
  int exit_code = 0;
  do {
    WriteRunStart(folder);
    exit_code = RUN_ALL_TESTS();
  } while (exit_code == 0 && check->NeedsAnotherRun());
  if (!check->HasRun()) {
    std::fprintf(stderr, "GoogleTest ended without running the case\n");
    return EXIT_FAILURE;
  }
  if (exit_code != 0) return exit_code;
  const std::vector<std::string> leftovers = check->TakeOuterLeftovers();
  for (const std::string& line : leftovers) {
    std::fprintf(stderr, "after the suite and the environments: %s\n", line.c_str());
  }
  return leftovers.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

int RunDirectly() {
  RunWarmUps();
  const LeakCheck* const check = InstallLeakCheck("", /*judges_growth=*/false);
  const int exit_code = RUN_ALL_TESTS();
  if (!check->HasRun() && testing::UnitTest::GetInstance()->reportable_disabled_test_count() == 0) {
    std::fprintf(stderr, "no case has run\n");
    return EXIT_FAILURE;
  }
  return exit_code;
}

}  // namespace alertpipe::runner
