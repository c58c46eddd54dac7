// SPDX-License-Identifier: Apache-2.0
#include "transports/raw_outbox.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace alertpipe::bench {
namespace {

// Less than this of an alert is not worth a record: the rest of the packet stays empty.
constexpr std::size_t kPartMin = 64;
// From here on a second iovec is cheaper than a copy.
constexpr std::size_t kTailMin = 512;

}  // namespace

RawOutbox::RawOutbox(bool packed, int sender, int lane, std::vector<Pipe> pipes)
    : packed_(packed), pipes_(std::move(pipes)), receivers_(pipes_.size()) {
  head_.sender = static_cast<std::uint16_t>(sender);
  head_.lane = static_cast<std::uint8_t>(lane);
  waiting_.reserve(pipes_.size());
  std::memset(packet_, 0, sizeof(packet_));
}

void RawOutbox::PostParts(Name name, std::string_view data) {
  head_.total = static_cast<std::uint32_t>(kNameBytes + data.size());
  head_.is_first = 1;
  name_ = ToString(name);
  rest_ = data;
  tally_.alerts += receivers_;
  Continue();
}

void RawOutbox::PostBrief(Name name, std::string_view data) {
  Post(name, data);
  if (!blocked()) return;
  used_ += tail_.copy(packet_ + used_, tail_.size());
  tail_ = {};
  kept_.assign(rest_.data(), rest_.size());
  rest_ = kept_;
}

void RawOutbox::Continue() {
  while (head_.is_first != 0 || !rest_.empty()) {
    const std::size_t least =
        sizeof(RawHead) + (head_.is_first != 0 ? kNameBytes : 0) + std::min(rest_.size(), kPartMin);
    if (used_ > 0 && free_bytes() < least && !WritePacket()) return;
    AddPart();
    if ((!packed_ || !tail_.empty()) && !WritePacket()) return;
  }
}

void RawOutbox::AddPart() {
  const std::size_t name_bytes = head_.is_first != 0 ? kNameBytes : 0;
  const std::size_t room = free_bytes() - sizeof(RawHead) - name_bytes;
  const std::size_t part = std::min(room, rest_.size());
  head_.part = static_cast<std::uint16_t>(name_bytes + part);
  char* at = packet_ + used_;
  std::memcpy(at, &head_, sizeof(head_));
  at += sizeof(head_);
  if (name_bytes != 0) std::memcpy(at, name_.data(), kNameBytes);
  at += name_bytes;
  if (part >= kTailMin && (part == room || !packed_)) {
    tail_ = rest_.substr(0, part);
  } else {
    std::memcpy(at, rest_.data(), part);
    at += part;
  }
  used_ = static_cast<std::size_t>(at - packet_);
  rest_.remove_prefix(part);
  head_.is_first = 0;
  if (rest_.empty()) ++head_.number;
}

// Offers the packet to those who do not have it yet. True when all of them have it.
bool RawOutbox::WritePacket() {
  if (waiting_.empty()) waiting_ = pipes_;
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(),
                                [this](const Pipe& pipe) { return WriteTo(pipe.fd); }),
                 waiting_.end());
  if (blocked()) return false;
  used_ = 0;
  tail_ = {};
  return true;
}

// True when it is written, or never will be.
bool RawOutbox::WriteTo(int fd) {
  ssize_t written;
  if (tail_.empty()) {
    written = write(fd, packet_, used_);
  } else {
    const iovec parts[2] = {{packet_, used_}, {const_cast<char*>(tail_.data()), tail_.size()}};
    written = writev(fd, parts, 2);
  }
  if (written < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (written < 0) error_ = errno;
  ++tally_.packets;
  return true;
}

void RawOutbox::Flush() {
  if (!blocked() && has_unsent()) WritePacket();
}

void RawOutbox::Resume() {
  if (blocked() && WritePacket()) Continue();
}

}  // namespace alertpipe::bench
