// SPDX-License-Identifier: Apache-2.0
//
// Folders of /proc whose entries are numbers.

#ifndef ALERTPIPE_OS_DIRECTORY_H_
#define ALERTPIPE_OS_DIRECTORY_H_

#include <vector>

#include "absl/status/statusor.h"

namespace alertpipe::os {

// The entries of the folder `path` that are numbers, in no order. In /proc/self/fd the descriptor
// that was used for looking, closed by then, is one of them. Errors as open and getdents64 say:
// NotFound, PermissionDenied, ResourceExhausted, ...
absl::StatusOr<std::vector<int>> ListNumbers(const char* path);

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_DIRECTORY_H_
