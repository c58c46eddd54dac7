// SPDX-License-Identifier: Apache-2.0
//
// A worker's endpoint.
#ifndef ALERTPIPE_WORKER_H_
#define ALERTPIPE_WORKER_H_

#include <memory>

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <alertpipe/endpoint.h>
#include <alertpipe/export.h>
#include <alertpipe/slot.h>

struct uv_loop_s;  // uv_loop_t

namespace alertpipe {

// How an endpoint behaves on its loop.
struct AttachOptions {
  // Whether a waiting endpoint keeps uv_run from returning. With false, the loop ends when nothing
  // else is active, even if something is still queued: Close first.
  bool keep_loop_alive = true;
  // How many alerts are handled before the loop's timers and other descriptors get their turn, at
  // least 1.
  int alerts_per_turn_max = 512;
  // How often the inbox is tried again, each time after a sched_yield, before the loop waits; 0 to
  // kLingerMax. The next alert of a conversation is then found without a wake-up, which costs both
  // sides more than all else. Of use where processes answer each other: 1 or 2 for many alerts a
  // second among many workers, 20 for short round trips between processes that have a core each.
  // Costs about a microsecond of CPU for each try in vain. Only the last read of an exchange is
  // followed by tries in vain: a process that receives nothing does not linger, nor does one while
  // a pipe that it writes to is full, nor where the kernel does not honour RWF_NOWAIT on pipes,
  // which is tried at the start. The loop's timers and other descriptors get their turn after at
  // most alerts_per_turn_max alerts.
  int linger = 0;
};

class ALERTPIPE_EXPORT Worker : public Endpoint {
 public:
  // Attaches the calling process to its slot, on `loop`. The loop must outlive the worker and be
  // either fresh (uv_loop_init after the fork) or the one of the master after uv_loop_fork; the
  // calling thread must be the one that runs it. Alerts that were sent since the slot was announced
  // wait in the pipe and arrive first.
  //
  // Errors: kInvalidArgument for a null loop or an option out of range; kFailedPrecondition for a
  // slot that was moved from or given up by the master, in a process that is not the slot's (the
  // one that reserved it, another child, a child's child), or in one that has a slot already;
  // kResourceExhausted when memory or descriptors are short; kInternal when libuv refuses. The slot
  // is used up in any case: one that was reserved, and is attached by mistake in the process that
  // reserved it, is cancelled.
  static absl::StatusOr<std::unique_ptr<Worker>> Attach(Slot slot, uv_loop_s* loop,
                                                        AttachOptions options = {});

  ~Worker();

  // Called once, from the loop, when the master replaces this worker (Master::Retire, Replace,
  // RestartAll). `successor` is who takes its place, with slot -1 if nobody does. From now on what
  // others send anew goes elsewhere: they are refused here (kUnavailable, naming the successor's
  // slot), and broadcasts leave this worker out. What they sent before still arrives, and replies
  // and responses do. The hook ends what the application has to end - listening sockets,
  // connections, work that was begun - and then, at once or later, calls Drain. The master ends the
  // process when its deadline has passed. Without a hook the endpoint drains at once. May do what
  // handlers may, must not throw.
  using DrainingHook = PeerHook;
  void OnDraining(DrainingHook hook);

  // The worker's own work has ended: handles what others have sent, waits until the requests that
  // were made here have ended, and those that were taken over (ResponseToken) are responded to,
  // says its last to all (from then on sends are refused with kFailedPrecondition, responses
  // excepted), waits for the last of all others, writes everything, and then closes like Close and
  // calls `done`. Nothing that anybody had accepted for this worker is lost that way, unless the
  // sender ends first. A stopped peer, or one that does not turn its loop, holds this up until the
  // master's deadline.
  //
  // kFailedPrecondition when this worker is not being replaced, drains already, is closed or
  // closing. `done` is not called if the endpoint is closed or destroyed before.
  Result Drain(CloseHook done = nullptr);

  // Called once, from the loop, within a second of the death of the master's process (~Master is
  // none). Afterwards alerts between the workers that live still work, dead ones are noticed when
  // something is sent to them, and nobody joins any more.
  void OnMasterGone(absl::AnyInvocable<void()> hook);

 private:
  Worker();
};

}  // namespace alertpipe

#endif  // ALERTPIPE_WORKER_H_
