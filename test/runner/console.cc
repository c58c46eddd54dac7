// SPDX-License-Identifier: Apache-2.0
#include "runner/console.h"

#include <cstdio>

namespace alertpipe::runner {
namespace {

void ShowBlock(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty() && text.back() != '\n') std::fputc('\n', stdout);
}

}  // namespace

void Console::ShowStart(const std::string& name) const {
  std::printf("[ RUN      ] %s\n", name.c_str());
  std::fflush(stdout);
}

void Console::ShowDisabled(const std::string& name) {
  ++disabled_;
  std::printf("[ DISABLED ] %s\n", name.c_str());
}

void Console::ShowVerdict(const std::string& name, const pugi::xml_node& test_case,
                          const std::string& output) {
  const int milliseconds = static_cast<int>(test_case.attribute("time").as_double() * 1000 + 0.5);
  const Outcome outcome = OutcomeOf(test_case);
  if (verbose_ || outcome == Outcome::kFailed) ShowBlock(output);
  switch (outcome) {
    case Outcome::kPassed:
      ++passed_;
      std::printf("[       OK ] %s (%d ms)\n", name.c_str(), milliseconds);
      break;
    case Outcome::kSkipped:
      ++skipped_;
      std::printf("[  SKIPPED ] %s (%d ms): %s\n", name.c_str(), milliseconds,
                  SkipReason(test_case).c_str());
      break;
    case Outcome::kFailed:
      failed_.push_back(name);
      for (const std::string& finding : RunnerFindings(test_case)) {
        std::printf("%s %s\n", name.c_str(), finding.c_str());
      }
      std::printf("[  FAILED  ] %s (%d ms)\n", name.c_str(), milliseconds);
      break;
  }
  std::fflush(stdout);
}

bool Console::ShowSummary() const {
  std::printf("[==========] %zu runs\n",
              static_cast<size_t>(passed_) + static_cast<size_t>(skipped_) + failed_.size());
  std::printf("[  PASSED  ] %d\n", passed_);
  if (skipped_ > 0) std::printf("[  SKIPPED ] %d\n", skipped_);
  if (disabled_ > 0) std::printf("[ DISABLED ] %d\n", disabled_);
  if (!failed_.empty()) std::printf("[  FAILED  ] %zu:\n", failed_.size());
  for (const std::string& name : failed_) std::printf("[  FAILED  ] %s\n", name.c_str());
  std::fflush(stdout);
  return failed_.empty();
}

}  // namespace alertpipe::runner
