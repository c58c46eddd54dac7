// SPDX-License-Identifier: Apache-2.0
//
// The counters of one slot, in shared memory. Their worker is the only writer, with relaxed stores;
// anybody may read them at any time, and the protocol never does. The page is tagged with the
// generation that it belongs to, and says who has attached.
#ifndef ALERTPIPE_CORE_COUNTERS_H_
#define ALERTPIPE_CORE_COUNTERS_H_

#include <alertpipe/stats.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/claim.h"

namespace alertpipe::core {

// One counter: a single writer needs no atomic read-modify-write.
class Counter {
 public:
  void Add(std::uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void Sub(std::uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
  }
  void Set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Raise(std::uint64_t value) {
    if (value > Get()) Set(value);
  }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct alignas(4096) CounterPage {
  std::atomic<std::uint32_t> generation{0};
  Claim claim;
#define ALERTPIPE_DECLARE_COUNTER(name) Counter name;
  ALERTPIPE_STATS(ALERTPIPE_DECLARE_COUNTER)
#undef ALERTPIPE_DECLARE_COUNTER

  Stats Snapshot() const {
    Stats stats;
#define ALERTPIPE_READ_COUNTER(name) stats.name = name.Get();
    ALERTPIPE_STATS(ALERTPIPE_READ_COUNTER)
#undef ALERTPIPE_READ_COUNTER
    return stats;
  }
  // For the slot's next worker.
  void Reset(std::uint32_t for_generation) {
#define ALERTPIPE_CLEAR_COUNTER(name) name.Set(0);
    ALERTPIPE_STATS(ALERTPIPE_CLEAR_COUNTER)
#undef ALERTPIPE_CLEAR_COUNTER
    generation.store(for_generation, std::memory_order_relaxed);
    claim.Open(for_generation);
  }
};
static_assert(sizeof(CounterPage) == 4096, "one page per slot");

// What the protocol itself needs to know of its own usage, kept in private memory (a relative can
// scribble over the counter page) and mirrored there.
class Meter {
 public:
  explicit Meter(CounterPage* page) : page_(page) {}

  CounterPage& page() { return *page_; }
  const CounterPage& page() const { return *page_; }

  std::size_t queued_bytes() const { return queued_bytes_; }
  void ChargeQueued(std::size_t bytes) {
    queued_bytes_ += bytes;
    page_->queued_bytes.Set(queued_bytes_);
    page_->queued_bytes_peak.Raise(queued_bytes_);
  }
  void ReleaseQueued(std::size_t bytes) {
    queued_bytes_ -= bytes;
    page_->queued_bytes.Set(queued_bytes_);
  }

  std::size_t reassembly_bytes() const { return reassembly_bytes_; }
  void ChargeReassembly(std::size_t bytes) {
    reassembly_bytes_ += bytes;
    page_->reassembly_bytes.Set(reassembly_bytes_);
    page_->reassembly_bytes_peak.Raise(reassembly_bytes_);
  }
  void ReleaseReassembly(std::size_t bytes) {
    reassembly_bytes_ -= bytes;
    page_->reassembly_bytes.Set(reassembly_bytes_);
  }

 private:
  CounterPage* page_;
  std::size_t queued_bytes_ = 0;
  std::size_t reassembly_bytes_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_COUNTERS_H_
