// SPDX-License-Identifier: Apache-2.0
//
// What happens in the process that runs GoogleTest itself: one case under the runner, or
// everything at once for a debugger or valgrind.
#ifndef ALERTPIPE_RUNNER_CASE_PROCESS_H_
#define ALERTPIPE_RUNNER_CASE_PROCESS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace alertpipe::runner {

// The files by which a case process and its warden talk, all in one folder of that case.
struct CaseFolder {
  explicit CaseFolder(const std::string& folder)
      : result(folder + "/result.xml"),
        output(folder + "/output.txt"),
        run_start(folder + "/run_start"),
        escape_mark(folder + "/escaped"),
        verdict(folder + "/verdict.xml") {}

  std::string result;       // GoogleTest's own report.
  std::string output;       // Standard output and error.
  std::string run_start;    // When the run under way began: the time limit is for one run.
  std::string escape_mark;  // Exists when a forked process came out of the test body.
  std::string verdict;      // What the warden concludes.
};

// The folder, when this process was started to run one case.
std::optional<std::string> FindCaseFolder(const std::vector<std::string>& arguments);

// The flag and the environment that make a process run one case; FindCaseFolder reads the first,
// RunCase takes the second back.
std::string CaseFolderFlag(const std::string& folder);
void SetCaseEnvironment();

// CLOCK_MONOTONIC in nanoseconds, and the beginning of the run under way, 0 when unknown.
int64_t MonotonicNanoseconds();
int64_t ReadRunStart(const CaseFolder& folder);

// Each returns the exit code of the process. GoogleTest has its flags already.
int RunCase(const std::string& folder);
int RunDirectly();

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_CASE_PROCESS_H_
