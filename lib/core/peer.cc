// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/peer.h>

#include <absl/strings/str_cat.h>

namespace alertpipe {

std::string ToString(const Peer& peer) {
  return absl::StrCat(peer.is_master() ? "the master" : "the worker", " in slot ", peer.slot,
                      " (pid ", peer.pid, ", generation ", peer.generation, ")");
}

}  // namespace alertpipe
