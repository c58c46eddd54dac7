// SPDX-License-Identifier: Apache-2.0
//
// What a test tells the runner about its cases. A test needs this header only for the exceptions:
// every case has a time limit of 60 s and every leak check by default.
//
//   TEST(Flood, MillionAlerts) { ... }
//   ALERTPIPE_TIME_LIMIT(Flood, MillionAlerts, 240);
//   ALERTPIPE_ALLOW(Flood, MillionAlerts, kHeap, "fills a table that lives as long as the
//   process");
//
// Suite and case are named as in TEST, TEST_F, TEST_P and TYPED_TEST, without DISABLED_, and stand
// for all instances of a parameterised case. A name without a case is refused at start.
//
// A case runs in a process of its own: main() of the test executable never runs two of them. A
// process that a case forks leaves with _exit or exec and never returns from the test body.
#ifndef ALERTPIPE_RUNNER_TEST_CASE_H_
#define ALERTPIPE_RUNNER_TEST_CASE_H_

#include <string>
#include <string_view>
#include <vector>

namespace alertpipe::runner {

enum class Check {
  kDescriptors,  // Open descriptors after a case are those before it.
  kChildren,     // No child is left, running or unreaped.
  kHeap,         // The heap does not grow with every run.
  kMappings,     // Anonymous and shared memory do not grow with every run.
};

// Ends a case that runs for longer than `seconds` (times ALERTPIPE_TIME_SCALE) and fails it.
#define ALERTPIPE_TIME_LIMIT(suite, test_case, seconds)                              \
  [[maybe_unused]] static const bool alertpipe_time_limit_##suite##_##test_case##_ = \
      ::alertpipe::runner::SetTimeLimit(#suite, #test_case, seconds)

// Turns one check off for one case; the reason is for the reader and may not be empty.
#define ALERTPIPE_ALLOW(suite, test_case, check, reason)                               \
  static_assert(sizeof(reason) > 1, "an allowance needs a reason");                    \
  [[maybe_unused]] static const bool alertpipe_allow_##suite##_##test_case##_##check = \
      ::alertpipe::runner::Allow(#suite, #test_case, ::alertpipe::runner::Check::check)

// Calls `function` (void()) in each case process before anything is counted, for what a library
// opens once per process and keeps on purpose.
#define ALERTPIPE_WARM_UP(function)                                 \
  [[maybe_unused]] static const bool alertpipe_warm_up_##function = \
      ::alertpipe::runner::AddWarmUp(&function)

// Behind the macros, called while static objects are initialised.
bool SetTimeLimit(std::string_view suite, std::string_view test_case, int seconds);
bool Allow(std::string_view suite, std::string_view test_case, Check check);
bool AddWarmUp(void (*function)());

// For the runner. `suite` and `test_case` are GoogleTest's full names, e.g. "All/Suite" "Case/3".
int TimeLimitSeconds(std::string_view suite, std::string_view test_case);
bool IsAllowed(std::string_view suite, std::string_view test_case, Check check);
void RunWarmUps();

// Names in macros that match no case of this executable.
std::vector<std::string> UnmatchedOptions();

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_TEST_CASE_H_
