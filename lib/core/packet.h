// SPDX-License-Identifier: Apache-2.0
//
// The wire (docs/wire.md): how a packet and its records are laid out, and nothing else. A packet is
// what one write puts into a pipe, at most 4096 bytes: a header with what all its records share,
// then records without gaps. Decoding trusts no field: a packet that DecodePacket accepts lies
// inside the bytes that were given, and RecordReader never yields a view outside its packet.
#ifndef ALERTPIPE_CORE_PACKET_H_
#define ALERTPIPE_CORE_PACKET_H_

#include <alertpipe/limits.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/bytes.h"

namespace alertpipe::core {

inline constexpr std::size_t kPacketBytesMax = 4096;
inline constexpr std::size_t kHeaderBytes = 32;
inline constexpr std::size_t kRecordBytes = 4;     // kind and flags, name length, data length
inline constexpr std::size_t kRequestIdBytes = 8;  // follows if kHasRequestId
inline constexpr std::size_t kTimeBytes = 8;       // follows if kHasTime
inline constexpr std::size_t kTotalBytes = 4;      // follows in a first record
inline constexpr std::size_t kBodyBytesMax = kPacketBytesMax - kHeaderBytes;
// What one packet can hold of an alert: name and data of a whole one, data of a middle part.
inline constexpr std::size_t kWholeBytesMax = kBodyBytesMax - kRecordBytes;
inline constexpr std::size_t kPartBytesMax = kBodyBytesMax - kRecordBytes;

inline constexpr std::uint16_t kMagic = 0xA17E;
inline constexpr std::uint8_t kVersion = 1;

struct PacketHeader {
  std::uint16_t bytes = 0;  // of the whole packet
  std::uint16_t source_slot = 0;
  std::uint8_t lane = 0;
  std::uint32_t source_generation = 0;
  std::uint32_t source_pid = 0;
  std::uint32_t destination_generation = 0;
  // The number of the first alert that starts in this packet, or of the next one that will, counted
  // from 1 for each (source incarnation, destination incarnation, lane). It names alerts without a
  // field in each, and shows losses.
  std::uint64_t sequence = 0;
};

enum class RecordKind : std::uint8_t {
  kWhole = 1,
  kFirst = 2,
  kMiddle = 3,
  kLast = 4,
  // Control. The body is in the data part.
  kReject = 16,       // u64 alert id, u64 request id or 0, u8 reason; the alert's name
  kJoined = 17,       // u16 slot, u32 generation, u32 pid
  kDied = 18,         // u16 slot, u32 generation: this one and all before it are dead
  kDraining = 19,     // u16 slot, u32 generation, u16 successor's slot
  kBarrier = 20,      // u64 id
  kAcknowledge = 21,  // u64 id
  kUnhandled = 22,    // u64 request id, one or more: these requests get no response
};

// In the place of a record's first byte: what is left of the packet is padding, all of it zero.
inline constexpr char kPadding = 0;

inline constexpr std::uint8_t kHasRequestId = 0x20;
inline constexpr std::uint8_t kIsResponse = 0x40;
inline constexpr std::uint8_t kHasTime = 0x80;  // of whole and first records

struct Record {
  RecordKind kind = RecordKind::kWhole;
  std::uint8_t flags = 0;
  std::uint64_t request_id = 0;
  std::uint64_t sent_ns = 0;      // when it was sent, by CLOCK_MONOTONIC
  std::uint32_t total_bytes = 0;  // of a first record: data of the whole alert
  std::string_view name;
  std::string_view data;

  bool is_control() const { return kind >= RecordKind::kReject; }
  bool starts_alert() const { return kind == RecordKind::kWhole || kind == RecordKind::kFirst; }
  bool ends_alert() const { return kind == RecordKind::kWhole || kind == RecordKind::kLast; }
};

// Writes the header of a packet of header.bytes bytes, check included.
void EncodeHeader(const PacketHeader& header, char* to);

enum class Framing : std::uint8_t { kPacket, kIncomplete, kBroken };

// Looks for a packet at the start of `bytes`. kPacket: *header is set and header->bytes <=
// bytes.size(). kIncomplete: what is there may be the beginning of one. kBroken: it is none.
Framing DecodePacket(std::string_view bytes, PacketHeader* header);

// Bytes that a record takes. `part` is the data in this record.
constexpr std::size_t RecordSize(RecordKind kind, std::uint8_t flags, std::size_t name_bytes,
                                 std::size_t part) {
  return kRecordBytes + ((flags & kHasRequestId) != 0 ? kRequestIdBytes : 0) +
         ((flags & kHasTime) != 0 ? kTimeBytes : 0) +
         (kind == RecordKind::kFirst ? kTotalBytes : 0) + name_bytes + part;
}

// Writes a record; record.data is the data of this record. Returns RecordSize.
std::size_t EncodeRecord(const Record& record, char* to);

// Writes all of a record but its data, which `data_bytes` long will follow. Returns the bytes
// written.
std::size_t EncodeRecordHead(const Record& record, std::size_t data_bytes, char* to);

// A plain record is a whole alert without flags, which most are: the first byte is its kind, the
// name follows its lengths.
constexpr std::size_t PlainSize(std::size_t name_bytes, std::size_t data_bytes) {
  return kRecordBytes + name_bytes + data_bytes;
}
inline void EncodePlain(std::string_view name, std::string_view data, char* to) {
  Store<std::uint32_t>(to, static_cast<std::uint32_t>(RecordKind::kWhole) |
                               static_cast<std::uint32_t>(name.size()) << 8 |
                               static_cast<std::uint32_t>(data.size()) << 16);
  CopyBytes(to + kRecordBytes, name);
  CopyBytes(to + kRecordBytes + name.size(), data);
}

// Iterates over the records of one packet's body.
class RecordReader {
 public:
  enum class Step : std::uint8_t { kRecord, kEnd, kMalformed };

  explicit RecordReader(std::string_view body) : rest_(body) {}
  RecordReader() = default;

  Step Next(Record* record);
  // The next record if it is a plain one. False, with nothing changed, if it is another, or the
  // end, or makes no sense: that is for Next.
  bool NextPlain(std::string_view* name, std::string_view* data) {
    if (rest_.size() < kRecordBytes) return false;
    const auto head = Load<std::uint32_t>(rest_.data());
    const std::size_t name_bytes = head >> 8 & 0xff;
    const std::size_t data_bytes = head >> 16;
    const std::size_t bytes = PlainSize(name_bytes, data_bytes);
    if ((head & 0xff) != static_cast<std::uint32_t>(RecordKind::kWhole) ||
        name_bytes > kNameBytesMax || bytes > rest_.size()) {
      return false;
    }
    *name = rest_.substr(kRecordBytes, name_bytes);
    *data = rest_.substr(kRecordBytes + name_bytes, data_bytes);
    rest_.remove_prefix(bytes);
    return true;
  }
  bool done() const { return rest_.empty(); }
  std::size_t rest_bytes() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

// ---- How, inline: all of it is on the way of every packet ----

namespace wire {

inline constexpr std::size_t kMagicAt = 0;
inline constexpr std::size_t kLengthAt = 2;
inline constexpr std::size_t kCheckAt = 4;
inline constexpr std::size_t kSlotAt = 8;
inline constexpr std::size_t kLaneAt = 10;
inline constexpr std::size_t kVersionAt = 11;
inline constexpr std::size_t kGenerationAt = 12;
inline constexpr std::size_t kPidAt = 16;
inline constexpr std::size_t kDestinationAt = 20;
inline constexpr std::size_t kSequenceAt = 24;

inline constexpr std::uint8_t kKindMask = 0x1f;

// Mixes every header byte but the check itself. It is there to tell a packet from payload when
// framing is lost, not to authenticate: whoever can write to the pipe can compute it.
inline std::uint32_t HeaderCheck(const char* header) {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  std::uint64_t mixed = Load<std::uint32_t>(header) * kMultiplier;
  for (std::size_t at = kSlotAt; at < kHeaderBytes; at += 8) {
    mixed ^= Load<std::uint64_t>(header + at);
    mixed *= kMultiplier;
    mixed ^= mixed >> 32;
  }
  return static_cast<std::uint32_t>(mixed);
}

inline bool KnownKind(std::uint8_t kind) {
  return (kind >= 1 && kind <= 4) || (kind >= 16 && kind <= 22);
}

}  // namespace wire

inline void EncodeHeader(const PacketHeader& header, char* to) {
  Store<std::uint16_t>(to + wire::kMagicAt, kMagic);
  Store<std::uint16_t>(to + wire::kLengthAt, header.bytes);
  Store<std::uint16_t>(to + wire::kSlotAt, header.source_slot);
  Store<std::uint8_t>(to + wire::kLaneAt, header.lane);
  Store<std::uint8_t>(to + wire::kVersionAt, kVersion);
  Store<std::uint32_t>(to + wire::kGenerationAt, header.source_generation);
  Store<std::uint32_t>(to + wire::kPidAt, header.source_pid);
  Store<std::uint32_t>(to + wire::kDestinationAt, header.destination_generation);
  Store<std::uint64_t>(to + wire::kSequenceAt, header.sequence);
  Store<std::uint32_t>(to + wire::kCheckAt, wire::HeaderCheck(to));
}

inline Framing DecodePacket(std::string_view bytes, PacketHeader* header) {
  if (bytes.size() < kHeaderBytes) return Framing::kIncomplete;
  const char* from = bytes.data();
  if (Load<std::uint16_t>(from + wire::kMagicAt) != kMagic ||
      Load<std::uint32_t>(from + wire::kCheckAt) != wire::HeaderCheck(from) ||
      Load<std::uint8_t>(from + wire::kVersionAt) != kVersion) {
    return Framing::kBroken;
  }
  header->bytes = Load<std::uint16_t>(from + wire::kLengthAt);
  if (header->bytes < kHeaderBytes || header->bytes > kPacketBytesMax) return Framing::kBroken;
  if (header->bytes > bytes.size()) return Framing::kIncomplete;
  header->source_slot = Load<std::uint16_t>(from + wire::kSlotAt);
  header->lane = Load<std::uint8_t>(from + wire::kLaneAt);
  header->source_generation = Load<std::uint32_t>(from + wire::kGenerationAt);
  header->source_pid = Load<std::uint32_t>(from + wire::kPidAt);
  header->destination_generation = Load<std::uint32_t>(from + wire::kDestinationAt);
  header->sequence = Load<std::uint64_t>(from + wire::kSequenceAt);
  return Framing::kPacket;
}

inline std::size_t EncodeRecordHead(const Record& record, std::size_t data_bytes, char* to) {
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
  if ((record.flags & kHasTime) != 0) {
    Store<std::uint64_t>(at, record.sent_ns);
    at += kTimeBytes;
  }
  if (record.kind == RecordKind::kFirst) {
    Store<std::uint32_t>(at, record.total_bytes);
    at += kTotalBytes;
  }
  if (!record.name.empty()) std::memcpy(at, record.name.data(), record.name.size());
  at += record.name.size();
  return static_cast<std::size_t>(at - to);
}

inline std::size_t EncodeRecord(const Record& record, char* to) {
  const std::size_t head = EncodeRecordHead(record, record.data.size(), to);
  if (!record.data.empty()) std::memcpy(to + head, record.data.data(), record.data.size());
  return head + record.data.size();
}

inline RecordReader::Step RecordReader::Next(Record* record) {
  if (rest_.empty()) return Step::kEnd;
  const char* from = rest_.data();
  if (*from == kPadding && std::memcmp(from, from + 1, rest_.size() - 1) == 0) {
    rest_ = std::string_view();  // zeroes to the end
    return Step::kEnd;
  }
  if (rest_.size() < kRecordBytes) return Step::kMalformed;
  const auto kind_and_flags = Load<std::uint8_t>(from);
  const std::uint8_t kind = kind_and_flags & wire::kKindMask;
  const auto flags = static_cast<std::uint8_t>(kind_and_flags & ~wire::kKindMask);
  if (!wire::KnownKind(kind)) return Step::kMalformed;
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
  record->sent_ns = 0;
  if ((flags & kHasTime) != 0) {
    if (!record->starts_alert()) return Step::kMalformed;
    record->sent_ns = Load<std::uint64_t>(from);
    from += kTimeBytes;
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

// Control bodies. Decode returns false for a body of the wrong length.
struct RejectBody {
  static constexpr std::size_t kBytes = 17;
  std::uint64_t alert_id = 0;
  std::uint64_t request_id = 0;  // if the alert was a request
  std::uint8_t reason = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};
struct JoinedBody {
  static constexpr std::size_t kBytes = 10;
  std::uint16_t slot = 0;
  std::uint32_t generation = 0;
  std::uint32_t pid = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};
struct DiedBody {
  static constexpr std::size_t kBytes = 6;
  std::uint16_t slot = 0;
  std::uint32_t generation = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};
struct DrainingBody {
  static constexpr std::size_t kBytes = 8;
  std::uint16_t slot = 0;
  std::uint32_t generation = 0;
  std::uint16_t successor_slot = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};
struct UnhandledBody {  // one of those in the record
  static constexpr std::size_t kBytes = 8;
  std::uint64_t request_id = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};
struct BarrierBody {  // of a barrier and of an acknowledge record
  static constexpr std::size_t kBytes = 8;
  std::uint64_t id = 0;
  void Encode(char* to) const;
  bool Decode(std::string_view from);
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_PACKET_H_
