// SPDX-License-Identifier: Apache-2.0
#include "runner/verdict.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace alertpipe::runner {
namespace {

constexpr char kRunnerType[] = "runner";
constexpr int64_t kOutputShownMax = 64 << 10;

// XML 1.0 has no place for most control characters and for bytes that are not UTF-8, not even
// escaped, and Meson refuses a whole report for one of them. pugixml's decoder drops the latter.
std::string PrintableText(const char* text) {
  std::string clean = pugi::as_utf8(pugi::as_wide(text));
  std::replace_if(
      clean.begin(), clean.end(),
      [](unsigned char c) { return c < ' ' && c != '\n' && c != '\t' && c != '\r'; }, '?');
  return clean;
}

void CleanTree(pugi::xml_node node) {
  for (pugi::xml_attribute attribute : node.attributes()) {
    attribute.set_value(PrintableText(attribute.value()).c_str());
  }
  if (*node.value() != '\0') node.set_value(PrintableText(node.value()).c_str());
  for (pugi::xml_node child : node.children()) CleanTree(child);
}

// Takes over the case and, as further failures of it, whatever failed around it: GoogleTest
// reports a failed environment as a nameless case. Returns whether GoogleTest reported the case.
bool TakeGoogleTestResult(const testing::TestInfo& info, const CaseFolder& folder,
                          pugi::xml_document* verdict) {
  pugi::xml_document result;
  if (!result.load_file(folder.result.c_str())) return false;
  std::vector<pugi::xml_node> others;
  for (const pugi::xpath_node& found : result.select_nodes("//testcase")) {
    const pugi::xml_node node = found.node();
    if (std::string_view(node.attribute("name").value()) == info.name() &&
        std::string_view(node.attribute("classname").value()) == info.test_suite_name()) {
      verdict->append_copy(node);
    } else {
      others.push_back(node);
    }
  }
  pugi::xml_node test_case = verdict->first_child();
  if (!test_case) return false;
  for (const pugi::xml_node& other : others) {
    for (const pugi::xml_node& failure : other.children("failure")) {
      test_case.append_copy(failure);
    }
  }
  return true;
}

}  // namespace

std::string FullName(const testing::TestInfo& info) {
  return absl::StrCat(info.test_suite_name(), ".", info.name());
}

void FillTestCase(const testing::TestInfo& info, double seconds, pugi::xml_node test_case) {
  const auto set = [&](const char* name, const std::string& value) {
    test_case.append_attribute(name).set_value(value.c_str());
  };
  set("name", info.name());
  if (info.type_param() != nullptr) set("type_param", info.type_param());
  if (info.value_param() != nullptr) set("value_param", info.value_param());
  set("file", info.file());
  set("line", absl::StrCat(info.line()));
  set("status", info.should_run() ? "run" : "notrun");
  set("result", info.should_run() ? "completed" : "suppressed");
  set("time", absl::StrFormat("%.3f", seconds));
  set("timestamp", "");
  set("classname", info.test_suite_name());
}

void AddFinding(const std::string& message, pugi::xml_node test_case) {
  pugi::xml_node failure = test_case.append_child("failure");
  failure.append_attribute("message").set_value(message.c_str());
  failure.append_attribute("type").set_value(kRunnerType);
  failure.append_child(pugi::node_cdata).set_value(message.c_str());
}

bool WriteVerdict(const testing::TestInfo& info, const CaseFolder& folder, const CaseEnd& end) {
  pugi::xml_document verdict;
  const bool reported = TakeGoogleTestResult(info, folder, &verdict);
  if (!reported) FillTestCase(info, end.seconds, verdict.append_child("testcase"));
  pugi::xml_node test_case = verdict.first_child();
  for (const std::string& finding : end.findings) AddFinding(finding, test_case);
  if (!test_case.child("failure") && end.exit_code != 0) {
    AddFinding(absl::StrCat("ended with exit code ", end.exit_code,
                            " although no assertion of the case failed, see its output"),
               test_case);
  } else if (!test_case.child("failure") && !reported) {
    AddFinding("ended with exit code 0 before GoogleTest had reported the case", test_case);
  }
  if (test_case.child("failure")) {
    test_case.append_child("system-out")
        .append_child(pugi::node_cdata)
        .set_value(ReadOutput(folder).c_str());
  }
  CleanTree(test_case);
  return verdict.save_file(folder.verdict.c_str());
}

Outcome OutcomeOf(const pugi::xml_node& test_case) {
  if (test_case.child("failure")) return Outcome::kFailed;
  return test_case.child("skipped") ? Outcome::kSkipped : Outcome::kPassed;
}

std::string SkipReason(const pugi::xml_node& test_case) {
  const std::string message = test_case.child("skipped").attribute("message").value();
  const size_t end_of_location = message.find('\n');
  return end_of_location == std::string::npos ? message : message.substr(end_of_location + 1);
}

std::vector<std::string> RunnerFindings(const pugi::xml_node& test_case) {
  std::vector<std::string> findings;
  for (const pugi::xml_node& failure : test_case.children("failure")) {
    if (std::string_view(failure.attribute("type").value()) != kRunnerType) continue;
    findings.emplace_back(failure.attribute("message").value());
  }
  return findings;
}

std::string ReadOutput(const CaseFolder& folder) {
  std::ifstream file(folder.output, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const int64_t size = file.tellg();
  const int64_t shown = std::min(size, kOutputShownMax);
  std::string text(static_cast<size_t>(shown), '\0');
  file.seekg(size - shown);
  file.read(text.data(), shown);
  text.resize(static_cast<size_t>(file.gcount()));
  if (shown == size) return text;
  return absl::StrCat("[", size - shown, " bytes of output left out]\n", text);
}

}  // namespace alertpipe::runner
