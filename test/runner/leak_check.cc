// SPDX-License-Identifier: Apache-2.0
#include "runner/leak_check.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace alertpipe::runner {
namespace {

constexpr int kEscapedExitCode = 99;

}  // namespace

LeakCheck::LeakCheck(std::string escape_mark, bool judges_growth)
    : owner_(getpid()),
      escape_mark_(std::move(escape_mark)),
      judges_growth_(judges_growth),
      outer_descriptors_(ReadDescriptors()),
      outer_children_(ReadChildren()) {
  growths_.push_back({"heap", Check::kHeap, &HeapBytes});
  growths_.push_back({"mappings", Check::kMappings, &MappingBytes});
  // Nothing that outlives a measurement may be allocated between two of them.
  for (Growth& growth : growths_) growth.by_run.reserve(kRunsMax);
}

void LeakCheck::OnTestStart(const testing::TestInfo& /*info*/) {
  descriptors_ = ReadDescriptors();
  children_ = ReadChildren();
  if (!judges_growth_) return;
  // The heap comes last here and first at the end, so that it sees none of the other checks.
  for (auto growth = growths_.rbegin(); growth != growths_.rend(); ++growth) {
    growth->before = growth->measure();
  }
}

void LeakCheck::OnTestEnd(const testing::TestInfo& info) {
  if (getpid() != owner_) EndEscapedProcess();
  if (judges_growth_) {
    for (Growth& growth : growths_) growth.by_run.push_back(growth.measure() - growth.before);
  }
  ++runs_;
  needs_another_run_ = false;
  const char* const suite = info.test_suite_name();
  checks_descriptors_ = !IsAllowed(suite, info.name(), Check::kDescriptors);
  checks_children_ = !IsAllowed(suite, info.name(), Check::kChildren);
  for (const std::string& line : TakeLeftovers(descriptors_, children_))
    ADD_FAILURE_AT(info.file(), info.line()) << line;
  if (judges_growth_ && info.result()->Passed() && !info.result()->Skipped()) JudgeGrowth(info);
}

void LeakCheck::EndEscapedProcess() const {
  std::fprintf(stderr, "pid %d was forked by the case and came out of its body\n", getpid());
  if (!escape_mark_.empty()) {
    const int mark = open(escape_mark_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (mark >= 0) close(mark);
  }
  _exit(kEscapedExitCode);
}

std::vector<std::string> LeakCheck::TakeOuterLeftovers() const {
  return TakeLeftovers(outer_descriptors_, outer_children_);
}

std::vector<std::string> LeakCheck::TakeLeftovers(const Descriptors& descriptors,
                                                  const std::set<pid_t>& children) const {
  std::vector<std::string> lines;
  if (checks_descriptors_) lines = CompareDescriptors(descriptors, ReadDescriptors());
  if (checks_children_) {
    for (std::string& line : TakeNewChildren(children)) lines.push_back(std::move(line));
  }
  return lines;
}

void LeakCheck::JudgeGrowth(const testing::TestInfo& info) {
  for (const Growth& growth : growths_) {
    if (IsAllowed(info.test_suite_name(), info.name(), growth.check)) continue;
    const auto grew = [](int64_t bytes) { return bytes > 0; };
    if (!std::all_of(growth.by_run.begin(), growth.by_run.end(), grew)) continue;
    if (runs_ < kRunsMax) {
      needs_another_run_ = true;
      continue;
    }
    ADD_FAILURE_AT(info.file(), info.line())
        << absl::StrCat("the ", growth.what, " grew in each of ", runs_,
                        " runs in one process, in bytes: ", absl::StrJoin(growth.by_run, ", "));
  }
}

}  // namespace alertpipe::runner
