// SPDX-License-Identifier: Apache-2.0
//
// How messages name a process of the family.
#ifndef ALERTPIPE_CORE_DESCRIBE_H_
#define ALERTPIPE_CORE_DESCRIBE_H_

#include <absl/strings/str_cat.h>
#include <alertpipe/peer.h>

#include <string>

namespace alertpipe::core {

inline std::string Describe(const Peer& peer) {
  return absl::StrCat(peer.is_master() ? "the master" : "the worker", " in slot ", peer.slot,
                      " (pid ", peer.pid, ", generation ", peer.generation, ")");
}

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_DESCRIBE_H_
