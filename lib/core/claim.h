// SPDX-License-Identifier: Apache-2.0
//
// Who attaches to a slot. A program that forks on its own has a Slot in two processes after the
// fork, and may make more copies of it, or give the slot up, by mistake. One word of shared memory
// decides, once for each generation: the first process that claims it is the slot's only reader, or
// the master withdraws the slot first and nobody is.
//
// The word is in memory that the worker can write. It guards against mistakes and not against a
// hostile worker, which can harm no other slot with it.
#ifndef ALERTPIPE_CORE_CLAIM_H_
#define ALERTPIPE_CORE_CLAIM_H_

#include <atomic>
#include <cstdint>

namespace alertpipe::core {

class Claim {
 public:
  // Nobody has claimed `generation`.
  void Open(std::uint32_t generation) { word_.store(Pack(generation, kNobody)); }

  // Returns the process that has `generation` now: `pid` itself, or the one that was first.
  // kWithdrawn if nobody can have it any more.
  std::uint32_t Take(std::uint32_t generation, std::uint32_t pid) {
    return Decide(generation, pid);
  }
  // For the master: returns kWithdrawn, or the process that was first.
  std::uint32_t Withdraw(std::uint32_t generation) { return Decide(generation, kWithdrawn); }
  // Who has claimed `generation`; kNobody, kWithdrawn.
  std::uint32_t holder(std::uint32_t generation) const { return Holder(word_.load(), generation); }

  static constexpr std::uint32_t kNobody = 0;
  static constexpr std::uint32_t kWithdrawn = 0xffffffff;

 private:
  static std::uint64_t Pack(std::uint32_t generation, std::uint32_t holder) {
    return (static_cast<std::uint64_t>(generation) << 32) | holder;
  }
  static std::uint32_t Holder(std::uint64_t word, std::uint32_t generation) {
    return static_cast<std::uint32_t>(word >> 32) == generation ? static_cast<std::uint32_t>(word)
                                                                : kWithdrawn;
  }
  std::uint32_t Decide(std::uint32_t generation, std::uint32_t holder) {
    std::uint64_t before = Pack(generation, kNobody);
    return word_.compare_exchange_strong(before, Pack(generation, holder))
               ? holder
               : Holder(before, generation);
  }

  std::atomic<std::uint64_t> word_{0};
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_CLAIM_H_
