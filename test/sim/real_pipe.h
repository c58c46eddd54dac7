// SPDX-License-Identifier: Apache-2.0
//
// A pipe of the kernel in the place of a simulated one: what the simulator believes of pipes is
// compared with what they do.
#ifndef ALERTPIPE_TEST_SIM_REAL_PIPE_H_
#define ALERTPIPE_TEST_SIM_REAL_PIPE_H_

#include <cstddef>

#include "os/pipe.h"
#include "sim/pipe.h"

namespace alertpipe::sim {

class RealPipe final : public AnyPipe {
 public:
  // Ends the program if the kernel does not grant that capacity.
  explicit RealPipe(std::size_t capacity);

  using AnyPipe::Write;
  std::size_t Write(const iovec* parts, int count) override;
  std::size_t Read(char* to, std::size_t room) override;
  bool empty() const override;
  bool writable() const override;

 private:
  os::Pipe pipe_;
  os::PipeIo io_;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_REAL_PIPE_H_
