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

class Pipe {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  explicit Pipe(std::size_t capacity);

  // Bytes taken; 0 stands for EAGAIN.
  std::size_t Write(const iovec* parts, int count);
  std::size_t Write(std::string_view bytes);
  std::size_t Read(char* to, std::size_t room);

  bool empty() const { return used_ == 0; }
  // What poll says of the end for writing.
  bool writable() const { return used_ < pages_.size(); }
  std::size_t bytes() const { return static_cast<std::size_t>(written_ - read_); }
  // Bytes ever.
  std::uint64_t written() const { return written_; }
  std::uint64_t read() const { return read_; }

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
