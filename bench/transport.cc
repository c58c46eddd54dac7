// SPDX-License-Identifier: Apache-2.0
#include "transport.h"

namespace alertpipe::bench {

std::map<std::string, Measure>& Transports() {
  static auto* transports = new std::map<std::string, Measure>;
  return *transports;
}

}  // namespace alertpipe::bench
