// SPDX-License-Identifier: Apache-2.0
//
// Runs the cases that GoogleTest's flags select, each in a process of its own (warden.h), and
// reports them on the console and in the XML file that --gtest_output asks for.
#ifndef ALERTPIPE_RUNNER_SUPERVISOR_H_
#define ALERTPIPE_RUNNER_SUPERVISOR_H_

#include <string>
#include <vector>

#include "runner/settings.h"

namespace alertpipe::runner {

// `arguments` is the whole command line, as it was before GoogleTest took its flags from it.
// Returns the exit code: 0, 1 when a case failed or none matched, 2 for a wrong command, and
// 128 + signal when a signal interrupted it.
int Supervise(const Settings& settings, const std::vector<std::string>& arguments);

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_SUPERVISOR_H_
