// SPDX-License-Identifier: Apache-2.0
//
// A worker of the demo. It does what the master tells it by alerts ("do: ..."), and reports.
#ifndef ALERTPIPE_EXAMPLES_DEMO_WORKER_H_
#define ALERTPIPE_EXAMPLES_DEMO_WORKER_H_

#include <alertpipe/alertpipe.h>

namespace demo {

// The worker's main function: 0 if it was asked to end and left nothing on its loop.
int Serve(alertpipe::Slot slot);

}  // namespace demo

#endif  // ALERTPIPE_EXAMPLES_DEMO_WORKER_H_
