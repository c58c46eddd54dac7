// SPDX-License-Identifier: Apache-2.0
//
// The counters of one slot, in shared memory. Their worker is the only writer, with relaxed stores;
// anybody may read them at any time, and the protocol never does. The page is tagged with the
// generation that it belongs to, and says who has attached. When a worker has died the master
// copies its counters into the archive behind the roster, where no worker can write, and resets the
// page for the successor.
//
// Readers take no part in that. They look at a tag before and after, and copying and resetting
// store with release what readers load with acquire: who has seen one counter of the new state sees
// the changed tag (of the archive) or roster word (of the page) as well, and tries again.
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
  void TakeBack(std::uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
  }
  void Set(std::uint64_t value, std::memory_order order = std::memory_order_relaxed) {
    value_.store(value, order);
  }
  void Raise(std::uint64_t value) {
    if (value > Get()) Set(value);
  }
  std::uint64_t Get(std::memory_order order = std::memory_order_relaxed) const {
    return value_.load(order);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// All counters of one incarnation.
struct CounterSet {
#define ALERTPIPE_DECLARE_COUNTER(name) Counter name;
  ALERTPIPE_STATS(ALERTPIPE_DECLARE_COUNTER)
#undef ALERTPIPE_DECLARE_COUNTER
  Counter latency[LatencyHistogram::kBuckets];

  Stats Snapshot() const {
    Stats stats;
#define ALERTPIPE_READ_COUNTER(name) stats.name = name.Get(std::memory_order_acquire);
    ALERTPIPE_STATS(ALERTPIPE_READ_COUNTER)
#undef ALERTPIPE_READ_COUNTER
    for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i)
      stats.latency.counts[i] = latency[i].Get(std::memory_order_acquire);
    return stats;
  }
  void Store(const Stats& stats) {
#define ALERTPIPE_STORE_COUNTER(name) name.Set(stats.name, std::memory_order_release);
    ALERTPIPE_STATS(ALERTPIPE_STORE_COUNTER)
#undef ALERTPIPE_STORE_COUNTER
    for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i)
      latency[i].Set(stats.latency.counts[i], std::memory_order_release);
  }
};

// Differs wherever the list of counters does: a reader that was built with another one must not
// name counters after their places.
constexpr std::uint64_t CounterLayout() {
  constexpr char kNames[] =
#define ALERTPIPE_NAME_COUNTER(name) #name " "
      ALERTPIPE_STATS(ALERTPIPE_NAME_COUNTER);
#undef ALERTPIPE_NAME_COUNTER
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a
  hash ^= LatencyHistogram::kBuckets;
  for (const char c : kNames) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}
inline constexpr std::uint64_t kCounterLayout = CounterLayout();

struct alignas(4096) CounterPage : CounterSet {
  std::atomic<std::uint32_t> generation{0};
  Claim claim;

  // For the slot's next worker.
  void Reset(std::uint32_t for_generation) {
    Store(Stats());
    generation.store(for_generation, std::memory_order_release);
    claim.Open(for_generation);
  }
};
static_assert(sizeof(CounterPage) == 4096, "one page per slot");

// What a dead worker has left, in memory that only the master writes.
struct alignas(64) ArchivedCounters : CounterSet {
  std::atomic<std::uint32_t> generation{0};  // 0: nothing, or it is being written
  std::atomic<std::uint32_t> pid{0};

  void Store(std::uint32_t dead_generation, std::uint32_t dead_pid, const Stats& stats) {
    generation.store(0, std::memory_order_relaxed);
    pid.store(dead_pid, std::memory_order_release);
    CounterSet::Store(stats);
    generation.store(dead_generation, std::memory_order_release);
  }
};

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
