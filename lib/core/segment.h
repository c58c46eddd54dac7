// SPDX-License-Identifier: Apache-2.0
//
// What outboxes are made of: packets that are filled with records, bulks that refer to large data,
// and the pool that recycles both so that the steady state allocates nothing.
#ifndef ALERTPIPE_CORE_SEGMENT_H_
#define ALERTPIPE_CORE_SEGMENT_H_

#include <alertpipe/buffer.h>
#include <alertpipe/limits.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/counters.h"
#include "core/packet.h"

namespace alertpipe::core {

// A name of an alert, kept without an allocation.
class ShortName {
 public:
  ShortName() = default;
  explicit ShortName(std::string_view name) { Set(name); }
  void Set(std::string_view name) {
    bytes_ = static_cast<std::uint8_t>(name.size());
    if (!name.empty()) std::memcpy(name_, name.data(), name.size());
  }
  std::string_view view() const { return std::string_view(name_, bytes_); }

 private:
  std::uint8_t bytes_ = 0;
  char name_[kNameBytesMax + 1];
};

// What is remembered of an alert whose first record is gone.
struct AlertHead {
  ShortName name;
  std::uint8_t flags = 0;
  std::uint64_t request_id = 0;
};

// Data that one or more outboxes refer to. Charged to the endpoint once, whole, from its first use
// by an outbox to its end.
class SharedData {
 public:
  // Holds one reference of the caller. Null when memory is short; *data is then unchanged.
  static SharedData* Create(Buffer* data, Meter* meter);
  // Takes a reference for an outbox, and charges.
  void AddRef();
  // Charges until the last Release. Only the first charge counts.
  void Charge();
  bool charged() const { return charged_; }
  void Release();
  std::string_view view() const { return data_.view(); }
  char* data() { return data_.data(); }

 private:
  SharedData(Buffer data, Meter* meter) : data_(std::move(data)), meter_(meter) {}
  ~SharedData() = default;

  Buffer data_;
  Meter* meter_;
  int refs_ = 1;
  bool charged_ = false;
};

struct Segment {
  enum class Kind : std::uint8_t { kPacket, kBulk };
  explicit Segment(Kind k) : kind(k) {}
  Segment* next = nullptr;
  Kind kind;
};

struct Packet : Segment {
  Packet() : Segment(Kind::kPacket) {}
  void Reset(std::uint64_t first_sequence) {
    next = nullptr;
    used = gathered = kHeaderBytes;
    ends = 0;
    opens = false;
    sequence = first_sequence;
  }
  std::size_t room() const { return kPacketBytesMax - used; }
  std::string_view body() const {
    return std::string_view(bytes + kHeaderBytes, used - kHeaderBytes);
  }

  std::size_t used = 0;       // header included
  std::size_t gathered = 0;   // bytes that the write takes which is under way: `used`, or all
  std::uint32_t ends = 0;     // alerts that are complete with this packet
  bool opens = false;         // its last record is the first part of an alert
  std::uint16_t name_at = 0;  // of that alert
  std::uint8_t name_bytes = 0;
  std::uint8_t flags = 0;
  std::uint64_t request_id = 0;
  std::uint64_t sequence = 0;
  char bytes[kPacketBytesMax];
};

struct Bulk : Segment {
  Bulk() : Segment(Kind::kBulk) {}
  SharedData* data = nullptr;  // what view lies in; null while the view is lent
  std::string_view view;       // the alert's whole data
  bool whole = true;           // all of view is there, not only [at, end)
  std::size_t at = 0;          // middle parts for [at, end) are still to be written
  std::size_t end = 0;
  std::uint64_t sequence = 0;  // of the alert after this one
  AlertHead alert;
  char head[kHeaderBytes + kRecordBytes];  // the same for each of its packets

  std::size_t packets_left() const { return (end - at) / kPartBytesMax; }
  // What counts as queued until the last of it has left: the memory is held until then.
  std::size_t bytes() const { return view.size(); }
};

// Packets count as queued from Get to Put, 4096 bytes each however full they are: caps bound the
// memory, not the records in it.
class SegmentPool {
 public:
  explicit SegmentPool(Meter* meter) : meter_(meter) {}
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;
  ~SegmentPool();

  // Null when memory is short.
  Packet* GetPacket();
  Bulk* GetBulk();
  // Takes a segment back; a bulk's data is released.
  void Put(Segment* segment);
  // To be called now and then: frees half of what nobody has needed since the last time.
  void Trim();

 private:
  // As many as the default of queued_bytes_per_peer_max holds: a sender that fills its queue again
  // and again gives nothing back to the system in between.
  static constexpr int kPacketsKeptMax = 1024;
  static constexpr int kPacketsKeptAlways = 64;
  Meter* meter_;
  Packet* packets_ = nullptr;
  int kept_ = 0;
  int kept_least_ = 0;  // since the last Trim
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_SEGMENT_H_
