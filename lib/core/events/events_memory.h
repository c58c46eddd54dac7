// SPDX-License-Identifier: Apache-2.0
//
// What a family's processes share for events, in memory that all of them write: where each slot's
// worker starts in the one order, the ring of places, and the table of unique keys. Sizes are
// family settings, in the roster, where nobody can change them.
#ifndef ALERTPIPE_CORE_EVENTS_EVENTS_MEMORY_H_
#define ALERTPIPE_CORE_EVENTS_EVENTS_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/events/order_ring.h"
#include "core/events/unique_table.h"

namespace alertpipe::core {

class EventsMemory {
 public:
  static constexpr std::uint64_t kPlaces = 16384;

  static std::size_t Bytes(int slots, std::uint32_t unique_keys_max) {
    return UniqueAt(slots) + UniqueTable::Bytes(slots, unique_keys_max);
  }

  EventsMemory() = default;
  // Zeroed at first.
  EventsMemory(void* memory, int slots, std::uint32_t unique_keys_max)
      : memory_(static_cast<char*>(memory)), slots_(slots), unique_keys_max_(unique_keys_max) {}

  bool valid() const { return memory_ != nullptr; }
  OrderRing ring() const {
    return OrderRing(reinterpret_cast<OrderRingMemory*>(memory_ + RingAt(slots_)), kPlaces);
  }
  UniqueTable unique(int slot) const {
    return UniqueTable(memory_ + UniqueAt(slots_), slots_, unique_keys_max_, slot);
  }
  // The master, before it announces a slot's next worker.
  void Announce(int slot) const { start(slot).store(ring().tail(), std::memory_order_release); }
  // Where that worker starts.
  std::uint64_t StartOf(int slot) const { return start(slot).load(std::memory_order_acquire); }

 private:
  static constexpr std::size_t kLine = 64;
  static std::size_t Rounded(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }
  static std::size_t RingAt(int slots) {
    return Rounded(static_cast<std::size_t>(slots) * sizeof(std::atomic<std::uint64_t>));
  }
  static std::size_t UniqueAt(int slots) {
    return RingAt(slots) + Rounded(OrderRingMemory::Bytes(kPlaces));
  }
  std::atomic<std::uint64_t>& start(int slot) const {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(memory_)[slot];
  }

  char* memory_ = nullptr;
  int slots_ = 0;
  std::uint32_t unique_keys_max_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_EVENTS_MEMORY_H_
