// SPDX-License-Identifier: Apache-2.0
//
// The listener that compares what the process holds before and after a case. It runs outside the
// fixture: before its constructor and after its destructor.
//
// Descriptors and children are exact: one more than before is a failure. What a library keeps open
// once per process belongs into an ALERTPIPE_WARM_UP.
//
// Heap and mappings cannot be exact, because stdio, locales, GoogleTest, abseil and thread stacks
// fill caches at first use and keep them. A cache stops growing, a leak does not. So a case that
// grew is run again in the same process, and again, up to kRunsMax times; the first run that does
// not grow acquits it, and growth in every run convicts it. A good case thus runs once or twice,
// only a leaking one runs kRunsMax times. The first run cannot convict. The runner starts case
// processes without malloc's per-thread caches and with one arena, since mallinfo2 counts what is
// parked in them as in use and a threaded case would grow by chance. What is left of chance is
// malloc rounding a block up by 16 bytes or not, by what happens to lie free; hence several runs.
//
// A process that a case forks and that comes out of the test body would report the case a second
// time. It is ended here and leaves a mark.
#ifndef ALERTPIPE_RUNNER_LEAK_CHECK_H_
#define ALERTPIPE_RUNNER_LEAK_CHECK_H_

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "runner/holdings.h"
#include "runner/test_case.h"

namespace alertpipe::runner {

class LeakCheck : public testing::EmptyTestEventListener {
 public:
  static constexpr int kRunsMax = 5;

  // With an empty `escape_mark` no file marks an escaped process. `judges_growth` asks for the
  // heap and mapping checks, which need the caller to repeat the case while NeedsAnotherRun().
  LeakCheck(std::string escape_mark, bool judges_growth);

  void OnTestStart(const testing::TestInfo& info) override;
  void OnTestEnd(const testing::TestInfo& info) override;

  bool NeedsAnotherRun() const { return needs_another_run_; }
  bool HasRun() const { return runs_ > 0; }

  // What is left since construction, when GoogleTest is through: leaks of SetUpTestSuite and of
  // environments, which live outside the case. The allowances of the last case hold for it.
  std::vector<std::string> TakeOuterLeftovers() const;

 private:
  struct Growth {
    const char* what;
    Check check;
    int64_t (*measure)();
    int64_t before = 0;
    std::vector<int64_t> by_run = {};
  };

  void EndEscapedProcess() const;
  std::vector<std::string> TakeLeftovers(const Descriptors& descriptors,
                                         const std::set<pid_t>& children) const;
  void JudgeGrowth(const testing::TestInfo& info);

  const pid_t owner_;
  const std::string escape_mark_;
  const bool judges_growth_;
  const Descriptors outer_descriptors_;
  const std::set<pid_t> outer_children_;
  bool checks_descriptors_ = true;
  bool checks_children_ = true;
  int runs_ = 0;
  bool needs_another_run_ = false;
  Descriptors descriptors_;
  std::set<pid_t> children_;
  std::vector<Growth> growths_;
};

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_LEAK_CHECK_H_
