// SPDX-License-Identifier: Apache-2.0
#include "runner/case_list.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace alertpipe::runner {
namespace {

// Lets GoogleTest evaluate its filter. The only way to that is to have it list the cases, which
// goes to standard output.
void ApplyFilter() {
  const std::string output = GTEST_FLAG_GET(output);
  GTEST_FLAG_SET(output, "");
  GTEST_FLAG_SET(list_tests, true);
  std::fflush(stdout);
  const int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(nowhere, STDOUT_FILENO);
  [[maybe_unused]] const int listed = RUN_ALL_TESTS();
  std::fflush(stdout);
  if (saved >= 0) dup2(saved, STDOUT_FILENO);
  close(saved);
  close(nowhere);
  GTEST_FLAG_SET(list_tests, false);
  GTEST_FLAG_SET(output, output);
}

}  // namespace

std::vector<const testing::TestInfo*> SelectCases() {
  ApplyFilter();
  std::vector<const testing::TestInfo*> cases;
  const testing::UnitTest& unit_test = *testing::UnitTest::GetInstance();
  for (int i = 0; i < unit_test.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *unit_test.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      if (suite.GetTestInfo(j)->is_reportable()) cases.push_back(suite.GetTestInfo(j));
    }
  }
  return cases;
}

std::optional<std::string> ReportPath(const std::string& executable) {
  const std::string output = GTEST_FLAG_GET(output);
  if (output.empty()) return "";
  const size_t colon = output.find(':');
  if (output.substr(0, colon) != "xml") return std::nullopt;
  std::filesystem::path path = "test_detail.xml";
  if (colon != std::string::npos) path = output.substr(colon + 1);
  if (!path.has_filename()) path /= std::filesystem::path(executable).filename() += ".xml";
  return std::filesystem::absolute(path).string();
}

}  // namespace alertpipe::runner
