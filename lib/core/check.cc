// SPDX-License-Identifier: Apache-2.0
#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace alertpipe::core {

void CheckFailed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "alertpipe: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace alertpipe::core
