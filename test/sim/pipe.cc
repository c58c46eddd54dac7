// SPDX-License-Identifier: Apache-2.0
#include "sim/pipe.h"

#include <algorithm>
#include <cstring>

namespace alertpipe::sim {
namespace {

// Takes bytes out of the parts of a write, one after the other.
class Source {
 public:
  Source(const iovec* parts, int count) : part_(parts), end_(parts + count) {}

  void CopyTo(char* to, std::size_t bytes) {
    while (bytes > 0) {
      const std::size_t piece = std::min(bytes, part_->iov_len - at_);
      std::memcpy(to, static_cast<const char*>(part_->iov_base) + at_, piece);
      to += piece;
      bytes -= piece;
      at_ += piece;
      if (at_ == part_->iov_len && part_ != end_) {
        ++part_;
        at_ = 0;
      }
    }
  }

 private:
  const iovec* part_;
  const iovec* end_;
  std::size_t at_ = 0;
};

}  // namespace

Pipe::Pipe(std::size_t capacity)
    : pages_(capacity / kPageBytes), memory_(new char[capacity / kPageBytes * kPageBytes]) {}

std::size_t Pipe::Write(const iovec* parts, int count) {
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) total += parts[i].iov_len;
  Source source(parts, count);
  std::size_t taken = 0;
  const std::size_t odd = total % kPageBytes;
  if (odd > 0 && used_ > 0) {
    const std::size_t last = Place(used_ - 1);
    Page& page = pages_[last];
    if (page.end + odd <= kPageBytes) {
      source.CopyTo(memory_.get() + last * kPageBytes + page.end, odd);
      page.end += static_cast<std::uint32_t>(odd);
      taken = odd;
    }
  }
  while (taken < total && used_ < pages_.size()) {
    const std::size_t piece = std::min(total - taken, kPageBytes);
    const std::size_t at = Place(used_++);
    source.CopyTo(memory_.get() + at * kPageBytes, piece);
    pages_[at] = {0, static_cast<std::uint32_t>(piece)};
    taken += piece;
  }
  written_ += taken;
  return taken;
}

std::size_t AnyPipe::Write(std::string_view bytes) {
  const iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  return Write(&part, 1);
}

std::size_t Pipe::Read(char* to, std::size_t room) {
  std::size_t done = 0;
  while (done < room && used_ > 0) {
    Page& page = pages_[head_];
    const std::size_t piece = std::min<std::size_t>(room - done, page.end - page.begin);
    std::memcpy(to + done, memory_.get() + head_ * kPageBytes + page.begin, piece);
    done += piece;
    page.begin += static_cast<std::uint32_t>(piece);
    if (page.begin < page.end) break;
    head_ = Place(1);
    --used_;
  }
  read_ += done;
  return done;
}

}  // namespace alertpipe::sim
