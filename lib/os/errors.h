// SPDX-License-Identifier: Apache-2.0
//
// From errno to absl::Status, in one wording.

#ifndef ALERTPIPE_OS_ERRORS_H_
#define ALERTPIPE_OS_ERRORS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace alertpipe::os {

// A status with the code that fits `error` (an errno value, not 0) and the text
// "`what`: description (errno N)". `what` names the call and, where there is one, the thing and the
// value that it was called with. The codes are those of absl::ErrnoToStatusCode (ENOSYS is
// Unimplemented, ESRCH is NotFound, EMFILE and ENOMEM are ResourceExhausted), except that EAGAIN is
// ResourceExhausted: calls that answer EAGAIN for "try later" do not come here, fork and mmap do.
absl::Status ErrnoStatus(int error, absl::string_view what);

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_ERRORS_H_
