// SPDX-License-Identifier: Apache-2.0
//
// What the command line sets. Times are in milliseconds, sizes in bytes.
#ifndef ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_
#define ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_

#include <alertpipe/alertpipe.h>

#include <cstdint>

namespace http_example {

struct Options {
  int port = 0;  // 0: any free one
  int workers = 4;
  alertpipe::MasterOptions family;
  std::uint64_t reply_ms = 5000;  // how long /send waits for the reply
  std::uint64_t idle_ms = 10000;  // how long a client may do nothing, or take for one request
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_
