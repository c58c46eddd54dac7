// SPDX-License-Identifier: Apache-2.0
//
// The queue towards one incarnation, in the shape in which it will leave. Small alerts are encoded
// at once into packets, so that many share one. Of a large alert the beginning fills the open
// packet, the end starts a new one, and what lies between is a Bulk: a reference to the data that
// leaves as packets of exactly 4096 bytes without being copied, several per write where the kernel
// allows it.
//
//   [packet: alerts 1 2 3, first part of 4] [bulk: middle parts of 4] [packet: last part of 4,
//   alerts 5 6 7 ...
//
// Nothing here does I/O: Gather says what to write next, Advance is told how much of it was.
#ifndef ALERTPIPE_CORE_OUTBOX_H_
#define ALERTPIPE_CORE_OUTBOX_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/counters.h"
#include "core/packet.h"
#include "core/segment.h"

namespace alertpipe::core {

// What one alert is made of, as a send sees it.
struct Content {
  std::string_view name;
  std::string_view data;
  std::uint8_t flags = 0;
  std::uint64_t request_id = 0;
  std::uint64_t sent_ns = 0;  // of kHasTime
  bool to_many = false;       // of a broadcast

  bool fits_packet() const {
    return RecordSize(RecordKind::kWhole, flags, name.size(), data.size()) <= kBodyBytesMax;
  }
};

// Segments that have been taken out of an outbox because they cannot be delivered; see
// UndeliveredReader.
struct FailedRun {
  Segment* head = nullptr;
  // The alert that was half written when the outbox failed.
  bool open = false;
  AlertHead open_alert;
};

// What queueing an alert adds to what is held, in bytes.
struct Cost {
  std::size_t packets = 0;  // in packets of its own, each of which counts whole
  std::size_t data = 0;     // in data that is referred to, and that several outboxes can share
  std::size_t total() const { return packets + data; }
};

class Outbox {
 public:
  Outbox() = default;
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Starts anew, for another incarnation. The queue must be empty.
  void Address(const PacketHeader& header_template);
  std::uint32_t generation() const { return header_.destination_generation; }
  const PacketHeader& header() const { return header_; }

  // What queueing `content` would add here, and to an outbox that is empty.
  Cost CostOf(const Content& content) const { return CostFor(content, OpenRoom()); }
  static Cost CostWhenEmpty(const Content& content) { return CostFor(content, 0); }

  // Queues one more plain alert behind others, in the packet that the last of them is in. False if
  // that has no room for it, or there is none: nothing has changed then.
  bool AppendPlain(std::string_view name, std::string_view data) {
    char* at = PlainAt(PlainSize(name.size(), data.size()));
    if (at == nullptr) return false;
    EncodePlain(name, data, at);
    return true;
  }
  // The same with the record already encoded: that of a broadcast.
  bool AppendPlain(std::string_view record) {
    char* at = PlainAt(record.size());
    if (at == nullptr) return false;
    CopyBytes(at, record);
    return true;
  }

  // For a queue that is empty: the header of a packet that carries one plain alert, whose record of
  // `record_bytes` is in its place already. Returns the packet's size. If it is written,
  // WroteAlone must follow.
  std::size_t EncodeAlone(std::size_t record_bytes, char* packet) const {
    PacketHeader header = header_;
    header.bytes = static_cast<std::uint16_t>(kHeaderBytes + record_bytes);
    header.sequence = next_sequence_;
    EncodeHeader(header, packet);
    return header.bytes;
  }
  void WroteAlone(Meter* meter) {
    ++next_sequence_;
    failed_at_ = 0;
    meter->page().packets_written.Add();
    meter->page().alerts_written.Add();
  }

  // Queues an alert that fits into a packet. False when memory is short; nothing has changed then.
  bool AppendSmall(const Content& content, SegmentPool* pool);

  // Queues an alert that does not fit into a packet. `shared` holds content.data (a reference is
  // added), or is null: the view is then only lent, and OwnLent must be called before it ends
  // unless lent() is null by then. False as above.
  bool AppendLarge(const Content& content, SharedData* shared, SegmentPool* pool);
  // The bulk that still refers to lent data, or null.
  const Bulk* lent() const { return lent_; }
  // Whether none of the lent alert has been written.
  bool lent_untouched() const;
  // Lets the lent bulk refer to `shared` instead (a reference is added), which holds the same bytes
  // at the same places, all of them if `whole`, else at least those of [lent()->at, lent()->end).
  void OwnLent(SharedData* shared, bool whole);

  // The number of the next alert; alert ids count from 1.
  std::uint64_t next_id() const { return next_sequence_; }

  // What the receiver takes for next_id() at this point of what has left: for packets that overtake
  // the queue.
  std::uint64_t sequence_written() const;
  // Whether the last byte of every alert before `id` has left.
  bool HasLeft(std::uint64_t id) const {
    const std::uint64_t next = sequence_written();
    return head_ == nullptr || next > id || (next == id && !open_);
  }

  bool empty() const { return head_ == nullptr; }
  // Whether something waits that no later alert can share, and, where `runs` of packets leave in
  // one write, enough for a run.
  bool has_full(bool runs) const {
    return head_ != tail_ && (!runs || head_->kind == Segment::Kind::kBulk ||
                              head_->next != tail_ || OpenRoom() == 0);
  }
  // What is held for this queue, and counts against the cap per peer: 4096 bytes for each packet,
  // and all of the data that is referred to until the last of it has left, shared or not.
  std::size_t queued_bytes() const { return queued_bytes_; }
  // The same without the room that the open packet still has: for telling queues apart.
  std::size_t load() const { return queued_bytes_ - OpenRoom(); }

  // Fills `parts` with the next thing to write: one packet, or a run of at most `run_max` packets
  // of exactly 4096 bytes, those that are closed padded where that makes a run; or, if run_max
  // allows runs and kRunMax packets are all there is, all of it, the open one padded too. Returns
  // the number of parts, 0 when the queue is empty. Valid until the next call on this outbox. With
  // `full_only`, a packet that later alerts can still share is left out.
  static constexpr int kRunMax = 4;
  static constexpr int kPartsMax = 2 * kRunMax;
  int Gather(iovec parts[kPartsMax], int run_max, bool full_only);
  // The kernel took `bytes` of what was gathered: whole packets.
  void Advance(std::size_t bytes, SegmentPool* pool, Meter* meter);

  // Takes everything out.
  FailedRun Fail();

 private:
  static Cost CostFor(const Content& content, std::size_t open_room);
  std::size_t OpenRoom() const {
    // What opens an alert, and a bulk, is never the last: the closing packet follows in the same
    // call.
    return tail_ == nullptr ? 0 : static_cast<const Packet*>(tail_)->room();
  }
  char* PlainAt(std::size_t bytes) {
    if (bytes > OpenRoom()) return nullptr;
    auto* packet = static_cast<Packet*>(tail_);
    char* at = packet->bytes + packet->used;
    packet->used += bytes;
    ++packet->ends;
    ++next_sequence_;
    return at;
  }
  Packet* StartPacket(SegmentPool* pool);
  void Link(Segment* segment);
  void PopHead();
  void AddRecord(Packet* packet, const Record& record);
  bool BeginsRun(const Packet& packet) const;
  int PacketsUpTo(int limit) const;
  void NoteWritten(const Packet& packet, Meter* meter);

  PacketHeader header_;
  Segment* head_ = nullptr;
  Segment* tail_ = nullptr;
  Bulk* lent_ = nullptr;
  std::uint64_t next_sequence_ = 1;
  // Since the queue has failed: what the receiver takes for the next number. What still overtakes
  // the queue (an answer while the endpoint closes) must not look as if something had been lost.
  std::uint64_t failed_at_ = 0;
  std::size_t queued_bytes_ = 0;
  // The alert that has begun to leave and is not complete yet, for Fail.
  bool open_ = false;
  AlertHead open_alert_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_OUTBOX_H_
