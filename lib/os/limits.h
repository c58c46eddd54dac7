// SPDX-License-Identifier: Apache-2.0
//
// The bounds that the system sets, asked before anything is created, so that a master that cannot
// have all its pipes says so in one sentence instead of failing half-way with "too many open
// files".

#ifndef ALERTPIPE_OS_LIMITS_H_
#define ALERTPIPE_OS_LIMITS_H_

#include <cstddef>

#include "absl/status/status.h"

namespace alertpipe::os {

// Whether this process can open `needed` more descriptors under RLIMIT_NOFILE. A snapshot: nothing
// is reserved. Descriptors at or above the limit take no place and are not counted.
//   ResourceExhausted  it cannot; the text names the limit, its value, what is open and what is
//                      needed
// Where the limit cannot be asked the answer is OK, and the calls that create tell.
absl::Status CheckDescriptors(size_t needed);

// Whether descriptors 0, 1 and 2 are open. Where one is not, the next pipe takes its number: stdio
// then writes into it, and libuv refuses to close it.
//   FailedPrecondition  one is closed; the text says which, and what to do
absl::Status CheckStandardDescriptors();

// Bytes that a packet may have at most: min(4096, PIPE_BUF of the running system). At least 512
// (POSIX).
size_t PacketBytesMax() noexcept;

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_LIMITS_H_
