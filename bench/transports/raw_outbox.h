// SPDX-License-Identifier: Apache-2.0
//
// The sending side of the raw pipes: alerts become writes of at most 4096 bytes, the same for all
// receivers of the outbox. When a pipe is full the outbox is blocked, in the middle of an alert if
// need be, and goes on from there.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "link.h"
#include "transports/raw_record.h"

namespace alertpipe::bench {

class RawOutbox {
 public:
  // One of the receivers.
  struct Pipe {
    int process = -1;
    int fd = -1;
  };

  // Packed: alerts share writes, parts of large ones included; else each has its own.
  RawOutbox(bool packed, int sender, int lane, std::vector<Pipe> pipes);

  // Of those that do not have the current packet yet.
  const std::vector<Pipe>& waiting() const { return waiting_; }
  bool blocked() const { return !waiting_.empty(); }
  bool has_unsent() const { return used_ > 0; }
  int error() const { return error_; }  // of a write that failed: errno
  Tally tally() const { return tally_; }

  // To be called when not blocked. The data is lent until the outbox is no longer blocked.
  void Post(Name name, std::string_view data) {
    const std::size_t bytes = sizeof(RawHead) + kNameBytes + data.size();
    if (packed_ && bytes <= free_bytes()) {
      AddWhole(name, data);
    } else {
      PostParts(name, data);
    }
  }
  // For data that is lent for the call only: what is left of it is copied when the pipe is full.
  void PostBrief(Name name, std::string_view data);

  // Writes what has been packed.
  void Flush();
  // Goes on after having been blocked.
  void Resume();

 private:
  void AddWhole(Name name, std::string_view data) {
    head_.total = static_cast<std::uint32_t>(kNameBytes + data.size());
    head_.part = static_cast<std::uint16_t>(head_.total);
    head_.is_first = 1;
    char* at = packet_ + used_;
    std::memcpy(at, &head_, sizeof(head_));
    std::memcpy(at + sizeof(head_), ToString(name).data(), kNameBytes);
    std::memcpy(at + sizeof(head_) + kNameBytes, data.data(), data.size());
    used_ += sizeof(head_) + head_.total;
    head_.is_first = 0;
    ++head_.number;
    tally_.alerts += receivers_;
  }
  void PostParts(Name name, std::string_view data);
  void Continue();
  void AddPart();
  bool WritePacket();
  bool WriteTo(int fd);
  std::size_t free_bytes() const { return kWriteBytesMax - used_; }

  const bool packed_;
  const std::vector<Pipe> pipes_;
  const std::uint64_t receivers_;
  std::vector<Pipe> waiting_;
  Tally tally_;
  int error_ = 0;

  // The alert that is being sent.
  RawHead head_;
  std::string_view name_;
  std::string_view rest_;
  std::string kept_;

  // The packet that is being filled or written: a copy, and what is written from where it lies.
  std::size_t used_ = 0;
  std::string_view tail_;
  alignas(64) char packet_[kWriteBytesMax];
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_
