// SPDX-License-Identifier: Apache-2.0
//
// The verdict on one case: GoogleTest's own <testcase> element plus what the runner found. The
// warden writes it to a file, the supervisor reads it back and merges it into the report.
//
// The XML goes through pugixml instead of being written anew from a listener, so that everything
// GoogleTest records (properties, parameters, files, lines) stays as GoogleTest writes it, in this
// version and in later ones, and so that whatever a case prints gives a well-formed report.
#ifndef ALERTPIPE_RUNNER_VERDICT_H_
#define ALERTPIPE_RUNNER_VERDICT_H_

#include <gtest/gtest.h>

#include <pugixml.hpp>
#include <string>
#include <vector>

#include "runner/case_process.h"

namespace alertpipe::runner {

enum class Outcome { kPassed, kFailed, kSkipped };

struct CaseEnd {
  double seconds = 0;
  int exit_code = 0;                  // 0 as well when a signal ended it.
  std::vector<std::string> findings;  // Failures that the runner found.
};

// "Suite.Case", as in filters.
std::string FullName(const testing::TestInfo& info);

// A <testcase> of a case that GoogleTest has not reported.
void FillTestCase(const testing::TestInfo& info, double seconds, pugi::xml_node test_case);

// Adds a failure that the runner found.
void AddFinding(const std::string& message, pugi::xml_node test_case);

// Writes folder.verdict. Returns false when that is impossible.
bool WriteVerdict(const testing::TestInfo& info, const CaseFolder& folder, const CaseEnd& end);

Outcome OutcomeOf(const pugi::xml_node& test_case);

// GoogleTest's reason of a skipped case, without file and line.
std::string SkipReason(const pugi::xml_node& test_case);

// The failures that the runner added.
std::vector<std::string> RunnerFindings(const pugi::xml_node& test_case);

// The end of what the case printed, bounded.
std::string ReadOutput(const CaseFolder& folder);

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_VERDICT_H_
