// SPDX-License-Identifier: Apache-2.0
//
// The routes: what a web request makes of alerts, and what alerts make of a web request.
#ifndef ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_
#define ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_

#include <alertpipe/alertpipe.h>

#include <string>
#include <string_view>

#include "cache.h"
#include "codec.h"

namespace http_example {

class Routes {
 public:
  // `worker`, and `cache` unless it is null, must outlive it. Sets the worker's handlers.
  Routes(alertpipe::Worker* worker, Cache* cache, absl::Duration reply_limit);

  void Answer(const Request& request, const Respond& respond);

 private:
  // `rest` is what follows the route's name, still percent-encoded.
  void Send(std::string_view rest, const Respond& respond);
  Response Broadcast(std::string_view rest);
  Response Pids() const;
  // `rest` is "", or "/KEY".
  void Cached(const Request& request, std::string_view rest, const Respond& respond);
  void Get(const std::string& key, const Respond& respond);
  void Put(const std::string& key, const Value& value, const Respond& respond);
  Response Counts() const;
  Response FromHere(Response response) const;

  alertpipe::Worker* const worker_;
  Cache* const cache_;
  const absl::Duration reply_limit_;
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_ROUTES_H_
