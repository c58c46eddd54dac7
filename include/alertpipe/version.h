// SPDX-License-Identifier: Apache-2.0
//
// The version of the library that is linked, which may be newer than the headers.
#ifndef ALERTPIPE_VERSION_H_
#define ALERTPIPE_VERSION_H_

#include <alertpipe/export.h>

#include <string_view>

namespace alertpipe {

// "major.minor.patch"; a static string.
ALERTPIPE_EXPORT std::string_view Version();

}  // namespace alertpipe

#endif  // ALERTPIPE_VERSION_H_
