// SPDX-License-Identifier: Apache-2.0
#include "core/events/event_record.h"

#include "core/bytes.h"

namespace alertpipe::core {
namespace {

constexpr std::uint8_t kKindMask = 0x0f;
constexpr std::uint8_t kOrdered = 0x10;
constexpr std::uint8_t kRetained = 0x20;
constexpr std::size_t kFixedBytes = 3;

bool IsNumbered(const EventRecord& record) {
  return record.ordered || record.kind == EventKind::kClaimed || record.kind == EventKind::kMark;
}

std::size_t NumberCount(const EventRecord& record) {
  return (IsNumbered(record) ? 1 : 0) + (record.retained ? 1 : 0) +
         (record.kind == EventKind::kGap ? 1 : 0);
}

}  // namespace

std::size_t EventRecord::HeadBytes() const {
  return kFixedBytes + NumberCount(*this) * sizeof(std::uint64_t) + source.size() + name.size();
}

std::size_t EventRecord::EncodeHead(char* to) const {
  char* at = to;
  const auto put = [&at](std::uint64_t value) {
    Store<std::uint64_t>(at, value);
    at += sizeof value;
  };
  Store<std::uint8_t>(
      at, static_cast<std::uint8_t>(static_cast<std::uint8_t>(kind) | (ordered ? kOrdered : 0) |
                                    (retained ? kRetained : 0)));
  Store<std::uint8_t>(at + 1, static_cast<std::uint8_t>(source.size()));
  Store<std::uint8_t>(at + 2, static_cast<std::uint8_t>(name.size()));
  at += kFixedBytes;
  if (IsNumbered(*this)) put(number);
  if (retained) put(time_ns);
  if (kind == EventKind::kGap) put(count);
  CopyBytes(at, source);
  at += source.size();
  CopyBytes(at, name);
  at += name.size();
  return static_cast<std::size_t>(at - to);
}

bool EventRecord::Decode(std::string_view from) {
  *this = EventRecord();
  if (from.size() < kFixedBytes) return false;
  const auto first = Load<std::uint8_t>(from.data());
  const std::uint8_t number_of_kind = first & kKindMask;
  if (number_of_kind < 1 || number_of_kind > 5 ||
      (first & ~(kKindMask | kOrdered | kRetained)) != 0)
    return false;
  kind = static_cast<EventKind>(number_of_kind);
  ordered = (first & kOrdered) != 0;
  retained = (first & kRetained) != 0;
  if (kind != EventKind::kEvent && kind != EventKind::kKept && (ordered || retained)) return false;
  const std::size_t source_bytes = Load<std::uint8_t>(from.data() + 1);
  const std::size_t name_bytes = Load<std::uint8_t>(from.data() + 2);
  const std::size_t numbers = NumberCount(*this) * sizeof(std::uint64_t);
  if (from.size() < kFixedBytes + numbers + source_bytes + name_bytes) return false;
  const char* at = from.data() + kFixedBytes;
  const auto take = [&at] {
    const auto value = Load<std::uint64_t>(at);
    at += sizeof value;
    return value;
  };
  if (IsNumbered(*this)) number = take();
  if (retained) time_ns = take();
  if (kind == EventKind::kGap) count = take();
  from.remove_prefix(kFixedBytes + numbers);
  source = from.substr(0, source_bytes);
  name = from.substr(source_bytes, name_bytes);
  data = from.substr(source_bytes + name_bytes);
  // An event that is ordered is counted from 1: 0 stands for one that is not.
  return !ordered || number != 0;
}

}  // namespace alertpipe::core
