// SPDX-License-Identifier: Apache-2.0
//
// The receiving side of the raw pipes: reads large runs of bytes, checks what each record's head
// says, and hands out whole alerts in one piece each, from the read buffer where they lie in one
// record and put together, for each sender and lane, where they do not.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RAW_INBOX_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RAW_INBOX_H_

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "transports/raw_record.h"

namespace alertpipe::bench {

class RawInbox {
 public:
  RawInbox(int fd, int processes)
      : fd_(fd),
        buffer_(kWriteBytesMax + kReadBytes, '\0'),
        streams_(static_cast<std::size_t>(processes * kLanes)) {}

  const std::string& error() const { return error_; }
  // As far as the latest read knows.
  bool is_empty() const { return empty_; }

  // One turn: reads on for as long as each read brings a full packet or more, since then the next
  // is on its way; no longer than others on the loop can wait for their turn. Calls consume(sender,
  // alert) for each alert; its bytes are valid during the call. False: there was nothing to read.
  template <typename Consume>
  bool Read(Consume&& consume) {
    for (int i = 0; i < kReadsPerTurn && error_.empty(); ++i) {
      const ssize_t got = read(fd_, buffer_.data() + kept_, kReadBytes);
      empty_ = got < static_cast<ssize_t>(kReadBytes);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return i > 0;
      if (got <= 0) {
        error_ = "a read failed";
        return true;
      }
      Split(static_cast<std::size_t>(got) + kept_, consume);
      if (got < static_cast<ssize_t>(kWriteBytesMax)) return true;
    }
    return true;
  }

 private:
  static constexpr std::size_t kReadBytes = 65536;
  static constexpr int kReadsPerTurn = 64;

  struct Stream {
    std::uint32_t number = 0;
    std::string partial;
    std::size_t collected = 0;
  };

  template <typename Consume>
  void Split(std::size_t bytes, Consume&& consume) {
    const char* at = buffer_.data();
    const char* const end = at + bytes;
    RawHead head;
    while (static_cast<std::size_t>(end - at) >= sizeof(head)) {
      std::memcpy(&head, at, sizeof(head));
      if (std::size_t{head.part} + head.padding > kWriteBytesMax - sizeof(head)) {
        Fail("a record is too long");
        return;
      }
      const std::size_t bytes_taken = sizeof(head) + head.part + head.padding;
      if (static_cast<std::size_t>(end - at) < bytes_taken) break;
      if (!Take(head, at + sizeof(head), consume)) return;
      at += bytes_taken;
    }
    kept_ = static_cast<std::size_t>(end - at);
    std::memmove(buffer_.data(), at, kept_);
  }

  template <typename Consume>
  bool Take(const RawHead& head, const char* part, Consume&& consume) {
    const std::size_t place = head.sender * std::size_t{kLanes} + head.lane;
    if (place >= streams_.size()) return Fail("a record names a sender that does not exist");
    Stream& stream = streams_[place];
    if (head.number != stream.number) return Fail("a record is out of sequence");
    if (head.is_first != 0 && head.part == head.total) {
      ++stream.number;
      consume(int{head.sender}, std::string_view(part, head.part));
      return true;
    }
    if (!Collect(&stream, head, part)) return Fail("a record does not continue its alert");
    if (stream.collected < head.total) return true;
    ++stream.number;
    stream.collected = 0;
    consume(int{head.sender}, std::string_view(stream.partial.data(), head.total));
    return true;
  }

  bool Collect(Stream* stream, const RawHead& head, const char* part) {
    if ((head.is_first != 0) != (stream->collected == 0)) return false;
    if (stream->partial.size() < head.total) stream->partial.resize(head.total);
    if (stream->collected + head.part > head.total) return false;
    std::memcpy(stream->partial.data() + stream->collected, part, head.part);
    stream->collected += head.part;
    return true;
  }

  bool Fail(const char* why) {
    error_ = why;
    return false;
  }

  int fd_;
  std::string buffer_;  // touched when it is made, so that no read meets a missing page
  std::size_t kept_ = 0;
  bool empty_ = true;
  std::vector<Stream> streams_;
  std::string error_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RAW_INBOX_H_
