// SPDX-License-Identifier: Apache-2.0
//
// The account of one run, in memory that all of its processes share: what each incarnation sent to
// each other one and what became of it, alert by alert; what the library said of failures; and what
// must not have happened.
#ifndef ALERTPIPE_TEST_FAULTS_LEDGER_H_
#define ALERTPIPE_TEST_FAULTS_LEDGER_H_

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include <alertpipe/peer.h>

#include "faults/injector.h"

namespace alertpipe::faults {

// The master, and up to five generations of each of three slots.
inline constexpr int kActors = 16;
inline int ActorOf(const Peer& peer) {
  const int actor = peer.slot == 0 ? 0 : peer.slot + 3 * (static_cast<int>(peer.generation) - 1);
  return actor < kActors ? actor : kActors - 1;
}

// One bit for each alert that a sender numbers.
struct AlertSet {
  static constexpr unsigned kMax = 256;

  // False if it was there already.
  bool Add(unsigned number) {
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    return (words[number / 64 % 4].fetch_or(bit) & bit) == 0;
  }
  bool Has(unsigned number) const {
    return (words[number / 64 % 4].load() >> (number % 64) & 1) != 0;
  }

  std::atomic<std::uint64_t> words[4];
};

struct Pair {
  AlertSet accepted, delivered, failed;
  AlertSet asked;                        // requests that have arrived
  std::atomic<int> requests, responses;  // that were accepted, and that ended
};

// Short texts of any process.
template <int kMax>
struct Texts {
  struct Line {
    std::atomic<bool> whole;
    int role;
    char text[240];
  };

  void Add(std::string_view text) {
    const int at = count++;
    if (at >= kMax) return;
    Line& line = lines[at];
    line.role = Injector::role();
    const std::size_t kept = text.size() < sizeof line.text ? text.size() : sizeof line.text - 1;
    std::memcpy(line.text, text.data(), kept);
    line.whole = true;
  }
  int size() const { return count < kMax ? count.load() : kMax; }

  std::atomic<int> count;
  Line lines[kMax];
};

enum class Phase : int {
  kAct,
  kFaultyEnds,  // whoever the fault is aimed at closes, the others go on listening
  kAllEnd,
};

enum class ActorState : int {
  kNone,
  kAttached,
  kRefused,
  kEnded,
  kDrained,  // was retired, and left by itself
  kKilled,
};

struct Ledger {
  Tally tally;
  std::atomic<Phase> phase;
  std::atomic<ActorState> actors[kActors];
  std::atomic<int> roles[kActors];     // of each actor
  std::atomic<bool> retired[kActors];  // may leave before the end
  Pair pairs[kActors][kActors];
  std::atomic<bool> orphans;  // workers go on without their master
  std::atomic<int> flags[8];  // for scenarios
  std::atomic<int> refusals;  // of said, errors of calls
  Texts<32> said;             // errors of calls, and diagnostics
  Texts<8> wrong;             // what must not happen

  // Whether all that `from` sent to `to` has been delivered or has failed back, and requests have
  // ended.
  bool Settled(int from, int to) const {
    const Pair& pair = pairs[from][to];
    if (pair.requests != pair.responses) return false;
    for (int word = 0; word < 4; ++word) {
      if (pair.accepted.words[word] != (pair.delivered.words[word] | pair.failed.words[word]))
        return false;
    }
    return true;
  }
};

}  // namespace alertpipe::faults

#endif  // ALERTPIPE_TEST_FAULTS_LEDGER_H_
