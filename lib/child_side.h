// SPDX-License-Identifier: Apache-2.0
//
// What a Slot holds: the worker's side of the family, in the process that was forked for it.
#ifndef ALERTPIPE_CHILD_SIDE_H_
#define ALERTPIPE_CHILD_SIDE_H_

#include <alertpipe/peer.h>

#include <functional>
#include <memory>

#include "endpoint_impl.h"
#include "family.h"

namespace alertpipe::internal {

struct ChildSide {
  Family* family = nullptr;  // lives as long as the process
  Peer self;
  // The loop that the master is attached to, and what closes the handles that the fork copied
  // there.
  uv_loop_t* master_loop = nullptr;
  std::function<void()> close_master_handles;
};

// The endpoint that was attached in this process last: closed when the worker's main function
// returns.
std::weak_ptr<EndpointImpl>& CurrentWorker();

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_CHILD_SIDE_H_
