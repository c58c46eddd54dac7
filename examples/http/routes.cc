// SPDX-License-Identifier: Apache-2.0
#include "routes.h"

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>

namespace http_example {
namespace {

// Cuts `prefix` off the front of `text`.
bool Consume(std::string_view* text, std::string_view prefix) {
  if (text->substr(0, prefix.size()) != prefix) return false;
  text->remove_prefix(prefix.size());
  return true;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned char byte = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc() || end != digits.data() + 2) return std::nullopt;
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

std::optional<pid_t> ParsePid(std::string_view text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

// What the library says, as HTTP says it.
Response Refused(const absl::Status& status) {
  int code = 500;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      code = 413;  // the name is ours, so it is the data that is too long
      break;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnavailable:
      code = 404;
      break;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kFailedPrecondition:
      code = 503;
      break;
    default:
      break;
  }
  return {code, std::string(status.message()) + "\n"};
}

// How a request to another worker ended, as HTTP says it.
Response Replied(const alertpipe::Response& reply) {
  if (reply.ok()) {
    return {200,
            std::to_string(reply.peer().pid) + " replied: " + std::string(reply.data()) + "\n"};
  }
  int code = 503;
  switch (reply.outcome()) {
    case alertpipe::ResponseOutcome::kDeadline:
      code = 504;
      break;
    case alertpipe::ResponseOutcome::kPeerDied:
    case alertpipe::ResponseOutcome::kUnhandled:  // the master has no handler for "hello"
      code = 502;
      break;
    default:
      break;
  }
  return {code, std::string(reply.status().message()) + "\n"};
}

// What the cache says.
Response Failed(const absl::Status& status) {
  const bool late = absl::IsDeadlineExceeded(status);
  return {late ? 504 : 500, std::string(status.message()) + "\n"};
}

Response Only(const std::string& methods) {
  return {405, "only " + methods + "\n", {{"Allow", methods}}};
}

}  // namespace

Routes::Routes(alertpipe::Worker* worker, Cache* cache, absl::Duration reply_limit)
    : worker_(worker), cache_(cache), reply_limit_(reply_limit) {
  worker_->Receive("hello", [](alertpipe::Alert& alert) {
    alert.Respond(std::string("hello to you too, you said ").append(alert.data()));
  });
  worker_->Receive("announcement", [this](alertpipe::Alert& alert) {
    std::printf("worker %d: %d announces %zu bytes\n", worker_->self().pid, alert.sender().pid,
                alert.data().size());
  });
}

void Routes::Answer(const Request& request, const Respond& respond) {
  const std::string_view target = request.target;
  std::string_view path = target.substr(0, target.find('?'));
  if (path.substr(0, 1) != "/") return respond({400, "the target is no path\n"});
  if (path == "/cache" || path.substr(0, 7) == "/cache/")
    return Cached(request, path.substr(6), respond);
  if (request.method != "GET") return respond(Only("GET"));
  if (path == "/pids") return respond(Pids());
  if (Consume(&path, "/send/")) return Send(path, respond);
  if (Consume(&path, "/broadcast/")) return respond(Broadcast(path));
  respond({404, "try /pids, /send/PID/DATA, /broadcast/DATA or /cache/KEY\n"});
}

void Routes::Send(std::string_view rest, const Respond& respond) {
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return respond({400, "this needs /send/PID/DATA\n"});
  const std::optional<pid_t> pid = ParsePid(rest.substr(0, slash));
  if (!pid.has_value()) return respond({400, "the pid is no number above 0\n"});
  const std::optional<std::string> data = PercentDecode(rest.substr(slash + 1));
  if (!data.has_value()) return respond({400, "the data is not percent-encoded\n"});

  const alertpipe::SendResult sent =
      worker_->Request(*pid, "hello", *data, reply_limit_,
                       [respond](alertpipe::Response& reply) { respond(Replied(reply)); });
  if (!sent.ok()) respond(Refused(sent.status()));
}

Response Routes::Broadcast(std::string_view rest) {
  const std::optional<std::string> data = PercentDecode(rest);
  if (!data.has_value()) return {400, "the data is not percent-encoded\n"};
  const alertpipe::BroadcastResult result = worker_->Broadcast("announcement", *data);
  if (!result.ok()) return Refused(result.status());
  Response response{200, "accepted for " + std::to_string(result.accepted) + " workers\n"};
  for (const alertpipe::Refusal& refusal : result.refused) {
    response.text += "refused for " + std::to_string(refusal.peer.pid) + ": " +
                     std::string(refusal.status.message()) + "\n";
  }
  return response;
}

Response Routes::Pids() const {
  Response response;
  for (const alertpipe::Peer& peer : worker_->Workers()) {
    if (peer.pid == 0) continue;  // being started
    response.text += std::to_string(peer.pid);
    response.text += peer == worker_->self() ? " (answers)\n" : "\n";
  }
  return response;
}

void Routes::Cached(const Request& request, std::string_view rest, const Respond& respond) {
  if (cache_ == nullptr) return respond({404, "there is no cache without --origin FOLDER\n"});
  const std::string& method = request.method;
  if (rest.empty()) return respond(method == "GET" ? Counts() : Only("GET"));
  const std::string key(rest.substr(1));
  if (!Origin::IsKey(key))
    return respond({400, "a key has 1 to 64 letters, digits, '_' and '-'\n"});
  if (method == "GET") return Get(key, respond);
  if (method == "PUT") return Put(key, request.body, respond);
  if (method == "DELETE") return Put(key, std::nullopt, respond);
  respond(Only("GET, PUT, DELETE"));
}

void Routes::Get(const std::string& key, const Respond& respond) {
  cache_->Get(key, [this, key, respond](const Cache::Found& found) {
    Response response = Failed(found.status);
    if (found.status.ok()) {
      response = found.value.has_value() ? Response{200, *found.value}
                                         : Response{404, "there is no " + key + "\n"};
      response.headers.emplace_back("X-Cache", found.hit ? "hit" : "miss");
    }
    respond(FromHere(std::move(response)));
  });
}

void Routes::Put(const std::string& key, const Value& value, const Respond& respond) {
  cache_->Put(key, value, [this, respond](const absl::Status& status) {
    respond(FromHere(status.ok() ? Response{200, "all workers know of it\n"} : Failed(status)));
  });
}

Response Routes::FromHere(Response response) const {
  response.headers.emplace_back("X-Worker", std::to_string(worker_->self().pid));
  return response;
}

Response Routes::Counts() const {
  const Cache::Counts counts = cache_->counts();
  Response response;
  const auto add = [&](const char* name, std::uint64_t count) {
    response.text += std::string(name) + " " + std::to_string(count) + "\n";
  };
  add("keys", counts.keys);
  add("reading", counts.reading);
  add("hits", counts.hits);
  add("misses", counts.misses);
  add("drops", counts.drops);
  add("origin-reads", counts.origin_reads);
  return FromHere(std::move(response));
}

}  // namespace http_example
