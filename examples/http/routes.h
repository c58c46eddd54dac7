// SPDX-License-Identifier: Apache-2.0
//
// The three routes: what a web request makes of alerts, and what alerts make of a web request.
#ifndef ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_
#define ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_

#include <alertpipe/alertpipe.h>

#include <string_view>

#include "codec.h"

namespace http_example {

class Routes {
 public:
  // `worker` must outlive it. Sets the worker's handlers.
  Routes(alertpipe::Worker* worker, absl::Duration reply_limit);

  void Answer(const Request& request, const Respond& respond);

 private:
  // `rest` is what follows the route's name, still percent-encoded.
  void Send(std::string_view rest, const Respond& respond);
  Response Broadcast(std::string_view rest);
  Response Pids() const;

  alertpipe::Worker* const worker_;
  const absl::Duration reply_limit_;
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_
