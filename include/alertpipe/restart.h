// SPDX-License-Identifier: Apache-2.0
//
// How the replacement of live workers ends: see Master::Retire, Replace and RestartAll.
#ifndef ALERTPIPE_RESTART_H_
#define ALERTPIPE_RESTART_H_

#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/time/time.h>

#include <alertpipe/peer.h>

namespace alertpipe {

// How a worker is retired.
struct RetireOptions {
  // The slot of the live worker that takes its place, for those who still want to send to the old
  // one; 0: nobody does.
  int successor = 0;
  // A time from now, above zero: a worker that has not ended then is killed with SIGKILL, also one
  // that is stopped. Not with a deadline of absl::InfiniteDuration(), and not a worker that the
  // program has forked on its own (Master::Reserve): to end that one is up to the program.
  absl::Duration deadline = absl::InfiniteDuration();
};

// A worker that was replaced: it has ended, and its successor had answered before.
struct Replacement {
  Peer old_worker;
  Peer successor;
  // The old worker had not ended by the deadline: it may have had alerts that it did not handle.
  bool killed_at_deadline = false;
};

// How a Replace or RestartAll ended.
struct RestartReport {
  // OK: every worker that was to be replaced has ended, with its successor there.
  // kUnavailable: a successor ended before it answered, or before its predecessor had ended.
  // kDeadlineExceeded: a successor did not answer by the deadline; it was killed.
  // kResourceExhausted: a successor could not be started (as Master::Spawn).
  // kCancelled: one of the two workers was retired by the program meanwhile, or the master's
  // endpoint was closed or destroyed.
  // The message names the workers.
  absl::Status status;
  // In the order in which the old workers ended. Those that died before their turn are not among
  // them.
  std::vector<Replacement> replaced;
  // Those that were to be replaced and still live, unless the status is OK. The first of them may
  // be draining; all others are as they were.
  std::vector<Peer> remaining;
};

// Called once, from the loop; from Close and the destructor of the master with kCancelled.
using RestartDone = absl::AnyInvocable<void(const RestartReport&)>;
using ReplaceDone = RestartDone;

}  // namespace alertpipe

#endif  // ALERTPIPE_RESTART_H_
