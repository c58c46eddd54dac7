// SPDX-License-Identifier: Apache-2.0
//
// The pipes of transports that make their own.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_PIPE_H_
#define ALERTPIPE_BENCH_TRANSPORTS_PIPE_H_

#include <cstddef>

#include <absl/status/statusor.h>

namespace alertpipe::bench {

// The ends of one process's inbox, non-blocking. Whoever opened them closes them.
struct RawPipe {
  int read_fd = -1;
  int write_fd = -1;
  std::size_t capacity = 0;  // as granted
};

// `capacity` 0 leaves the kernel's default.
absl::StatusOr<RawPipe> OpenPipe(std::size_t capacity);
void ClosePipe(const RawPipe& pipe);

// What a pipe is granted here. Transports without pipes report it as theirs, so that their results
// stand beside those that were measured with pipes of this capacity.
absl::StatusOr<std::size_t> GrantedCapacity(std::size_t capacity);

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_PIPE_H_
