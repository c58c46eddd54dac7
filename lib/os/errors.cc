// SPDX-License-Identifier: Apache-2.0

#include "os/errors.h"

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace alertpipe::os {

absl::Status ErrnoStatus(int error, absl::string_view what) {
  const absl::StatusCode code =
      error == EAGAIN ? absl::StatusCode::kResourceExhausted : absl::ErrnoToStatusCode(error);
  // ErrnoToStatus knows a thread-safe way to the description in every libc.
  const absl::Status described = absl::ErrnoToStatus(error, what);
  return absl::Status(code, absl::StrCat(described.message(), " (errno ", error, ")"));
}

}  // namespace alertpipe::os
