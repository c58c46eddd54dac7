// SPDX-License-Identifier: Apache-2.0
//
// A pipe as the kernel keeps it: a ring of pages. Room is counted in pages and not in bytes: the
// odd bytes of a write (its length modulo 4096) go into the last page if they fit behind what was
// ever in it, all else takes fresh pages, and a page is free again only when all of it has been
// read. So a write of at most 4096 bytes is taken whole or not at all, and a longer one is cut
// where the pages end. A read that returns less than was asked for has found the pipe empty.
#ifndef ALERTPIPE_TEST_SIM_PIPE_H_
#define ALERTPIPE_TEST_SIM_PIPE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace alertpipe::sim {

// A pipe, simulated or real.
class AnyPipe {
 public:
  virtual ~AnyPipe() = default;
  // Bytes taken; 0 stands for EAGAIN.
  virtual std::size_t Write(const iovec* parts, int count) = 0;
  // Bytes read; 0: it is empty.
  virtual std::size_t Read(char* to, std::size_t room) = 0;
  // What poll says of its ends.
  virtual bool empty() const = 0;
  virtual bool writable() const = 0;
  std::size_t Write(std::string_view bytes);
};

class Pipe : public AnyPipe {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  explicit Pipe(std::size_t capacity);

  using AnyPipe::Write;
  std::size_t Write(const iovec* parts, int count) override;
  std::size_t Read(char* to, std::size_t room) override;
  bool empty() const override { return used_ == 0; }
  bool writable() const override { return used_ < pages_.size(); }
  std::size_t bytes() const { return static_cast<std::size_t>(written_ - read_); }

 private:
  struct Page {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;  // space that was read is not used again
  };
  std::size_t Place(std::size_t nth) const { return (head_ + nth) % pages_.size(); }

  std::vector<Page> pages_;
  std::unique_ptr<char[]> memory_;
  std::size_t head_ = 0;
  std::size_t used_ = 0;  // pages
  std::uint64_t written_ = 0;
  std::uint64_t read_ = 0;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_PIPE_H_
