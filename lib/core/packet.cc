// SPDX-License-Identifier: Apache-2.0
#include "core/packet.h"

#include <cstring>

namespace alertpipe::core {
namespace {

constexpr std::size_t kMagicAt = 0;
constexpr std::size_t kLengthAt = 2;
constexpr std::size_t kCheckAt = 4;
constexpr std::size_t kSlotAt = 8;
constexpr std::size_t kLaneAt = 10;
constexpr std::size_t kVersionAt = 11;
constexpr std::size_t kGenerationAt = 12;
constexpr std::size_t kPidAt = 16;
constexpr std::size_t kDestinationAt = 20;
constexpr std::size_t kSequenceAt = 24;

constexpr std::uint8_t kKindMask = 0x1f;
constexpr std::uint8_t kFlagsKnown = kHasRequestId | kIsResponse;

// Mixes every header byte but the check itself. It is there to tell a packet from payload when
// framing is lost, not to authenticate: whoever can write to the pipe can compute it.
std::uint32_t HeaderCheck(const char* header) {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  std::uint64_t mixed = Load<std::uint32_t>(header) * kMultiplier;
  for (std::size_t at = kSlotAt; at < kHeaderBytes; at += 8) {
    mixed ^= Load<std::uint64_t>(header + at);
    mixed *= kMultiplier;
    mixed ^= mixed >> 32;
  }
  return static_cast<std::uint32_t>(mixed);
}

bool KnownKind(std::uint8_t kind) { return (kind >= 1 && kind <= 4) || (kind >= 16 && kind <= 22); }

}  // namespace

void EncodeHeader(const PacketHeader& header, char* to) {
  Store<std::uint16_t>(to + kMagicAt, kMagic);
  Store<std::uint16_t>(to + kLengthAt, header.bytes);
  Store<std::uint16_t>(to + kSlotAt, header.source_slot);
  Store<std::uint8_t>(to + kLaneAt, header.lane);
  Store<std::uint8_t>(to + kVersionAt, kVersion);
  Store<std::uint32_t>(to + kGenerationAt, header.source_generation);
  Store<std::uint32_t>(to + kPidAt, header.source_pid);
  Store<std::uint32_t>(to + kDestinationAt, header.destination_generation);
  Store<std::uint64_t>(to + kSequenceAt, header.sequence);
  Store<std::uint32_t>(to + kCheckAt, HeaderCheck(to));
}

Framing DecodePacket(std::string_view bytes, PacketHeader* header) {
  if (bytes.size() < kHeaderBytes) return Framing::kIncomplete;
  const char* from = bytes.data();
  if (Load<std::uint16_t>(from + kMagicAt) != kMagic ||
      Load<std::uint32_t>(from + kCheckAt) != HeaderCheck(from) ||
      Load<std::uint8_t>(from + kVersionAt) != kVersion) {
    return Framing::kBroken;
  }
  header->bytes = Load<std::uint16_t>(from + kLengthAt);
  if (header->bytes < kHeaderBytes || header->bytes > kPacketBytesMax) return Framing::kBroken;
  if (header->bytes > bytes.size()) return Framing::kIncomplete;
  header->source_slot = Load<std::uint16_t>(from + kSlotAt);
  header->lane = Load<std::uint8_t>(from + kLaneAt);
  header->source_generation = Load<std::uint32_t>(from + kGenerationAt);
  header->source_pid = Load<std::uint32_t>(from + kPidAt);
  header->destination_generation = Load<std::uint32_t>(from + kDestinationAt);
  header->sequence = Load<std::uint64_t>(from + kSequenceAt);
  return Framing::kPacket;
}

std::size_t EncodeRecordHead(const Record& record, std::size_t data_bytes, char* to) {
  char* at = to;
  Store<std::uint8_t>(
      at, static_cast<std::uint8_t>(static_cast<std::uint8_t>(record.kind) | record.flags));
  Store<std::uint8_t>(at + 1, static_cast<std::uint8_t>(record.name.size()));
  Store<std::uint16_t>(at + 2, static_cast<std::uint16_t>(data_bytes));
  at += kRecordBytes;
  if ((record.flags & kHasRequestId) != 0) {
    Store<std::uint64_t>(at, record.request_id);
    at += kRequestIdBytes;
  }
  if (record.kind == RecordKind::kFirst) {
    Store<std::uint32_t>(at, record.total_bytes);
    at += kTotalBytes;
  }
  if (!record.name.empty()) std::memcpy(at, record.name.data(), record.name.size());
  at += record.name.size();
  return static_cast<std::size_t>(at - to);
}

std::size_t EncodeRecord(const Record& record, char* to) {
  const std::size_t head = EncodeRecordHead(record, record.data.size(), to);
  if (!record.data.empty()) std::memcpy(to + head, record.data.data(), record.data.size());
  return head + record.data.size();
}

RecordReader::Step RecordReader::Next(Record* record) {
  if (rest_.empty()) return Step::kEnd;
  const char* from = rest_.data();
  if (*from == kPadding && std::memcmp(from, from + 1, rest_.size() - 1) == 0) {
    rest_ = std::string_view();  // zeroes to the end
    return Step::kEnd;
  }
  if (rest_.size() < kRecordBytes) return Step::kMalformed;
  const auto kind_and_flags = Load<std::uint8_t>(from);
  const std::uint8_t kind = kind_and_flags & kKindMask;
  const auto flags = static_cast<std::uint8_t>(kind_and_flags & ~kKindMask);
  if (!KnownKind(kind) || (flags & ~kFlagsKnown) != 0) return Step::kMalformed;
  record->kind = static_cast<RecordKind>(kind);
  record->flags = flags;
  const std::size_t name_bytes = Load<std::uint8_t>(from + 1);
  const std::size_t data_bytes = Load<std::uint16_t>(from + 2);
  if (name_bytes > kNameBytesMax ||
      RecordSize(record->kind, flags, name_bytes, data_bytes) > rest_.size()) {
    return Step::kMalformed;
  }
  from += kRecordBytes;
  record->request_id = 0;
  if ((flags & kHasRequestId) != 0) {
    record->request_id = Load<std::uint64_t>(from);
    if (record->request_id == 0) return Step::kMalformed;
    from += kRequestIdBytes;
  }
  record->total_bytes = 0;
  if (record->kind == RecordKind::kFirst) {
    record->total_bytes = Load<std::uint32_t>(from);
    from += kTotalBytes;
  }
  record->name = std::string_view(from, name_bytes);
  record->data = std::string_view(from + name_bytes, data_bytes);
  rest_.remove_prefix(static_cast<std::size_t>(from - rest_.data()) + name_bytes + data_bytes);
  return Step::kRecord;
}

void RejectBody::Encode(char* to) const {
  Store<std::uint64_t>(to, alert_id);
  Store<std::uint64_t>(to + 8, request_id);
  Store<std::uint8_t>(to + 16, reason);
}

bool RejectBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  alert_id = Load<std::uint64_t>(from.data());
  request_id = Load<std::uint64_t>(from.data() + 8);
  reason = Load<std::uint8_t>(from.data() + 16);
  return true;
}

void JoinedBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
  Store<std::uint32_t>(to + 6, pid);
}

bool JoinedBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  pid = Load<std::uint32_t>(from.data() + 6);
  return true;
}

void DiedBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
}

bool DiedBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  return true;
}

void DrainingBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
  Store<std::uint16_t>(to + 6, successor_slot);
}

bool DrainingBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  successor_slot = Load<std::uint16_t>(from.data() + 6);
  return true;
}

void UnhandledBody::Encode(char* to) const { Store<std::uint64_t>(to, request_id); }

bool UnhandledBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  request_id = Load<std::uint64_t>(from.data());
  return true;
}

void BarrierBody::Encode(char* to) const { Store<std::uint64_t>(to, id); }

bool BarrierBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  id = Load<std::uint64_t>(from.data());
  return true;
}

}  // namespace alertpipe::core
