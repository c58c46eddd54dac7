// SPDX-License-Identifier: Apache-2.0
#ifndef ALERTPIPE_EXAMPLES_HTTP_SERVE_H_
#define ALERTPIPE_EXAMPLES_HTTP_SERVE_H_

#include <alertpipe/alertpipe.h>

#include "options.h"
#include "origin.h"

namespace http_example {

// A worker's main function: serves on the listening socket until the master asks it to end or has
// died. Without an origin (null) there is no cache. 0 if it ended as it should.
int Serve(alertpipe::Slot slot, int listening_socket, Origin* origin, const Options& options);

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_SERVE_H_
