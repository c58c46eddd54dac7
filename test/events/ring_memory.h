// SPDX-License-Identifier: Apache-2.0
//
// A ring of places in private memory, and what tests do to it.
#ifndef ALERTPIPE_TEST_EVENTS_RING_MEMORY_H_
#define ALERTPIPE_TEST_EVENTS_RING_MEMORY_H_

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/events/order_ring.h"

namespace alertpipe::core {

class RingMemory {
 public:
  explicit RingMemory(std::uint64_t places)
      : memory_(std::aligned_alloc(64, Rounded(places)), std::free), places_(places) {
    std::memset(memory_.get(), 0, Rounded(places));
  }

  OrderRing ring() { return OrderRing(&memory(), places_); }
  OrderRingMemory& memory() { return *static_cast<OrderRingMemory*>(memory_.get()); }

  // Claims a place for the events (last - count, last]; returns it.
  std::uint64_t Claim(int slot, std::uint32_t generation, std::uint32_t last,
                      std::uint32_t count = 1) {
    OrderRing::Claim claim;
    claim.word.slot = static_cast<std::uint32_t>(slot);
    claim.word.generation = generation;
    claim.word.last = last;
    claim.word.count = count;
    OrderRing ring = this->ring();
    while (ring.Step(&claim)) {
    }
    return claim.place;
  }

 private:
  static std::size_t Rounded(std::uint64_t places) {
    return (OrderRingMemory::Bytes(places) + 63) / 64 * 64;
  }

  std::unique_ptr<void, void (*)(void*)> memory_;
  std::uint64_t places_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_EVENTS_RING_MEMORY_H_
