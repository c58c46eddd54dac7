// SPDX-License-Identifier: Apache-2.0
//
// A counter page has one writer, and anybody reads it at any time.
#include "core/counters.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace alertpipe::core {
namespace {

constexpr std::uint64_t kRounds = 200000;

TEST(CounterThreads, ReadersSeeEachCounterRise) {
  const auto page = std::make_unique<CounterPage>();
  Meter meter(page.get());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  readers.reserve(3);
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&] {
      Stats last;
      do {
        const Stats now = page->Snapshot();
        if (now.alerts_accepted < last.alerts_accepted || now.writes < last.writes) ++wrong;
        if (now.queued_bytes_peak < last.queued_bytes_peak) ++wrong;
        // What is held is never a torn or negative number.
        if (now.queued_bytes > kRounds || now.queued_bytes_peak > kRounds) ++wrong;
        last = now;
      } while (!stop.load(std::memory_order_relaxed));
    });
  }
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    page->alerts_accepted.Add();
    page->writes.Add(3);
    meter.ChargeQueued(i % 1000);
    meter.ReleaseQueued(i % 1000);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  const Stats stats = page->Snapshot();
  EXPECT_EQ(stats.alerts_accepted, kRounds);
  EXPECT_EQ(stats.writes, 3 * kRounds);
  EXPECT_EQ(stats.queued_bytes, 0u);
  EXPECT_EQ(stats.queued_bytes_peak, 999u);
}

// The master archives and resets a page while others look at it.
TEST(CounterThreads, AResetPageBelongsToItsGeneration) {
  const auto page = std::make_unique<CounterPage>();
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    std::uint32_t newest = 0;
    do {
      const std::uint32_t generation = page->generation.load(std::memory_order_relaxed);
      EXPECT_GE(generation, newest);
      newest = generation;
      EXPECT_LE(page->Snapshot().alerts_accepted, 10u);
    } while (!stop.load(std::memory_order_relaxed));
  });
  for (std::uint32_t generation = 1; generation <= 20000; ++generation) {
    page->Reset(generation);
    for (int i = 0; i < 10; ++i) page->alerts_accepted.Add();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(page->Snapshot().alerts_accepted, 10u);
  EXPECT_EQ(page->generation.load(), 20000u);
}

}  // namespace
}  // namespace alertpipe::core
