// SPDX-License-Identifier: Apache-2.0
//
// What the command line sets. Times are in milliseconds, sizes in bytes.
#ifndef ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_
#define ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_

#include <alertpipe/alertpipe.h>

#include <cstdint>
#include <string>

namespace http_example {

struct Options {
  int port = 0;  // 0: any free one
  int workers = 4;
  alertpipe::MasterOptions family;
  std::uint64_t reply_ms = 5000;  // how long /send waits for the reply, and /cache for the others
  std::uint64_t idle_ms = 10000;  // how long a client may do nothing, or take for one request
  std::string origin;             // the folder that /cache is a cache of; empty: none
  std::uint64_t origin_ms = 100;  // how slow it is
  std::uint64_t fetch_ms = 2000;  // how long a worker waits for what another one reads there
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_OPTIONS_H_
