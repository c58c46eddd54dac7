// SPDX-License-Identifier: Apache-2.0
//
// One thread stands for the master, the others for workers that read while it writes.
// ThreadSanitizer, which cannot see across processes, then checks the accesses; the assertions
// check that no word is ever seen in halves.
#include "core/roster.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace alertpipe::core {
namespace {

constexpr int kSlots = 9;
constexpr std::uint32_t kRounds = 100000;
constexpr int kReaders = 3;

// Pid and state follow from the generation, so that parts of two words cannot look like one.
RosterWord WordOf(std::uint32_t generation) {
  return {generation, generation * 2654435761u & 0xffffff,
          static_cast<SlotState>(1 + generation % 4)};
}

TEST(RosterThreads, AWordIsNeverSeenInHalves) {
  const std::size_t bytes = (RosterMemory::Bytes(kSlots) + 63) / 64 * 64;
  const std::unique_ptr<void, void (*)(void*)> block(std::aligned_alloc(64, bytes), std::free);
  std::memset(block.get(), 0, bytes);
  auto* memory = static_cast<RosterMemory*>(block.get());
  RosterWriter writer(memory);
  FamilySettings settings;
  settings.slots = kSlots;
  writer.Settle(settings);
  for (int slot = 0; slot < kSlots; ++slot) writer.Publish(slot, WordOf(1));

  std::atomic<bool> stop{false};
  std::atomic<int> mixed{0};
  std::atomic<int> backward{0};
  std::vector<std::thread> readers;
  readers.reserve(kReaders);
  for (int reader = 0; reader < kReaders; ++reader) {
    readers.emplace_back([&] {
      const Roster roster(memory);
      std::uint32_t newest[kSlots] = {};
      do {
        for (int slot = 0; slot < kSlots; ++slot) {
          const RosterWord word = roster.Get(slot);
          if (!(word == WordOf(word.generation))) ++mixed;
          if (word.generation < newest[slot]) ++backward;
          newest[slot] = word.generation;
          if (!roster.IsDead(slot, word.generation - 1)) ++backward;
        }
      } while (!stop.load(std::memory_order_relaxed));
    });
  }
  for (std::uint32_t generation = 2; generation <= kRounds; ++generation) {
    for (int slot = 0; slot < kSlots; ++slot) writer.Publish(slot, WordOf(generation));
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(mixed, 0);
  EXPECT_EQ(backward, 0);
}

// Who sees a word sees what was written before it: the reason for release and acquire.
TEST(RosterThreads, AWordPublishesWhatCameBeforeIt) {
  const std::size_t bytes = (RosterMemory::Bytes(2) + 63) / 64 * 64;
  const std::unique_ptr<void, void (*)(void*)> block(std::aligned_alloc(64, bytes), std::free);
  std::memset(block.get(), 0, bytes);
  auto* memory = static_cast<RosterMemory*>(block.get());
  RosterWriter writer(memory);
  FamilySettings settings;
  settings.slots = 2;
  writer.Settle(settings);
  std::vector<int> prepared(1000, 0);
  std::thread reader([&] {
    const Roster roster(memory);
    std::uint32_t generation = 0;
    while (generation < prepared.size()) {
      generation = roster.Get(1).generation;
      if (generation == 0) continue;
      EXPECT_EQ(prepared[generation - 1], static_cast<int>(generation));
    }
  });
  for (std::uint32_t generation = 1; generation <= prepared.size(); ++generation) {
    prepared[generation - 1] = static_cast<int>(generation);
    writer.Publish(1, WordOf(generation));
  }
  reader.join();
}

}  // namespace
}  // namespace alertpipe::core
