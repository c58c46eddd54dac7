// SPDX-License-Identifier: Apache-2.0
//
// What the alerts carry that events travel in: one record each, as an alert's data.
//
//   u8   kind and flags
//   u8   bytes of the source's name
//   u8   bytes of the event's name
//   u64  number (if kOrdered, and of kClaimed)
//   u64  time of publication (if kRetained)
//   u64  count (of kGap)
//   the source, the event, and, of kEvent, the data
#ifndef ALERTPIPE_CORE_EVENTS_EVENT_RECORD_H_
#define ALERTPIPE_CORE_EVENTS_EVENT_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace alertpipe::core {

// The alerts with events, the requests for retained ones, and those of barriers.
inline constexpr std::string_view kEventAlertName("\0e", 2);
inline constexpr std::string_view kRetainedRequestName("\0r", 2);
inline constexpr std::string_view kEventBarrierName("\0b", 2);

enum class EventKind : std::uint8_t {
  kEvent = 1,
  kGap = 2,      // `count` events of that name were not sent to the receiver
  kClaimed = 3,  // all ordered events of the sender up to `number` have places
  kKept = 4,     // never sent: an event to others, at its publisher, which only retains it
  kMark = 5,     // never sent: where somebody's barrier number `number` stands
};

struct EventRecord {
  static constexpr std::size_t kBytesMax = 3 + 3 * 8 + 2 * 255;  // all but the data

  EventKind kind = EventKind::kEvent;
  bool ordered = false;
  bool retained = false;
  std::uint64_t number = 0;
  std::uint64_t time_ns = 0;
  std::uint64_t count = 0;
  std::string_view source;
  std::string_view name;
  std::string_view data;

  // Tells that `count` events are missing.
  static EventRecord Gap(std::string_view source, std::string_view name, std::uint64_t count) {
    EventRecord record;
    record.kind = EventKind::kGap;
    record.source = source;
    record.name = name;
    record.count = count;
    return record;
  }

  // How many events are missing where this finds no room.
  std::uint64_t stands_for() const { return kind == EventKind::kGap ? count : 1; }
  // Bytes of all but the data.
  std::size_t HeadBytes() const;
  // Writes all but the data, which follows. Returns HeadBytes().
  std::size_t EncodeHead(char* to) const;
  // False for bytes that are no record. Views point into `from`.
  bool Decode(std::string_view from);
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_EVENT_RECORD_H_
