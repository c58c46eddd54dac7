// SPDX-License-Identifier: Apache-2.0
//
// The reading side of a worker's own pipe: bytes go in as they were read, alerts, control records
// and reports of damage come out one at a time. Whole alerts are views into the read buffer; the
// parts of large ones are collected per sending incarnation.
//
// Three rules make it safe. A read that returns less than was asked for ended at a packet boundary
// (KERNEL FACT: writes of at most 4096 bytes are never torn, so an emptied pipe ends with a whole
// packet), which is where it resynchronises after bytes that are no packet. A packet counts only if
// the roster knows its sender. And what a header claims is believed only as far as the bytes that
// have arrived bear it out.
#ifndef ALERTPIPE_CORE_INBOX_H_
#define ALERTPIPE_CORE_INBOX_H_

#include <alertpipe/endpoint.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/counters.h"
#include "core/grow_buffer.h"
#include "core/packet.h"
#include "core/roster.h"
#include "core/segment.h"

namespace alertpipe::core {

// One thing that came out of the pipe. Views are valid until the next call of Inbox::Next.
struct Arrival {
  enum class Kind : std::uint8_t {
    kNone,   // everything that was read has been handed out
    kAlert,  // name, data
    // Made of an alert by Endpoint::NextArrival:
    kResponse,      // data
    kLateResponse,  // to no request that is open
    kControl,       // record
    kReject,  // an alert that cannot be held: alert_id, name, reason must go back to its sender
    kDamage,  // damage
  };
  Kind kind = Kind::kNone;
  Peer sender;
  std::string_view name;
  std::string_view data;
  std::uint8_t flags = 0;
  std::uint64_t request_id = 0;
  std::uint64_t sent_ns = 0;        // 0: not known
  GrowBuffer* collected = nullptr;  // what data lies in, if the alert came in parts: may be taken
  std::uint64_t alert_id = 0;
  UndeliveredReason reason = UndeliveredReason::kReceiverFull;
  Record record;
  Damage damage;
};

class Inbox {
 public:
  Inbox(Roster roster, std::uint32_t self_generation, Meter* meter);
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Gets the read buffer of pipe capacity + 4096 bytes, every page of it touched. False when memory
  // is short.
  bool Allocate();

  // Where the next read goes. Only when Next has returned kNone since the last read.
  char* space() { return buffer_ + end_; }
  std::size_t space_bytes() const { return buffer_bytes_ - end_; }
  // A read of space_bytes() into space() returned `bytes`; 0 if the pipe was empty.
  void Received(std::size_t bytes);

  // How often Received was called, and whether the last read proved the pipe empty.
  std::uint64_t reads() const { return reads_; }
  bool found_empty() const { return boundary_; }

  // The next arrival if it is a plain alert of a sender of whom nothing else is known that matters.
  // False, with nothing changed, if it is something else: that is for Next.
  bool NextPlain(Arrival* arrival) {
    if (!in_packet_ || delivered_ != nullptr) return false;
    Stream& stream = CurrentStream();
    if (stream.collecting != Collecting::kNothing || stream.suspect) return false;
    if (!records_.NextPlain(&arrival->name, &arrival->data)) return false;
    ++stream.expected;
    arrival->kind = Arrival::Kind::kAlert;
    arrival->sender = CurrentSender();
    arrival->flags = 0;
    arrival->request_id = 0;
    arrival->sent_ns = 0;
    arrival->collected = nullptr;
    return true;
  }

  // Hands out the next arrival. Also ends the previous one: its views are gone, its memory is
  // recycled.
  void Next(Arrival* arrival);
  // Whether Next has something to look at without another read.
  bool pending() const { return in_packet_ || (begin_ < end_ && !needs_more_); }

  // The incarnations of `slot` up to `generation` are dead, and nothing of theirs follows.
  void SenderDied(int slot, std::uint32_t generation);

  // The pid that the newest incarnation of a slot has given in its packets; 0 when it has sent
  // nothing.
  std::uint32_t LearnedPid(int slot, std::uint32_t generation) const;

 private:
  enum class Collecting : std::uint8_t { kNothing, kParts, kDiscarding };

  // What one sending slot is in the middle of.
  struct Stream {
    std::uint32_t generation = 0;
    std::uint32_t dead_up_to = 0;
    std::uint32_t pid = 0;
    Collecting collecting = Collecting::kNothing;
    bool suspect = false;  // bytes of it may have been lost since its last packet
    std::uint8_t flags = 0;
    std::uint32_t total = 0;
    std::uint64_t expected = 1;  // number of the next alert that starts
    std::uint64_t request_id = 0;
    std::uint64_t sent_ns = 0;
    ShortName name;
    GrowBuffer parts;
  };

  // What to do with a packet or record.
  enum class Verdict : std::uint8_t { kGood, kStale, kDamaged };

  bool OpenPacket(Arrival* arrival);
  Verdict Judge(const PacketHeader& header);
  void Follow(const PacketHeader& header, Stream* stream);
  void DropPacket(bool stale, Arrival* arrival);
  void Discard(Arrival* arrival);
  bool TakeRecord(const Record& record, Arrival* arrival);
  bool TakeStart(const Record& record, Stream* stream, Arrival* arrival);
  bool TakePart(const Record& record, Stream* stream, Arrival* arrival);
  bool Collect(const Record& record, Stream* stream, Arrival* arrival);
  void ReportRecord(std::size_t bytes, Arrival* arrival);
  bool DamagedRecord(const Record& record, Arrival* arrival);
  void DropParts(Stream* stream);
  void LoseParts(Stream* stream);
  void DropPartial(Stream* stream);
  void FinishArrival();
  Stream& CurrentStream() { return streams_[header_.source_slot]; }
  Peer CurrentSender() const {
    return {static_cast<pid_t>(header_.source_pid), header_.source_slot, header_.source_generation};
  }

  Roster roster_;
  std::uint32_t self_generation_;
  Meter* meter_;

  char* buffer_ = nullptr;
  std::size_t buffer_bytes_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t reads_ = 0;
  bool boundary_ = true;     // buffer_[end_] is where a packet starts
  bool needs_more_ = false;  // what is left is the beginning of a packet
  bool discarding_ = false;  // framing is lost until the next boundary

  bool in_packet_ = false;
  PacketHeader header_;
  RecordReader records_;
  Stream* delivered_ = nullptr;  // whose parts the last arrival refers to
  std::vector<Stream> streams_;
  // The largest block that has become free goes to the next large alert, whoever sends it: to map
  // fresh pages for each costs more than to fill them.
  static constexpr std::size_t kSpareBytesMax = 4194304;
  GrowBuffer spare_;
};

// What was in a pipe that nobody reads any more. Alerts count where they end: one of which only the
// beginning is there comes back to its sender.
struct DrainCount {
  std::uint64_t alerts = 0;  // for `generation`
  std::uint64_t stale = 0;   // the same for earlier generations
  std::uint64_t damaged_bytes = 0;
};
DrainCount CountDrained(std::string_view bytes, std::uint32_t generation);

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_INBOX_H_
