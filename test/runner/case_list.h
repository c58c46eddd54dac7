// SPDX-License-Identifier: Apache-2.0
//
// What GoogleTest's flags say about this run: which cases, and where the report goes.
#ifndef ALERTPIPE_RUNNER_CASE_LIST_H_
#define ALERTPIPE_RUNNER_CASE_LIST_H_

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace alertpipe::runner {

// The cases that the filter and the sharding select, in order. Disabled ones are among them when
// the filter matches them; info->should_run() tells.
std::vector<const testing::TestInfo*> SelectCases();

// The file of --gtest_output=xml[:PATH], empty when no report is wanted, nothing when the format
// is not XML. `executable` names the file when PATH is a folder.
std::optional<std::string> ReportPath(const std::string& executable);

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_CASE_LIST_H_
