// SPDX-License-Identifier: Apache-2.0
//
// What a transport has to offer, and what it calls.
//
// A measurement is a family: a process that starts it and processes 0, 1, ... that send and
// receive. A *link* is a transport as one of these processes sees it, with its event loop. A *role*
// (roles.h) is what the process does: it is called by the link's loop and calls the link. Both are
// known to the compiler where they meet, so that nothing lies between a fast transport and its
// measurement.
//
// Transport, in the process that starts the family:
//
//   static constexpr std::string_view kName;
//   static constexpr Abilities kCan;
//   static absl::StatusOr<std::unique_ptr<Transport>> Create(const Settings& settings);
//   // Forks process `process` and runs `main` in it, which returns the exit code.
//   absl::StatusOr<pid_t> Spawn(int process, std::function<int(Link&)> main);
//   std::vector<Ended> Reap();      // the processes that have ended since; does not block
//   // Of a pipe, as granted; without pipes, that of those of the others (GrantedCapacity).
//   std::size_t capacity() const;
//
// Link, in process `self`:
//
//   // Where the data of the next alert to the audience belongs. Null while the link is blocked.
//   // What was written there stays until the next call.
//   char* Data();
//   // Sends it to the audience (AudienceOf). False: refused, to be sent again later, or failed.
//   bool Post(Name name);
//   // In OnAlert: sends `data`, which is lent, to whoever sent the alert.
//   bool Reply(Name name, std::string_view data);
//   // Runs the loop until Finish was called and everything has been written.
//   template <typename Role> void Run(Role& role);
//   void Finish();
//   Tally tally() const;
//   void Fail(const std::string& why);  // the measurement is worth nothing
//
// Role:
//
//   // Whether OnReady is to be called again and again, once in each turn of the loop, as long as
//   // the link is not blocked.
//   bool posting() const;
//   template <typename Link> void OnReady(Link& link);
//   template <typename Link>
//   void OnAlert(Link& link, int from, Name name, std::string_view data);
#ifndef ALERTPIPE_BENCH_LINK_H_
#define ALERTPIPE_BENCH_LINK_H_

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "settings.h"

namespace alertpipe::bench {

// Names are strings of four bytes, whatever they mean.
enum class Name : std::uint8_t { kItem, kLast, kPing, kPong };

inline constexpr std::size_t kNameBytes = 4;
inline constexpr std::array<std::string_view, 4> kNames = {"item", "last", "ping", "pong"};

inline std::string_view ToString(Name name) { return kNames[static_cast<std::size_t>(name)]; }

// Which of the settings mean something to a transport, and whether it is only measured when asked
// for by name.
struct Abilities {
  bool linger = false;
  bool run = false;
  bool on_request = false;
};

// What a link has sent, to count packets per alert; no packets where it cannot know.
struct Tally {
  std::uint64_t alerts = 0;
  std::uint64_t packets = 0;
};

// How a process ended: as waitpid says it.
struct Ended {
  pid_t pid = 0;
  int exit_code = 0;
  int signal = 0;
};

// Where the others send to, and whom `process` posts to. Process 0 is the one that there is only
// one of.
inline std::vector<int> AudienceOf(const Settings& settings, int process) {
  if (process != 0) {
    return settings.workload == Workload::kFanIn ? std::vector<int>{0} : std::vector<int>{};
  }
  std::vector<int> others;
  if (settings.workload == Workload::kFanIn) return others;
  for (int other = 1; other < settings.processes(); ++other) others.push_back(other);
  return others;
}

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_LINK_H_
