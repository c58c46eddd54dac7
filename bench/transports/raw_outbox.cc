// SPDX-License-Identifier: Apache-2.0
#include "transports/raw_outbox.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "settings.h"

namespace alertpipe::bench {
namespace {

// Less than this of an alert is not worth a record: the rest of the packet stays empty.
constexpr std::size_t kPartMin = 64;
// From here on a second iovec is cheaper than a copy.
constexpr std::size_t kTailMin = 512;
// What lies elsewhere has to leave before the next alert is posted, and ends the run. So data is
// copied, unless it fills so many runs that a short one at its end does not matter.
constexpr std::size_t kLentRunsMin = 4;

}  // namespace

RawOutbox::RawOutbox(Packing packing, int sender, int lane, std::vector<Pipe> pipes)
    : packing_(packing), pipes_(std::move(pipes)), receivers_(pipes_.size()) {
  head_.sender = static_cast<std::uint16_t>(sender);
  head_.lane = static_cast<std::uint8_t>(lane);
  waiting_.reserve(pipes_.size());
  for (int i = 0; i <= packing_.run; ++i) packets_.push_back(std::make_unique<Packet>());
  filling_ = packets_.front().get();
}

void RawOutbox::PostParts(Name name, std::string_view data) {
  head_.total = static_cast<std::uint32_t>(kNameBytes + data.size());
  head_.is_first = 1;
  name_ = ToString(name);
  rest_ = data;
  const auto run = static_cast<std::size_t>(packing_.run);
  copied_ = run > 1 && data.size() < kLentRunsMin * run * kWriteBytesMax;
  tally_.alerts += receivers_;
  Continue();
}

void RawOutbox::PostBrief(Name name, std::string_view data) {
  Post(name, data);
  if (!blocked()) return;
  for (const auto& packet : packets_) {
    packet->used += packet->tail.copy(packet->bytes + packet->used, packet->tail.size());
    packet->tail = {};
  }
  kept_.assign(rest_.data(), rest_.size());
  rest_ = kept_;
}

void RawOutbox::Continue() {
  while (head_.is_first != 0 || !rest_.empty()) {
    const std::size_t least =
        sizeof(RawHead) + (head_.is_first != 0 ? kNameBytes : 0) + std::min(rest_.size(), kPartMin);
    if (filling_->used > 0 && free_bytes() < least && !EndPacket()) return;
    AddPart();
    if ((!packing_.packed || !filling_->tail.empty()) && !EndPacket()) return;
  }
  if (full_ > 0 && !copied_) Offer(full_);
}

void RawOutbox::AddPart() {
  Packet& packet = *filling_;
  const std::size_t name_bytes = head_.is_first != 0 ? kNameBytes : 0;
  const std::size_t room = free_bytes() - sizeof(RawHead) - name_bytes;
  const std::size_t part = std::min(room, rest_.size());
  head_.part = static_cast<std::uint16_t>(name_bytes + part);
  char* at = packet.bytes + packet.used;
  packet.last_head = packet.used;
  std::memcpy(at, &head_, sizeof(head_));
  at += sizeof(head_);
  if (name_bytes != 0) std::memcpy(at, name_.data(), kNameBytes);
  at += name_bytes;
  if (!copied_ && part >= kTailMin && (part == room || !packing_.packed)) {
    packet.tail = rest_.substr(0, part);
  } else {
    std::memcpy(at, rest_.data(), part);
    at += part;
  }
  packet.used = static_cast<std::size_t>(at - packet.bytes);
  rest_.remove_prefix(part);
  head_.is_first = 0;
  if (rest_.empty()) ++head_.number;
}

// Nothing more goes into the packet. False: blocked.
bool RawOutbox::EndPacket() {
  if (packing_.run == 0) return Offer(1);
  PadPacket();
  filling_ = packets_[++full_].get();
  return full_ < static_cast<std::size_t>(packing_.run) || Offer(full_);
}

// The last record of a packet in a run reaches to the packet's end.
void RawOutbox::PadPacket() {
  Packet& packet = *filling_;
  if (!packet.tail.empty() || packet.used == kWriteBytesMax) return;
  RawHead head;
  std::memcpy(&head, packet.bytes + packet.last_head, sizeof(head));
  head.padding = static_cast<std::uint16_t>(free_bytes());
  std::memcpy(packet.bytes + packet.last_head, &head, sizeof(head));
  packet.used = kWriteBytesMax;
}

// Writes the first so many packets to everybody. True when all of them have them.
bool RawOutbox::Offer(std::size_t packets) {
  offered_ = packets;
  waiting_ = pipes_;
  return WriteWaiting();
}

bool RawOutbox::WriteWaiting() {
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(),
                                [this](Pipe& pipe) { return WriteTo(&pipe); }),
                 waiting_.end());
  if (blocked()) return false;
  Renew();
  return true;
}

// What was offered is free again; the packet that is being filled comes first.
void RawOutbox::Renew() {
  for (std::size_t i = 0; i < offered_; ++i) {
    packets_[i]->used = 0;
    packets_[i]->tail = {};
  }
  std::swap(packets_.front(), packets_[full_]);
  full_ = 0;
  filling_ = packets_.front().get();
}

// True when it has all packets, or never will.
bool RawOutbox::WriteTo(Pipe* pipe) {
  while (pipe->written < offered_) {
    const std::size_t packets = pipe->written < full_ ? full_ - pipe->written : 1;
    const ssize_t written = pipe->written < full_ ? WriteRun(pipe->fd, pipe->written)
                                                  : WriteOne(pipe->fd, *packets_[pipe->written]);
    if (written < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (written < 0) {
      error_ = errno;
      return true;
    }
    pipe->written += static_cast<std::size_t>(written);
    tally_.packets += static_cast<std::uint64_t>(written);
    if (static_cast<std::size_t>(written) < packets) return false;
  }
  return true;
}

// Offers all full packets from this one on. How many of them were written; -1 for an error.
ssize_t RawOutbox::WriteRun(int fd, std::size_t first) {
  iovec parts[2 * kRunMax];
  int count = 0;
  for (std::size_t i = first; i < full_; ++i) {
    const Packet& packet = *packets_[i];
    parts[count++] = {const_cast<char*>(packet.bytes), packet.used};
    if (packet.tail.empty()) continue;
    parts[count++] = {const_cast<char*>(packet.tail.data()), packet.tail.size()};
  }
  const ssize_t written = writev(fd, parts, count);
  if (written < 0) return written;
  if (static_cast<std::size_t>(written) % kWriteBytesMax == 0) {
    return written / static_cast<ssize_t>(kWriteBytesMax);
  }
  errno = EPROTO;
  return -1;
}

// One packet, alone: 1, or -1 for an error.
ssize_t RawOutbox::WriteOne(int fd, const Packet& packet) {
  ssize_t written;
  if (packet.tail.empty()) {
    written = write(fd, packet.bytes, packet.used);
  } else {
    const iovec parts[2] = {{const_cast<char*>(packet.bytes), packet.used},
                            {const_cast<char*>(packet.tail.data()), packet.tail.size()}};
    written = writev(fd, parts, 2);
  }
  return written < 0 ? -1 : 1;
}

void RawOutbox::Flush() {
  if (!blocked() && has_unsent()) Offer(full_ + (filling_->used > 0 ? 1 : 0));
}

void RawOutbox::Resume() {
  if (blocked() && WriteWaiting()) Continue();
}

}  // namespace alertpipe::bench
