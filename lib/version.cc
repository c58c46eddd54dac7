// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/version.h>

namespace alertpipe {

std::string_view Version() { return ALERTPIPE_VERSION; }

}  // namespace alertpipe
