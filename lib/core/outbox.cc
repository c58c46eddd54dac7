// SPDX-License-Identifier: Apache-2.0
#include "core/outbox.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace alertpipe::core {
namespace {

// A large alert starts in the open packet only if a useful piece of it fits there.
constexpr std::size_t kFirstPartBytesMin = 64;

// How much of a large alert's data goes where.
struct Split {
  bool fresh = false;     // it opens a packet of its own
  std::size_t first = 0;  // in the packet that opens it
  std::size_t bulk = 0;   // a multiple of kPartBytesMax
  std::size_t last = 0;   // 1 to kPartBytesMax
};

Split SplitFor(const Content& content, std::size_t open_room) {
  const std::size_t overhead =
      RecordSize(RecordKind::kFirst, content.flags, content.name.size(), 0);
  Split split;
  split.fresh = open_room < overhead + kFirstPartBytesMin;
  const std::size_t room = (split.fresh ? kBodyBytesMax : open_room) - overhead;
  split.first = std::min(room, content.data.size() - 1);
  const std::size_t rest = content.data.size() - split.first;
  split.bulk = (rest - 1) / kPartBytesMax * kPartBytesMax;
  split.last = rest - split.bulk;
  return split;
}

Record RecordOf(RecordKind kind, const Content& content) {
  Record record;
  record.kind = kind;
  record.flags = content.flags;
  record.request_id = content.request_id;
  record.sent_ns = content.sent_ns;
  record.name = content.name;
  return record;
}

// For this write: if it is refused, what follows may still be added.
void Pad(Packet* packet) {
  std::memset(packet->bytes + packet->used, kPadding, packet->room());
  packet->gathered = kPacketBytesMax;
}

std::size_t HeldBy(const Segment& segment) {
  return segment.kind == Segment::Kind::kPacket ? kPacketBytesMax
                                                : static_cast<const Bulk&>(segment).bytes();
}

}  // namespace

void Outbox::Address(const PacketHeader& header_template) {
  ALERTPIPE_CHECK(empty(), "an outbox was readdressed while alerts were queued");
  header_ = header_template;
  next_sequence_ = 1;
  failed_at_ = 0;
  open_ = false;
}

Cost Outbox::CostFor(const Content& content, std::size_t open_room) {
  Cost cost;
  if (content.fits_packet()) {
    const std::size_t size =
        RecordSize(RecordKind::kWhole, content.flags, content.name.size(), content.data.size());
    if (size > open_room) cost.packets = kPacketBytesMax;
    return cost;
  }
  const Split split = SplitFor(content, open_room);
  cost.packets = (split.fresh ? 2 : 1) * kPacketBytesMax;
  if (split.bulk > 0) cost.data = content.data.size();
  return cost;
}

Packet* Outbox::StartPacket(SegmentPool* pool) {
  Packet* packet = pool->GetPacket();
  if (packet != nullptr) packet->Reset(next_sequence_);
  return packet;
}

void Outbox::Link(Segment* segment) {
  failed_at_ = 0;
  segment->next = nullptr;
  if (tail_ == nullptr) {
    head_ = segment;
  } else {
    tail_->next = segment;
  }
  tail_ = segment;
  queued_bytes_ += HeldBy(*segment);
}

void Outbox::PopHead() {
  queued_bytes_ -= HeldBy(*head_);
  head_ = head_->next;
  if (head_ == nullptr) tail_ = nullptr;
}

void Outbox::AddRecord(Packet* packet, const Record& record) {
  const std::size_t bytes = EncodeRecord(record, packet->bytes + packet->used);
  if (record.kind == RecordKind::kFirst) {
    packet->opens = true;
    packet->name_bytes = static_cast<std::uint8_t>(record.name.size());
    packet->flags = record.flags;
    packet->request_id = record.request_id;
    packet->name_at =
        static_cast<std::uint16_t>(packet->used + bytes - record.data.size() - record.name.size());
  } else {
    ++packet->ends;
  }
  if (record.starts_alert()) ++next_sequence_;
  packet->used += bytes;
}

bool Outbox::AppendSmall(const Content& content, SegmentPool* pool) {
  Record record = RecordOf(RecordKind::kWhole, content);
  record.data = content.data;
  const std::size_t size =
      RecordSize(record.kind, record.flags, record.name.size(), record.data.size());
  if (size > OpenRoom()) {
    Packet* packet = StartPacket(pool);
    if (packet == nullptr) return false;
    Link(packet);
  }
  AddRecord(static_cast<Packet*>(tail_), record);
  return true;
}

bool Outbox::AppendLarge(const Content& content, SharedData* shared, SegmentPool* pool) {
  Record first = RecordOf(RecordKind::kFirst, content);
  first.total_bytes = static_cast<std::uint32_t>(content.data.size());
  const Split split = SplitFor(content, OpenRoom());

  // Everything that can fail comes first, so that a refusal leaves no trace.
  Packet* opening = split.fresh ? StartPacket(pool) : static_cast<Packet*>(tail_);
  Packet* closing = StartPacket(pool);
  Bulk* bulk = split.bulk > 0 ? pool->GetBulk() : nullptr;
  if (opening == nullptr || closing == nullptr || (split.bulk > 0 && bulk == nullptr)) {
    if (split.fresh && opening != nullptr) pool->Put(opening);
    if (closing != nullptr) pool->Put(closing);
    if (bulk != nullptr) pool->Put(bulk);
    return false;
  }

  if (split.fresh) Link(opening);
  first.data = content.data.substr(0, split.first);
  AddRecord(opening, first);
  if (bulk != nullptr) {
    bulk->data = shared;
    if (shared != nullptr) shared->AddRef();
    bulk->view = content.data;
    bulk->at = split.first;
    bulk->end = split.first + split.bulk;
    bulk->sequence = next_sequence_;
    bulk->alert = {ShortName(content.name), content.flags, content.request_id};
    PacketHeader header = header_;
    header.bytes = kPacketBytesMax;
    header.sequence = next_sequence_;
    EncodeHeader(header, bulk->head);
    Record middle;
    middle.kind = RecordKind::kMiddle;
    EncodeRecordHead(middle, kPartBytesMax, bulk->head + kHeaderBytes);
    Link(bulk);
    if (shared == nullptr) lent_ = bulk;
  }
  Record last;
  last.kind = RecordKind::kLast;
  last.data = content.data.substr(content.data.size() - split.last);
  closing->sequence = next_sequence_;
  Link(closing);
  AddRecord(closing, last);
  return true;
}

bool Outbox::lent_untouched() const {
  // The opening packet stands right before its bulk, so the bulk is only ever the head once that
  // packet has left.
  return lent_ != nullptr && head_ != lent_;
}

void Outbox::OwnLent(SharedData* shared, bool whole) {
  shared->AddRef();
  lent_->data = shared;
  lent_->view = shared->view();
  lent_->whole = whole;
  lent_ = nullptr;
}

std::uint64_t Outbox::sequence_written() const {
  if (head_ == nullptr) return failed_at_ != 0 ? failed_at_ : next_sequence_;
  return head_->kind == Segment::Kind::kPacket ? static_cast<const Packet*>(head_)->sequence
                                               : static_cast<const Bulk*>(head_)->sequence;
}

// Whether a full packet follows.
bool Outbox::BeginsRun(const Packet& packet) const {
  const Segment* next = packet.next;
  return next != nullptr && (next != tail_ || OpenRoom() == 0);
}

// How many packets are queued, counted no further than `limit`.
int Outbox::PacketsUpTo(int limit) const {
  std::size_t packets = 0;
  for (const Segment* segment = head_; segment != nullptr; segment = segment->next) {
    packets += segment->kind == Segment::Kind::kPacket
                   ? 1
                   : static_cast<const Bulk*>(segment)->packets_left();
    if (packets >= static_cast<std::size_t>(limit)) return limit;
  }
  return static_cast<int>(packets);
}

int Outbox::Gather(iovec parts[kPartsMax], int run_max, bool full_only) {
  int count = 0;
  int packets = 0;
  run_max = std::min(run_max, kRunMax);
  // If one write can take all there is, the reader is woken once, and for whole alerts: that is
  // worth the padding of the last packet.
  const int queued = run_max > 1 && !full_only ? PacketsUpTo(kRunMax + 1) : 0;
  const bool all = queued > 1 && queued <= kRunMax;
  if (all) run_max = queued;
  for (Segment* segment = head_; segment != nullptr && packets < run_max; segment = segment->next) {
    if (segment->kind == Segment::Kind::kPacket) {
      auto* packet = static_cast<Packet*>(segment);
      const bool open = packet == tail_ && packet->room() > 0 && !all;
      if (open && full_only) break;
      packet->gathered = packet->used;
      if (!open && (packets > 0 || all || (run_max > 1 && BeginsRun(*packet)))) Pad(packet);
      PacketHeader header = header_;
      header.bytes = static_cast<std::uint16_t>(packet->gathered);
      header.sequence = packet->sequence;
      EncodeHeader(header, packet->bytes);
      parts[count++] = {packet->bytes, packet->gathered};
      ++packets;
      if (packet->gathered != kPacketBytesMax) break;
      continue;
    }
    auto* bulk = static_cast<Bulk*>(segment);
    for (std::size_t at = bulk->at; at < bulk->end && packets < run_max; at += kPartBytesMax) {
      parts[count++] = {bulk->head, sizeof bulk->head};
      parts[count++] = {const_cast<char*>(bulk->view.data()) + at, kPartBytesMax};
      ++packets;
    }
  }
  return count;
}

void Outbox::NoteWritten(const Packet& packet, Meter* meter) {
  open_ = packet.opens;
  if (packet.opens) {
    open_alert_ = {ShortName(std::string_view(packet.bytes + packet.name_at, packet.name_bytes)),
                   packet.flags, packet.request_id};
  }
  meter->page().alerts_written.Add(packet.ends);
}

void Outbox::Advance(std::size_t bytes, SegmentPool* pool, Meter* meter) {
  while (bytes > 0) {
    ALERTPIPE_CHECK(head_ != nullptr, "more was written than was queued");
    meter->page().packets_written.Add();
    if (head_->kind == Segment::Kind::kPacket) {
      auto* packet = static_cast<Packet*>(head_);
      ALERTPIPE_CHECK(bytes >= packet->gathered, "the kernel tore a packet");
      bytes -= packet->gathered;
      NoteWritten(*packet, meter);
      PopHead();
      pool->Put(packet);
      continue;
    }
    auto* bulk = static_cast<Bulk*>(head_);
    ALERTPIPE_CHECK(bytes >= kPacketBytesMax, "the kernel tore a packet");
    bytes -= kPacketBytesMax;
    bulk->at += kPartBytesMax;
    if (bulk->at < bulk->end) continue;
    if (lent_ == bulk) lent_ = nullptr;
    PopHead();
    pool->Put(bulk);
  }
}

FailedRun Outbox::Fail() {
  ALERTPIPE_CHECK(lent_ == nullptr, "an outbox failed while it used lent data");
  FailedRun run;
  run.head = head_;
  run.open = open_;
  run.open_alert = open_alert_;
  failed_at_ = sequence_written();
  head_ = tail_ = nullptr;
  queued_bytes_ = 0;
  open_ = false;
  return run;
}

}  // namespace alertpipe::core
