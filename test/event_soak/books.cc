// SPDX-License-Identifier: Apache-2.0
#include "books.h"

#include <sys/mman.h>

namespace alertpipe::event_soak {

const char* NameOf(Kind kind) {
  static constexpr const char* kNames[kKinds] = {"ordered", "plain", "gap", "value"};
  return kNames[static_cast<int>(kind)];
}

std::string Name(const Peer& peer) {
  return std::to_string(peer.slot) + "." + std::to_string(peer.generation);
}

Books* MapBooks() {
  void* memory = mmap(nullptr, sizeof(Books), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Books*>(memory);
}

}  // namespace alertpipe::event_soak
