// SPDX-License-Identifier: Apache-2.0
#include "transport.h"

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {

std::map<std::string, Known>& Transports() {
  static auto* transports = new std::map<std::string, Known>;
  return *transports;
}

std::string Absence(const std::string& transport) {
  for (const Requirement& requirement : kRequirements) {
    if (transport != requirement.transport) continue;
    return absl::StrCat(transport, " is not in this build: install ", requirement.package,
                        " and configure again");
  }
  return absl::StrCat("there is no transport ", transport);
}

}  // namespace alertpipe::bench
