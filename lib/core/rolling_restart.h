// SPDX-License-Identifier: Apache-2.0
//
// Replaces live workers, one after the other: what to do next, and what to tell at the end. Like
// the life of a slot (core/slot_life.h) it only decides. Whoever drives it starts, asks, retires
// and kills, and says what came of it; deadlines are the driver's, too.
//
//   for each worker:  kStart -> (the successor answers) -> kRetire -> (the old one ends)
//
// Until kRetire the old worker is untouched: a successor that cannot be started, ends, or does not
// answer in time (kKill) ends the restart, and the old worker stays. The old one may die at any
// time: then there is nothing to retire, or to wait for, and with its successor there the restart
// goes on. What happens to anybody else is no concern of it, except that workers which end or are
// retired before their turn are passed over.
#ifndef ALERTPIPE_CORE_ROLLING_RESTART_H_
#define ALERTPIPE_CORE_ROLLING_RESTART_H_

#include <alertpipe/peer.h>
#include <alertpipe/restart.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>

namespace alertpipe::core {

class RollingRestart {
 public:
  enum class Step : std::uint8_t {
    kWait,      // nothing to do until an input comes
    kStart,     // start a successor of old_worker() in a spare slot: Started or StartFailed
    kRetire,    // retire old_worker() in favour of successor(): Done
    kKill,      // kill successor(), which has not answered: Done
    kFinished,  // report() is there
  };

  // To be replaced in this order; they live.
  explicit RollingRestart(const std::vector<Peer>& old_workers);

  Step step() const;
  const Peer& old_worker() const { return olds_[at_].peer; }
  const Peer& successor() const { return successor_; }
  // Whether the successor is to be asked if it is there: then Ready or NotReady.
  bool asking() const { return phase_ == Phase::kAsking; }
  // Whether `peer` is one of the two that are being exchanged.
  bool involves(const Peer& peer) const;
  // Whether `peer` is a successor that has not taken over: the old worker is not retired.
  bool is_unproven(const Peer& peer) const;
  // Whether `peer` is the old worker of which a successor has been started.
  bool is_leaving(const Peer& peer) const;
  const RestartReport& report() const { return report_; }

  // Answers to steps.
  void Started(const Peer& successor);
  void StartFailed(const absl::Status& status);
  void Done();

  // Inputs, at any time; what does not concern the restart (any more) is ignored.
  void Ready(const Peer& successor);
  void NotReady(const Peer& successor);  // the deadline has passed
  void Exited(const Peer& worker, bool killed_at_deadline);
  // The program has retired it.
  void RetiredByProgram(const Peer& worker);
  void Cancel(const absl::Status& why);

 private:
  enum class Phase : std::uint8_t {
    kStarting,
    kAsking,
    kRetiring,
    kLeaving,  // the old worker is retired and has not ended
    kKilling,
    kKilled,  // the successor is, and has not ended
    kFinished,
  };
  struct Old {
    Peer peer;
    bool passed_over = false;  // dead, or retired by the program
    bool ended = false;
  };

  void Next();
  void Finish(const absl::Status& status);
  void OldExited(bool killed_at_deadline);
  void SuccessorExited();
  std::string Both() const;

  std::vector<Old> olds_;
  std::size_t at_ = 0;
  Peer successor_;
  Phase phase_ = Phase::kStarting;
  absl::Status trouble_;  // what to end with once the old worker has ended
  RestartReport report_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_ROLLING_RESTART_H_
