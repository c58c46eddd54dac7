// SPDX-License-Identifier: Apache-2.0
//
// The sending side of the raw pipes: alerts become packets of at most 4096 bytes, the same for all
// receivers of the outbox. When a pipe is full the outbox is blocked, in the middle of an alert if
// need be, and goes on from there.
//
// In runs, packets are filled up to exactly 4096 bytes and leave several at a time. The kernel
// tears such a write at the ends of packets only, so that other senders' packets may come in
// between.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "link.h"
#include "transports/raw_record.h"

namespace alertpipe::bench {

// How alerts become packets: each has its own, or they share them, parts of large ones included.
struct Packing {
  bool packed = false;
  int run = 0;  // full packets that leave with one call; 0: each packet has a write of its own
};

class RawOutbox {
 public:
  // One of the receivers.
  struct Pipe {
    int process = -1;
    int fd = -1;
    std::size_t written = 0;  // packets of those that are offered
  };

  RawOutbox(Packing packing, int sender, int lane, std::vector<Pipe> pipes);

  // Of those that do not have all packets yet.
  const std::vector<Pipe>& waiting() const { return waiting_; }
  bool blocked() const { return !waiting_.empty(); }
  bool has_unsent() const { return full_ > 0 || filling_->used > 0; }
  int error() const { return error_; }  // of a write that failed: errno
  Tally tally() const { return tally_; }

  // To be called when not blocked. The data is lent until the outbox is no longer blocked.
  void Post(Name name, std::string_view data) {
    const std::size_t bytes = sizeof(RawHead) + kNameBytes + data.size();
    if (packing_.packed && bytes <= free_bytes()) {
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
  // Some of it a copy, then what is written from where it lies.
  struct Packet {
    std::size_t used = 0;
    std::size_t last_head = 0;
    std::string_view tail;
    alignas(64) char bytes[kWriteBytesMax] = {};
  };

  void AddWhole(Name name, std::string_view data) {
    head_.total = static_cast<std::uint32_t>(kNameBytes + data.size());
    head_.part = static_cast<std::uint16_t>(head_.total);
    head_.is_first = 1;
    Packet& packet = *filling_;
    char* at = packet.bytes + packet.used;
    packet.last_head = packet.used;
    std::memcpy(at, &head_, sizeof(head_));
    std::memcpy(at + sizeof(head_), ToString(name).data(), kNameBytes);
    std::memcpy(at + sizeof(head_) + kNameBytes, data.data(), data.size());
    packet.used += sizeof(head_) + head_.total;
    head_.is_first = 0;
    ++head_.number;
    tally_.alerts += receivers_;
  }
  void PostParts(Name name, std::string_view data);
  void Continue();
  void AddPart();
  bool EndPacket();
  void PadPacket();
  bool Offer(std::size_t packets);
  bool WriteWaiting();
  void Renew();
  bool WriteTo(Pipe* pipe);
  ssize_t WriteRun(int fd, std::size_t first);
  ssize_t WriteOne(int fd, const Packet& packet);
  std::size_t free_bytes() const { return kWriteBytesMax - filling_->used; }

  const Packing packing_;
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
  bool copied_ = false;  // packets have no tails

  // Full ones, then the one that is being filled. Those that are offered are being written.
  std::vector<std::unique_ptr<Packet>> packets_;
  Packet* filling_ = nullptr;
  std::size_t full_ = 0;
  std::size_t offered_ = 0;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RAW_OUTBOX_H_
