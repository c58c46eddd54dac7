// SPDX-License-Identifier: Apache-2.0
//
// The master: one listening socket, and workers that share it.
#ifndef ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_
#define ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_

#include "options.h"

namespace http_example {

// Until a signal ends it. The exit code of the program (alertpipe::SupervisorResult).
int Supervise(const Options& options);

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_SUPERVISOR_H_
