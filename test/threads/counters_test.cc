// SPDX-License-Identifier: Apache-2.0
//
// A counter page has one writer, and anybody reads it at any time.
#include "core/counters.h"

#include <alertpipe/limits.h>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "../core/heap_roster.h"
#include "core/roster.h"
#include "core/slot_stats.h"

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

// The lives of a slot's workers, each of which sets its counters to its generation, under the eyes
// of a reader: no figure is ever shown for a worker that did not write it.
TEST(CounterThreads, FiguresAreThoseOfTheirIncarnation) {
  HeapRoster roster(GenerousSettings(2));
  const auto page = std::make_unique<CounterPage>();
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::uint64_t live = 0;
  std::uint64_t last = 0;
  std::thread reader([&] {
    do {
      const SlotStats slot = ReadSlot(roster.roster(), *page, roster.roster().archived(1), 1);
      if (slot.live.has_value()) {
        ++live;
        const std::uint64_t own = slot.live->peer.generation;
        for (const std::uint64_t value : {slot.live->stats.alerts_accepted, slot.live->stats.writes,
                                          slot.live->stats.reassembly_bytes_peak}) {
          if (value != 0 && value != own) ++wrong;
        }
      }
      if (slot.last.has_value()) {
        ++last;
        const std::uint64_t own = slot.last->peer.generation;
        if (slot.last->stats.alerts_accepted != own || slot.last->stats.writes != own ||
            slot.last->stats.reassembly_bytes_peak != own ||
            slot.last->peer.pid != static_cast<pid_t>(own + 1)) {
          ++wrong;
        }
      }
    } while (!stop.load(std::memory_order_relaxed));
  });
  for (std::uint32_t generation = 1; generation <= 50000; ++generation) {
    page->Reset(generation);
    roster.Publish(1, generation, SlotState::kUp, generation + 1);
    page->alerts_accepted.Set(generation);
    page->writes.Set(generation);
    page->reassembly_bytes_peak.Set(generation);
    roster.Publish(1, generation, SlotState::kDown, generation + 1);
    roster.Archive(1, {generation, generation + 1, SlotState::kDown}, page->Snapshot());
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(live + last, 0u);
}

}  // namespace
}  // namespace alertpipe::core
