// SPDX-License-Identifier: Apache-2.0
//
// For test executables that use libuv: it opens a pipe for signals with the first loop of a
// process and keeps it until the process ends.
#include <uv.h>

#include "runner/test_case.h"

namespace {

void OpenAndCloseLoop() {
  uv_loop_t loop;
  if (uv_loop_init(&loop) == 0) uv_loop_close(&loop);
}
ALERTPIPE_WARM_UP(OpenAndCloseLoop);

}  // namespace
