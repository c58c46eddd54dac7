// SPDX-License-Identifier: Apache-2.0
//
// What a Slot holds: the way from a slot that the master has announced to an endpoint in the
// process that was forked for it, by Spawn or by the program.
//
// Spawn makes a Slot in the child. A program that forks on its own has one in the parent, and the
// fork copies it: what is done with it there and here must not be mixed up, so both functions look
// at the process that they run in.
#ifndef ALERTPIPE_CHILD_SIDE_H_
#define ALERTPIPE_CHILD_SIDE_H_

#include <alertpipe/peer.h>

#include <functional>
#include <memory>

#include <absl/status/statusor.h>

#include "endpoint_impl.h"
#include "family.h"

namespace alertpipe::internal {

struct ChildSide {
  ChildSide() = default;
  ChildSide(const ChildSide&) = delete;
  ChildSide& operator=(const ChildSide&) = delete;
  ~ChildSide() {
    if (give_up) give_up();
  }

  int slot = -1;
  std::uint32_t generation = 0;
  // Makes the calling process the slot's, for good: claims the slot, and gives up what belongs to
  // others. `loop` is what will be attached to: the handles that the fork copied into it are
  // closed. The family lives as long as the process.
  std::function<absl::StatusOr<Family*>(uv_loop_t* loop)> enter;
  // In the process that has reserved the slot: takes it down if nobody has used it. Nothing
  // anywhere else.
  std::function<void()> give_up;
};

// The endpoint that was attached in this process last: closed when the worker's main function
// returns.
std::weak_ptr<EndpointImpl>& CurrentWorker();

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_CHILD_SIDE_H_
