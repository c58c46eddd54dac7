// SPDX-License-Identifier: Apache-2.0
//
// The merged report of all cases, in GoogleTest's XML: testsuites > testsuite > testcase. The
// elements of the cases come from verdicts; the counts and times around them are computed here.
#ifndef ALERTPIPE_RUNNER_REPORT_H_
#define ALERTPIPE_RUNNER_REPORT_H_

#include <gtest/gtest.h>

#include <pugixml.hpp>
#include <string>

namespace alertpipe::runner {

class Report {
 public:
  explicit Report(const std::string& timestamp);

  // Adds a case. Of a case that ran several times the first failure stays, else the last run.
  void Add(const testing::TestInfo& info, const pugi::xml_node& test_case);
  void AddDisabled(const testing::TestInfo& info);

  // Returns false when the file cannot be written.
  bool Write(const std::string& path);

 private:
  pugi::xml_node SuiteOf(const testing::TestInfo& info);
  void Count();

  const std::string timestamp_;
  pugi::xml_document document_;
};

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_REPORT_H_
