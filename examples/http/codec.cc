// SPDX-License-Identifier: Apache-2.0
#include "codec.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace http_example {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::uint32_t kHeaderBytesMax = 16384;
constexpr std::uint64_t kBodyBytesMax = 65536;

}  // namespace

// Beast limits a single line of a header; the sum is up to us.
class RequestReader::Parser : public http::request_parser<http::string_body> {
 public:
  Parser() {
    header_limit(kHeaderBytesMax);
    body_limit(kBodyBytesMax);
  }

  // Removes what it has understood from the front of `input`; never goes beyond the request.
  beast::error_code Take(std::string* input) {
    beast::error_code error;
    while (!is_done() && !error) {
      const bool in_header = !is_header_done();
      const std::size_t offered = in_header ? std::min(input->size(), header_left_) : input->size();
      if (offered == 0) return http::error::need_more;
      const std::size_t used = put(asio::buffer(input->data(), offered), error);
      input->erase(0, used);
      if (!in_header) continue;
      if (error == http::error::need_more && offered == header_left_) {
        return http::error::header_limit;
      }
      header_left_ -= used;
    }
    return error;
  }

 private:
  std::size_t header_left_ = kHeaderBytesMax;
};

RequestReader::RequestReader() : parser_(std::make_unique<Parser>()) {}
RequestReader::~RequestReader() = default;

bool RequestReader::begun() const { return parser_->got_some(); }

RequestReader::Outcome RequestReader::Refuse(int status, const std::string& why) {
  refusal_ = {status, why + "\n"};
  return Outcome::kRefused;
}

RequestReader::Outcome RequestReader::Read(std::string* input) {
  const beast::error_code error = parser_->Take(input);
  if (error == http::error::header_limit) return Refuse(431, "the header is too long");
  if (error == http::error::body_limit) return Refuse(413, "the body is too long");
  if (error && error != http::error::need_more) return Refuse(400, error.message());
  auto& message = parser_->get();
  if (!parser_->is_done()) {
    // The client waits for a word before it sends its body, which nobody here wants.
    if (parser_->is_header_done() && message.count(http::field::expect) != 0) {
      return Refuse(417, "no expectations");
    }
    return Outcome::kNeedsMore;
  }
  if (message.version() >= 11 && message.count(http::field::host) != 1) {
    return Refuse(400, "exactly one Host is needed");
  }
  request_ = {std::string(message.method_string()), std::string(message.target()),
              message.keep_alive(), std::move(message.body())};
  parser_ = std::make_unique<Parser>();  // one per request
  return Outcome::kRequest;
}

std::string Serialize(const Response& response, bool is_head, bool keep_alive) {
  http::response<http::string_body> message;
  message.result(static_cast<unsigned>(response.status));
  message.set(http::field::content_type, "text/plain");
  for (const auto& [name, value] : response.headers) message.set(name, value);
  if (response.status == 503) message.set(http::field::retry_after, "1");
  message.content_length(response.text.size());
  message.keep_alive(keep_alive);
  if (!is_head) message.body() = response.text;

  std::string bytes;
  beast::error_code error;
  http::response_serializer<http::string_body> serializer(message);
  while (!serializer.is_done() && !error) {
    serializer.next(error, [&](beast::error_code&, const auto& buffers) {
      const std::size_t before = bytes.size();
      for (const asio::const_buffer buffer : beast::buffers_range_ref(buffers)) {
        bytes.append(static_cast<const char*>(buffer.data()), buffer.size());
      }
      serializer.consume(bytes.size() - before);
    });
  }
  return bytes;
}

}  // namespace http_example
