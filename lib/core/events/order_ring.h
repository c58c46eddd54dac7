// SPDX-License-Identifier: Apache-2.0
//
// Where the one order of a family's ordered events is decided: a ring of places in shared memory,
// each of them one 64-bit word that says whose events stand there. A publisher writes its events
// into everybody's pipe first, where they are held, and then claims the next place with one
// compare-and-swap. Before that nobody waits for it, and after it there is nothing left for it to
// do: whether it is stopped or killed, at any instruction, no place is ever half taken.
//
//   place      7     8     9     10    11
//            [P 1-3][Q 1][P 4][      ][      ]      P's events 1 to 3, Q's first, P's fourth
//                               ^ tail: the next place to claim
//
// The tail only saves looking for the end: whoever finds the word at the tail taken moves it on, so
// that it does not depend on the one who took it. A word carries the lap of the ring for which it
// was written, which tells a place that is free from one that is taken, and the low bits of the
// rest: what the events themselves carry in full.
//
// A relative gone wild can write here. Then order is lost, and nothing else: every number is taken
// as a number, and looked up only within bounds.
#ifndef ALERTPIPE_CORE_EVENTS_ORDER_RING_H_
#define ALERTPIPE_CORE_EVENTS_ORDER_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace alertpipe::core {

// What stands in a place: the events numbered (last - count, last] of one incarnation.
struct OrderWord {
  static constexpr int kSequenceBits = 28;
  static constexpr int kCountBits = 12;
  static constexpr int kGenerationBits = 8;
  static constexpr int kSlotBits = 13;
  static constexpr int kLapBits = 3;
  static constexpr std::uint32_t kCountMax = (1U << kCountBits) - 1;

  std::uint32_t lap = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // low bits
  std::uint32_t count = 0;
  std::uint32_t last = 0;  // low bits

  std::uint64_t Pack() const {
    std::uint64_t packed = Bits(lap, kLapBits);
    packed = packed << kSlotBits | Bits(slot, kSlotBits);
    packed = packed << kGenerationBits | Bits(generation, kGenerationBits);
    packed = packed << kCountBits | Bits(count, kCountBits);
    return packed << kSequenceBits | Bits(last, kSequenceBits);
  }
  static OrderWord Unpack(std::uint64_t packed) {
    OrderWord word;
    word.last = Take(&packed, kSequenceBits);
    word.count = Take(&packed, kCountBits);
    word.generation = Take(&packed, kGenerationBits);
    word.slot = Take(&packed, kSlotBits);
    word.lap = Take(&packed, kLapBits);
    return word;
  }
  bool IsOf(std::uint32_t full_generation) const {
    return generation == Bits(full_generation, kGenerationBits);
  }
  // How far event `sequence` lies behind `last`: below 0, or `count` or more, if it does not stand
  // here. Right for events that are less than 2^27 apart.
  std::int64_t Behind(std::uint64_t sequence) const {
    const std::uint32_t distance = (last - static_cast<std::uint32_t>(sequence))
                                   << (32 - kSequenceBits);
    return static_cast<std::int32_t>(distance) >> (32 - kSequenceBits);
  }

 private:
  static std::uint64_t Bits(std::uint64_t value, int bits) {
    return value & ((std::uint64_t{1} << bits) - 1);
  }
  static std::uint32_t Take(std::uint64_t* packed, int bits) {
    const std::uint64_t value = Bits(*packed, bits);
    *packed >>= bits;
    return static_cast<std::uint32_t>(value);
  }
};

// In shared memory, zeroed.
struct alignas(64) OrderRingMemory {
  std::atomic<std::uint64_t> tail;
  alignas(64) std::atomic<std::uint64_t> words[1];  // as many as the ring has places

  static std::size_t Bytes(std::uint64_t places) {
    return sizeof(OrderRingMemory) + places * sizeof(std::atomic<std::uint64_t>);
  }
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free,
              "the ring is shared between processes");

class OrderRing {
 public:
  enum class Place : std::uint8_t {
    kFree,     // nobody has claimed it yet
    kTaken,    // *word says by whom
    kOverrun,  // it has been claimed for a later lap, or the ring makes no sense
  };

  // A claim under way. One step is one access to shared memory.
  struct Claim {
    enum class Step : std::uint8_t { kTail, kLook, kCheck, kSwap, kMove, kDone };
    OrderWord word;
    Step step = Step::kTail;
    std::uint64_t place = 0;  // kDone: what was claimed
    std::uint64_t found = 0;
    bool taken = false;  // by somebody else, who has not moved the tail yet
  };

  OrderRing() = default;
  // `places`, a power of two: whoever falls behind by so many has lost its way, and starts anew at
  // the tail.
  OrderRing(OrderRingMemory* memory, std::uint64_t places) : memory_(memory), places_(places) {}

  std::uint64_t tail() const { return memory_->tail.load(std::memory_order_acquire); }
  // What stands in `place`, which was below the tail.
  Place Look(std::uint64_t place, OrderWord* word) const;
  // Takes the next step of a claim; false when it is done.
  bool Step(Claim* claim);
  // Whether `place` has been overwritten, or the tail makes no sense.
  bool HasPassed(std::uint64_t place) const {
    const std::uint64_t end = tail();
    return end < place || end - place >= places_;
  }
  // The tail, moved behind all that has been claimed before the call.
  std::uint64_t Settle();

 private:
  std::uint32_t LapOf(std::uint64_t place) const {
    return static_cast<std::uint32_t>(place / places_ + 1) & ((1U << OrderWord::kLapBits) - 1);
  }
  std::atomic<std::uint64_t>& At(std::uint64_t place) const {
    return memory_->words[place & (places_ - 1)];
  }

  OrderRingMemory* memory_ = nullptr;
  std::uint64_t places_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_ORDER_RING_H_
