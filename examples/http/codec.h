// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1.1 as bytes in and bytes out, without a socket: Boost.Beast parses and writes, and only
// codec.cc includes it.
#ifndef ALERTPIPE_EXAMPLES_HTTP_CODEC_H_
#define ALERTPIPE_EXAMPLES_HTTP_CODEC_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace http_example {

struct Request {
  std::string method;
  std::string target;  // as it was sent: path and query, percent-encoded
  bool keep_alive = false;
  std::string body;
};

struct Response {
  int status = 200;
  std::string text;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// Answers one request, at once or later, on the loop's thread. Does nothing when the client has
// gone meanwhile, or when the request has been answered already.
using Respond = std::function<void(const Response&)>;
using RequestHandler = std::function<void(const Request&, Respond)>;

// Finds the requests in what one client sends.
class RequestReader {
 public:
  enum class Outcome {
    kNeedsMore,
    kRequest,  // request() is whole
    kRefused,  // refusal() says why; nothing that follows can be understood
  };

  RequestReader();
  ~RequestReader();

  // Removes from the front of `input` what it has used: at most one request.
  Outcome Read(std::string* input);

  // Whether a request has begun, of which nothing need be left in `input`.
  bool begun() const;
  const Request& request() const { return request_; }
  const Response& refusal() const { return refusal_; }

 private:
  class Parser;
  Outcome Refuse(int status, const std::string& why);

  std::unique_ptr<Parser> parser_;
  Request request_;
  Response refusal_;
};

// The bytes of a response. One to a HEAD request has no body, though a length.
std::string Serialize(const Response& response, bool is_head, bool keep_alive);

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_CODEC_H_
