// SPDX-License-Identifier: Apache-2.0
#include "runner/report.h"

#include <absl/strings/str_format.h>

#include <string_view>

#include "runner/verdict.h"

namespace alertpipe::runner {
namespace {

struct Totals {
  int tests = 0;
  int failures = 0;
  int disabled = 0;
  int skipped = 0;
  double seconds = 0;

  void Add(const Totals& other) {
    tests += other.tests;
    failures += other.failures;
    disabled += other.disabled;
    skipped += other.skipped;
    seconds += other.seconds;
  }
};

Totals CountCases(const pugi::xml_node& suite) {
  Totals totals;
  for (const pugi::xml_node& test_case : suite.children("testcase")) {
    const Outcome outcome = OutcomeOf(test_case);
    ++totals.tests;
    if (outcome == Outcome::kFailed) ++totals.failures;
    if (outcome == Outcome::kSkipped) ++totals.skipped;
    if (std::string_view(test_case.attribute("status").value()) == "notrun") ++totals.disabled;
    totals.seconds += test_case.attribute("time").as_double();
  }
  return totals;
}

void Set(pugi::xml_node node, const char* name, const std::string& value) {
  pugi::xml_attribute attribute = node.attribute(name);
  if (!attribute) attribute = node.append_attribute(name);
  attribute.set_value(value.c_str());
}

void SetTotals(pugi::xml_node node, const Totals& totals) {
  Set(node, "tests", absl::StrFormat("%d", totals.tests));
  Set(node, "failures", absl::StrFormat("%d", totals.failures));
  Set(node, "disabled", absl::StrFormat("%d", totals.disabled));
  Set(node, "errors", "0");
  Set(node, "time", absl::StrFormat("%.3f", totals.seconds));
}

}  // namespace

Report::Report(const std::string& timestamp) : timestamp_(timestamp) {
  pugi::xml_node declaration = document_.append_child(pugi::node_declaration);
  Set(declaration, "version", "1.0");
  Set(declaration, "encoding", "UTF-8");
  document_.append_child("testsuites");
}

pugi::xml_node Report::SuiteOf(const testing::TestInfo& info) {
  pugi::xml_node root = document_.child("testsuites");
  const pugi::xml_node known =
      root.find_child_by_attribute("testsuite", "name", info.test_suite_name());
  if (known) return known;
  pugi::xml_node suite = root.append_child("testsuite");
  Set(suite, "name", info.test_suite_name());
  return suite;
}

void Report::Add(const testing::TestInfo& info, const pugi::xml_node& test_case) {
  pugi::xml_node suite = SuiteOf(info);
  const pugi::xml_node old = suite.find_child_by_attribute("testcase", "name", info.name());
  if (!old) {
    suite.append_copy(test_case);
  } else if (OutcomeOf(old) != Outcome::kFailed) {
    suite.insert_copy_before(test_case, old);
    suite.remove_child(old);
  }
}

void Report::AddDisabled(const testing::TestInfo& info) {
  pugi::xml_document document;
  FillTestCase(info, 0, document.append_child("testcase"));
  Add(info, document.first_child());
}

void Report::Count() {
  pugi::xml_node root = document_.child("testsuites");
  Totals all;
  for (pugi::xml_node suite : root.children("testsuite")) {
    const Totals totals = CountCases(suite);
    SetTotals(suite, totals);
    Set(suite, "skipped", absl::StrFormat("%d", totals.skipped));
    Set(suite, "timestamp", timestamp_);
    all.Add(totals);
  }
  SetTotals(root, all);
  Set(root, "timestamp", timestamp_);
  Set(root, "name", "AllTests");
}

bool Report::Write(const std::string& path) {
  Count();
  return document_.save_file(path.c_str(), "  ");
}

}  // namespace alertpipe::runner
