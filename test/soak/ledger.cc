// SPDX-License-Identifier: Apache-2.0
#include "ledger.h"

#include <sys/mman.h>

namespace alertpipe::soak {

Ledger* MapLedger() {
  void* memory = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Ledger*>(memory);
}

}  // namespace alertpipe::soak
