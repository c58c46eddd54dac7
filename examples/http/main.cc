// SPDX-License-Identifier: Apache-2.0
//
// The example of ngx.ipc's README as a web server: a master, workers that accept on one listening
// socket, and alerts between the workers. Each request is answered by whichever worker accepts it.
//
//   build/default/examples/http/http --port 8080 --workers 4
//
//   curl http://127.0.0.1:8080/pids                      # the workers, and which of them answers
//   curl http://127.0.0.1:8080/send/PID/good%20morning   # says hello to PID, waits for its reply
//   curl http://127.0.0.1:8080/broadcast/good%20night    # tells all; their lines are on stdout
//   curl http://127.0.0.1:8080/cache/KEY                 # with --origin FOLDER: from a cache
//   curl -X PUT -d VALUE http://127.0.0.1:8080/cache/KEY # ...which is in every worker
//   kill -9 PID                                          # it is replaced; the others go on
//   kill -HUP MASTER                                     # new workers for old, nobody waits
//   kill MASTER                                          # or Ctrl-C: answers what it has, and ends
//
// Files: supervisor (the master), serve (a worker), routes (web requests to alerts and back); cache
// (kept true by events), origin (what it is a cache of); server, connection, codec and later are
// the web side and know nothing of alerts.
#include <getopt.h>
#include <signal.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "options.h"
#include "supervisor.h"

namespace {

int Usage() {
  std::fputs(
      "usage: http [--port N] [--workers N] [--reply-ms N] [--idle-ms N]\n"
      "            [--pipe-bytes N] [--queue-bytes N]\n"
      "            [--origin FOLDER [--origin-ms N] [--fetch-ms N]]\n",
      stderr);
  return 2;
}

// False if the text is no number, or out of range.
template <typename Number>
bool Set(Number* number, Number least, Number most) {
  const char* end = optarg + std::strlen(optarg);
  const auto [rest, error] = std::from_chars(optarg, end, *number);
  return error == std::errc() && rest == end && *number >= least && *number <= most;
}

bool ParseOptions(int argc, char** argv, http_example::Options* options) {
  constexpr std::uint64_t kDayMs = 86400000;
  constexpr std::array<option, 10> kOptions = {{{"port", required_argument, nullptr, 'p'},
                                                {"workers", required_argument, nullptr, 'w'},
                                                {"reply-ms", required_argument, nullptr, 'r'},
                                                {"idle-ms", required_argument, nullptr, 'i'},
                                                {"pipe-bytes", required_argument, nullptr, 'c'},
                                                {"queue-bytes", required_argument, nullptr, 'q'},
                                                {"origin", required_argument, nullptr, 'o'},
                                                {"origin-ms", required_argument, nullptr, 's'},
                                                {"fetch-ms", required_argument, nullptr, 'f'},
                                                {nullptr, 0, nullptr, 0}}};
  alertpipe::MasterOptions& family = options->family;
  bool ok = true;
  for (int given = 0; ok && given >= 0;) {
    given = getopt_long(argc, argv, "", kOptions.data(), nullptr);
    switch (given) {
      case -1:
        ok = optind == argc;
        break;
      case 'p':
        ok = Set(&options->port, 0, 65535);
        break;
      case 'w':
        ok = Set(&options->workers, 1, 256);
        break;
      case 'r':
        ok = Set<std::uint64_t>(&options->reply_ms, 1, kDayMs);
        break;
      case 'i':
        ok = Set<std::uint64_t>(&options->idle_ms, 1, kDayMs);
        break;
      case 'o':
        options->origin = optarg;
        ok = !options->origin.empty();
        break;
      case 's':
        ok = Set<std::uint64_t>(&options->origin_ms, 0, kDayMs);
        break;
      case 'f':
        ok = Set<std::uint64_t>(&options->fetch_ms, 1, kDayMs);
        break;
      // The library says what is out of range.
      case 'c':
        ok = Set<std::size_t>(&family.pipe_capacity, 0, SIZE_MAX);
        break;
      case 'q':
        ok = Set<std::uint64_t>(&family.queued_bytes_per_peer_max, 0, UINT64_MAX);
        break;
      default:
        ok = false;
    }
  }
  return ok;
}

}  // namespace

int main(int argc, char** argv) {
  http_example::Options options;
  if (!ParseOptions(argc, argv, &options)) return Usage();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  // libuv writes to a client's socket as if it were a file: a client that has gone would end us.
  signal(SIGPIPE, SIG_IGN);
  return http_example::Supervise(options);
}
