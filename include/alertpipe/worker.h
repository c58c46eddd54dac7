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

  // Called once, from the loop, within a second of the master's death. Afterwards alerts between
  // the workers that live still work, dead ones are noticed when something is sent to them, and
  // nobody joins any more.
  void OnMasterGone(absl::AnyInvocable<void()> hook);

 private:
  Worker();
};

}  // namespace alertpipe

#endif  // ALERTPIPE_WORKER_H_
