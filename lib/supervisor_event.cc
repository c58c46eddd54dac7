// SPDX-License-Identifier: Apache-2.0
//
// What a supervisor reports, in words.
#include <alertpipe/supervisor.h>

#include <string>

#include <absl/strings/str_cat.h>

namespace alertpipe {
namespace {

std::string Name(const Peer& worker) {
  return absl::StrCat("worker ", worker.pid, " (slot ", worker.slot, ")");
}

std::string Ended(const WorkerExit& exit) {
  if (!exit.known) return "ended, nobody knows how";
  if (exit.signal != 0) {
    return absl::StrCat("ended by signal ", exit.signal,
                        exit.core_dumped ? ", with a core dump" : "");
  }
  return absl::StrCat("ended with exit code ", exit.exit_code);
}

std::string WhatNext(const SupervisorEvent& event) {
  switch (event.next) {
    case SupervisorEvent::Next::kNothing:
      return "";
    case SupervisorEvent::Next::kRespawn:
      return event.delay == absl::ZeroDuration()
                 ? "; a new one starts now"
                 : absl::StrCat("; a new one starts in ", absl::FormatDuration(event.delay));
    case SupervisorEvent::Next::kLeave:
      return "; its place stays empty";
    case SupervisorEvent::Next::kStop:
      return "; too many have died young";
  }
  return "";
}

std::string Stopping(const SupervisorEvent& event) {
  std::string text = "all workers are asked to end";
  if (event.delay < absl::InfiniteDuration())
    absl::StrAppend(&text, " within ", absl::FormatDuration(event.delay));
  if (!event.status.ok()) absl::StrAppend(&text, ": ", std::string(event.status.message()));
  return text;
}

}  // namespace

std::string_view ToString(SupervisorResult result) {
  switch (result) {
    case SupervisorResult::kStopped:
      return "stopped";
    case SupervisorResult::kNotStarted:
      return "not started";
    case SupervisorResult::kCrashLoop:
      return "crash loop";
    case SupervisorResult::kKilled:
      return "killed";
    case SupervisorResult::kWorkerFailed:
      return "worker failed";
  }
  return "unknown";
}

std::string ToString(const SupervisorEvent& event) {
  using Kind = SupervisorEvent::Kind;
  switch (event.kind) {
    case Kind::kStarted:
      return absl::StrCat(Name(event.worker), " started");
    case Kind::kForkFailed:
      return absl::StrCat("no worker could be started: ", std::string(event.status.message()),
                          "; tried again in ", absl::FormatDuration(event.delay));
    case Kind::kExited:
      return absl::StrCat(Name(event.worker), " ", Ended(event.exit), WhatNext(event));
    case Kind::kRestartBegun:
      return "restart of all workers";
    case Kind::kReplaced:
      return absl::StrCat(Name(event.successor), " has taken the place of ", Name(event.worker));
    case Kind::kRestartEnded:
      return event.status.ok() ? "all workers have been restarted"
                               : absl::StrCat("the restart has ended early: ",
                                              std::string(event.status.message()));
    case Kind::kStopping:
      return Stopping(event);
    case Kind::kKilling:
      return absl::StrCat(Name(event.worker), " did not end in time: killed");
    case Kind::kStopped: {
      const std::string_view result = ToString(event.result);
      return absl::StrCat("supervisor: ", absl::string_view(result.data(), result.size()));
    }
  }
  return "unknown";
}

}  // namespace alertpipe
