// SPDX-License-Identifier: Apache-2.0
#include "core/inbox.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/memory.h"

namespace alertpipe::core {
namespace {

// Counts the alerts that end in a packet: only these are not given back to their sender.
std::uint64_t EndsIn(RecordReader records) {
  std::uint64_t ends = 0;
  Record record;
  while (records.Next(&record) == RecordReader::Step::kRecord) {
    if (record.ends_alert()) ++ends;
  }
  return ends;
}

}  // namespace

Inbox::Inbox(Roster roster, std::uint32_t self_generation, Meter* meter)
    : roster_(roster),
      self_generation_(self_generation),
      meter_(meter),
      streams_(static_cast<std::size_t>(roster.slots())) {}

Inbox::~Inbox() {
  for (Stream& stream : streams_) {
    if (stream.collecting == Collecting::kParts) meter_->ReleaseReassembly(stream.parts.size());
  }
  FreeBlock(buffer_, buffer_bytes_);
}

bool Inbox::Allocate() {
  if (buffer_ != nullptr) return true;
  buffer_bytes_ = static_cast<std::size_t>(roster_.settings().pipe_capacity) + kPacketBytesMax;
  buffer_ = AllocateBlock(buffer_bytes_);
  if (buffer_ == nullptr) return false;
  std::memset(buffer_, 0, buffer_bytes_);
  return true;
}

void Inbox::Received(std::size_t bytes) {
  ++reads_;
  boundary_ = bytes < space_bytes();
  needs_more_ = false;
  if (bytes == 0) discarding_ = false;
  end_ += bytes;
}

std::uint32_t Inbox::LearnedPid(int slot, std::uint32_t generation) const {
  const Stream& stream = streams_[static_cast<std::size_t>(slot)];
  return stream.generation == generation ? stream.pid : 0;
}

void Inbox::FinishArrival() {
  if (delivered_ == nullptr) return;
  GrowBuffer& parts = delivered_->parts;
  if (parts.capacity() > spare_.capacity() && parts.capacity() <= kSpareBytesMax)
    parts.Swap(&spare_);
  parts.Clear();
  delivered_ = nullptr;
}

void Inbox::DropParts(Stream* stream) {
  if (stream->collecting == Collecting::kParts) {
    meter_->ReleaseReassembly(stream->parts.size());
    stream->parts.Free();
  }
  stream->collecting = Collecting::kNothing;
}

// Its end will not come, or is no end of it. What is being discarded has been counted as rejected.
void Inbox::LoseParts(Stream* stream) {
  if (stream->collecting == Collecting::kParts) meter_->page().lost_alerts.Add();
  DropParts(stream);
}

// The sender has died.
void Inbox::DropPartial(Stream* stream) {
  if (stream->collecting == Collecting::kParts) meter_->page().partials_dropped.Add();
  DropParts(stream);
}

void Inbox::SenderDied(int slot, std::uint32_t generation) {
  Stream& stream = streams_[static_cast<std::size_t>(slot)];
  if (stream.generation <= generation) DropPartial(&stream);
  stream.dead_up_to = std::max(stream.dead_up_to, generation);
}

void Inbox::Next(Arrival* arrival) {
  FinishArrival();
  arrival->kind = Arrival::Kind::kNone;
  for (;;) {
    if (in_packet_) {
      Record record;
      switch (records_.Next(&record)) {
        case RecordReader::Step::kEnd:
          in_packet_ = false;
          continue;
        case RecordReader::Step::kMalformed:
          ReportRecord(records_.rest_bytes(), arrival);
          return;
        case RecordReader::Step::kRecord:
          if (TakeRecord(record, arrival)) return;
          continue;
      }
    }
    if (discarding_ && begin_ < end_) {
      return Discard(arrival);
    }
    if (begin_ == end_) {
      begin_ = end_ = 0;
      return;
    }
    if (needs_more_ || OpenPacket(arrival) || NextPlain(arrival)) return;
  }
}

// Looks at the next packet in the buffer. True when there is an arrival to report, or when more
// bytes are needed.
bool Inbox::OpenPacket(Arrival* arrival) {
  const std::string_view rest(buffer_ + begin_, end_ - begin_);
  const Framing framing = DecodePacket(rest, &header_);
  if (framing == Framing::kIncomplete && !boundary_) {
    // The pipe holds more than the buffer: only a relative that enlarged it can cause this. The
    // rest follows.
    std::memmove(buffer_, rest.data(), rest.size());
    begin_ = 0;
    end_ = rest.size();
    needs_more_ = true;
    return true;
  }
  if (framing != Framing::kPacket) {
    discarding_ = true;
    return false;
  }
  begin_ += header_.bytes;
  meter_->page().packets_read.Add();
  records_ = RecordReader(rest.substr(kHeaderBytes, header_.bytes - kHeaderBytes));
  const Verdict verdict = Judge(header_);
  if (verdict == Verdict::kGood) {
    in_packet_ = true;
    Follow(header_, &CurrentStream());
    return false;
  }
  DropPacket(verdict == Verdict::kStale, arrival);
  return verdict == Verdict::kDamaged;
}

void Inbox::DropPacket(bool stale, Arrival* arrival) {
  if (stale) {
    meter_->page().alerts_stale.Add(EndsIn(records_));
    return;
  }
  meter_->page().damaged_packets.Add();
  arrival->kind = Arrival::Kind::kDamage;
  arrival->damage = {Damage::Kind::kPacket, header_.bytes, header_.source_slot};
}

// Framing is lost: everything up to the next proven boundary goes.
void Inbox::Discard(Arrival* arrival) {
  const std::uint64_t bytes = end_ - begin_;
  begin_ = end_ = 0;
  discarding_ = !boundary_;
  meter_->page().damaged_framing.Add();
  meter_->page().damaged_bytes.Add(bytes);
  for (Stream& stream : streams_) stream.suspect = true;
  arrival->kind = Arrival::Kind::kDamage;
  arrival->damage = {Damage::Kind::kFraming, bytes, -1};
}

Inbox::Verdict Inbox::Judge(const PacketHeader& header) {
  if (header.lane != 0 || !roster_.has(header.source_slot) || header.source_generation == 0)
    return Verdict::kDamaged;
  if (header.destination_generation < self_generation_) return Verdict::kStale;
  if (header.destination_generation > self_generation_) return Verdict::kDamaged;
  if (header.source_generation > roster_.Get(header.source_slot).generation)
    return Verdict::kDamaged;
  const Stream& stream = CurrentStream();
  if (header.source_generation <= stream.dead_up_to) return Verdict::kDamaged;
  if (header.source_generation < stream.generation) return Verdict::kDamaged;
  return Verdict::kGood;
}

// Brings a sender's stream to this packet: a new incarnation starts anew, a hole in the sequence
// ends what was being collected.
void Inbox::Follow(const PacketHeader& header, Stream* stream) {
  if (header.source_generation > stream->generation) {
    // The roster vouches for the successor, so its predecessor is dead, and nothing of it can
    // follow.
    DropPartial(stream);
    stream->generation = header.source_generation;
    stream->expected = 1;
    stream->suspect = false;
  }
  stream->pid = header.source_pid;
  if (header.sequence == stream->expected) return;
  if (header.sequence > stream->expected) {
    meter_->page().lost_alerts.Add(header.sequence - stream->expected);
  } else {
    meter_->page().damaged_packets.Add();
  }
  LoseParts(stream);
  stream->expected = header.sequence;
}

// The rest of the packet goes.
void Inbox::ReportRecord(std::size_t bytes, Arrival* arrival) {
  meter_->page().damaged_records.Add();
  in_packet_ = false;
  arrival->kind = Arrival::Kind::kDamage;
  arrival->damage = {Damage::Kind::kRecord, bytes, header_.source_slot};
}

// The same for one that has been read. Always true.
bool Inbox::DamagedRecord(const Record& record, Arrival* arrival) {
  const std::size_t bytes =
      RecordSize(record.kind, record.flags, record.name.size(), record.data.size());
  ReportRecord(bytes + records_.rest_bytes(), arrival);
  return true;
}

bool Inbox::TakeRecord(const Record& record, Arrival* arrival) {
  Stream& stream = CurrentStream();
  if (record.is_control()) {
    meter_->page().control_read.Add();
    arrival->kind = Arrival::Kind::kControl;
    arrival->sender = CurrentSender();
    arrival->record = record;
    return true;
  }
  return record.starts_alert() ? TakeStart(record, &stream, arrival)
                               : TakePart(record, &stream, arrival);
}

bool Inbox::TakeStart(const Record& record, Stream* stream, Arrival* arrival) {
  // A response says to what.
  if ((record.flags & (kHasRequestId | kIsResponse)) == kIsResponse)
    return DamagedRecord(record, arrival);
  if (stream->collecting != Collecting::kNothing) {
    // No sender starts an alert before it has ended the last. Either this packet is forged, or the
    // end was lost with the framing.
    if (!stream->suspect) return DamagedRecord(record, arrival);
    LoseParts(stream);
  }
  stream->suspect = false;
  if (record.kind == RecordKind::kWhole) {
    ++stream->expected;
    arrival->kind = Arrival::Kind::kAlert;
    arrival->sender = CurrentSender();
    arrival->name = record.name;
    arrival->data = record.data;
    arrival->flags = record.flags;
    arrival->request_id = record.request_id;
    arrival->sent_ns = record.sent_ns;
    arrival->collected = nullptr;
    return true;
  }
  if (record.total_bytes <= record.data.size() ||
      record.total_bytes > roster_.settings().alert_bytes_max) {
    return DamagedRecord(record, arrival);
  }
  ++stream->expected;
  stream->collecting = Collecting::kParts;
  stream->total = record.total_bytes;
  stream->flags = record.flags;
  stream->request_id = record.request_id;
  stream->sent_ns = record.sent_ns;
  stream->name.Set(record.name);
  stream->parts.Clear();
  if (stream->total > stream->parts.capacity() && spare_.capacity() > stream->parts.capacity()) {
    stream->parts.Swap(&spare_);
    stream->parts.Rewind();
  }
  return Collect(record, stream, arrival);
}

bool Inbox::TakePart(const Record& record, Stream* stream, Arrival* arrival) {
  const bool last = record.kind == RecordKind::kLast;
  if (!record.name.empty()) return DamagedRecord(record, arrival);  // the first part has named it
  if (stream->collecting == Collecting::kNothing) {
    // The rest of an alert whose beginning went with lost framing is no new damage.
    return stream->suspect ? false : DamagedRecord(record, arrival);
  }
  if (stream->collecting == Collecting::kDiscarding) {
    if (last) stream->collecting = Collecting::kNothing;
    return false;
  }
  const std::size_t size = stream->parts.size() + record.data.size();
  if (last ? size != stream->total : size >= stream->total) {
    LoseParts(stream);
    return DamagedRecord(record, arrival);
  }
  if (Collect(record, stream, arrival)) return true;
  if (!last) return false;
  stream->collecting = Collecting::kNothing;
  meter_->ReleaseReassembly(stream->parts.size());
  delivered_ = stream;
  arrival->kind = Arrival::Kind::kAlert;
  arrival->sender = CurrentSender();
  arrival->name = stream->name.view();
  arrival->data = stream->parts.view();
  arrival->flags = stream->flags;
  arrival->request_id = stream->request_id;
  arrival->sent_ns = stream->sent_ns;
  arrival->collected = &stream->parts;
  return true;
}

// Adds a part. True when it cannot be held: the alert is rejected, the rest of it will be
// discarded.
bool Inbox::Collect(const Record& record, Stream* stream, Arrival* arrival) {
  const std::size_t held = meter_->reassembly_bytes() + record.data.size();
  const bool within = held <= roster_.settings().reassembly_bytes_max;
  if (within && stream->parts.Append(record.data, stream->total)) {
    meter_->ChargeReassembly(record.data.size());
    return false;
  }
  DropParts(stream);
  if (record.kind != RecordKind::kLast) stream->collecting = Collecting::kDiscarding;
  meter_->page().alerts_rejected.Add();
  arrival->kind = Arrival::Kind::kReject;
  arrival->sender = CurrentSender();
  arrival->alert_id = stream->expected - 1;
  arrival->flags = stream->flags;
  arrival->request_id = stream->request_id;
  arrival->name = stream->name.view();
  arrival->reason = within ? UndeliveredReason::kReceiverMemory : UndeliveredReason::kReceiverFull;
  return true;
}

DrainCount CountDrained(std::string_view bytes, std::uint32_t generation) {
  DrainCount count;
  while (!bytes.empty()) {
    PacketHeader header;
    if (DecodePacket(bytes, &header) != Framing::kPacket) {
      count.damaged_bytes += bytes.size();
      break;
    }
    const RecordReader records(bytes.substr(kHeaderBytes, header.bytes - kHeaderBytes));
    (header.destination_generation == generation ? count.alerts : count.stale) += EndsIn(records);
    bytes.remove_prefix(header.bytes);
  }
  return count;
}

}  // namespace alertpipe::core
