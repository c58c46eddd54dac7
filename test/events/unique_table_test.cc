// SPDX-License-Identifier: Apache-2.0
#include "core/events/unique_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace alertpipe::core {
namespace {

using Verdict = UniqueTable::Verdict;

constexpr int kSlots = 4;
constexpr std::uint64_t kTimeout = 100;

class Unique : public testing::Test {
 protected:
  explicit Unique(std::uint32_t cells = 8)
      : cells_(cells), memory_(std::calloc(1, UniqueTable::Bytes(kSlots, cells)), std::free) {}

  UniqueTable TableOf(int slot) { return UniqueTable(memory_.get(), kSlots, cells_, slot); }
  static Verdict Claim(UniqueTable* table, std::string_view key, std::uint64_t now,
                       UniqueTable::Claim* claim = nullptr) {
    UniqueTable::Claim own;
    if (claim == nullptr) claim = &own;
    claim->key = key;
    table->Open(claim);
    return table->Try(claim, now, kTimeout);
  }
  std::atomic<std::uint64_t>* words() {
    return static_cast<std::atomic<std::uint64_t>*>(memory_.get());
  }
  std::size_t word_count() const { return UniqueTable::Bytes(kSlots, cells_) / 8; }

  std::uint32_t cells_;
  std::unique_ptr<void, void (*)(void*)> memory_;
};

TEST_F(Unique, AKeyIsTakenUntilItExpires) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  EXPECT_EQ(Claim(&one, "key", 1000), Verdict::kClaimed);
  EXPECT_EQ(Claim(&one, "key", 1000), Verdict::kTaken);
  EXPECT_EQ(Claim(&two, "key", 1099), Verdict::kTaken);
  EXPECT_EQ(Claim(&two, "other", 1099), Verdict::kClaimed);
  EXPECT_EQ(Claim(&two, "key", 1100), Verdict::kClaimed);
  EXPECT_EQ(Claim(&one, "key", 1199), Verdict::kTaken);
  EXPECT_EQ(Claim(&one, "other", 1198), Verdict::kTaken);
}

TEST_F(Unique, KeysAreComparedWhole) {
  UniqueTable table = TableOf(1);
  const std::string longest(UniqueCell::kKeyBytesMax, 'k');
  std::string other = longest;
  other.back() = 'l';
  EXPECT_EQ(Claim(&table, longest, 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, other, 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, longest.substr(1), 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, std::string_view("\0", 1), 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, std::string_view("\0\0", 2), 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, longest, 0), Verdict::kTaken);
  EXPECT_EQ(Claim(&table, std::string_view("\0", 1), 0), Verdict::kTaken);
}

TEST_F(Unique, AKeyThatIsGivenBackIsFree) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  UniqueTable::Claim claim;
  EXPECT_EQ(Claim(&one, "key", 0, &claim), Verdict::kClaimed);
  one.Release(claim);
  EXPECT_EQ(Claim(&two, "key", 1), Verdict::kClaimed);
  EXPECT_EQ(Claim(&one, "key", 2), Verdict::kTaken);
}

TEST_F(Unique, EachSlotHasItsOwnCellsAndSaysWhenTheyAreUsedUp) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  for (std::uint32_t i = 0; i < cells_; ++i)
    EXPECT_EQ(Claim(&one, "key " + std::to_string(i), 10), Verdict::kClaimed);
  EXPECT_EQ(Claim(&one, "one more", 10), Verdict::kFull);
  EXPECT_EQ(Claim(&one, "key 3", 10), Verdict::kTaken) << "no cell is needed to see that";
  EXPECT_EQ(Claim(&two, "one more", 10), Verdict::kClaimed);
  EXPECT_EQ(Claim(&one, "yet another", 110), Verdict::kClaimed);
}

TEST_F(Unique, OfTwoThatClaimAtOnceOneHasToLookAgain) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  UniqueTable::Claim first;
  first.key = "key";
  one.Open(&first);
  EXPECT_EQ(Claim(&two, "key", 10), Verdict::kClaimed);
  EXPECT_EQ(one.Try(&first, 11, kTimeout), Verdict::kAgain);
  one.Open(&first);
  EXPECT_EQ(one.Try(&first, 12, kTimeout), Verdict::kTaken);
  // The cell that it had written is free again.
  for (std::uint32_t i = 0; i < cells_; ++i)
    EXPECT_EQ(Claim(&one, "key " + std::to_string(i), 12), Verdict::kClaimed);
}

class UniqueChains : public Unique {
 protected:
  UniqueChains() : Unique(64) {}
};

// More keys than heads: all of them are found through others.
TEST_F(UniqueChains, AllKeysAreFound) {
  std::vector<UniqueTable> tables;
  for (int slot = 0; slot < kSlots; ++slot) tables.push_back(TableOf(slot));
  const auto key = [](int i) { return "key " + std::to_string(i); };
  const int count = static_cast<int>(cells_) * kSlots;
  for (int round = 0; round < 50; ++round) {
    const std::uint64_t now = 1000 + static_cast<std::uint64_t>(round) * kTimeout;
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(Claim(&tables[static_cast<std::size_t>(i % kSlots)], key(i + round), now),
                Verdict::kClaimed);
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(Claim(&tables[0], key(i + round), now + kTimeout - 1), Verdict::kTaken);
  }
}

TEST_F(UniqueChains, KeysThatAreGivenBackAreFreeWhateverCameInFrontOfThem) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  std::vector<UniqueTable::Claim> claims(40);
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) keys.push_back("key " + std::to_string(i));
  for (std::size_t i = 0; i < keys.size(); ++i)
    ASSERT_EQ(Claim(&one, keys[i], 10, &claims[i]), Verdict::kClaimed);
  for (int i = 0; i < 60; ++i)
    ASSERT_EQ(Claim(&two, "other " + std::to_string(i), 10), Verdict::kClaimed);
  for (const UniqueTable::Claim& claim : claims) one.Release(claim);
  for (const std::string& key : keys) ASSERT_EQ(Claim(&one, key, 11), Verdict::kClaimed);
  for (const std::string& key : keys) ASSERT_EQ(Claim(&two, key, 12), Verdict::kTaken);
  for (int i = 0; i < 60; ++i)
    ASSERT_EQ(Claim(&one, "other " + std::to_string(i), 12), Verdict::kTaken);
}

// One key, refused again and again, uses up nothing.
TEST_F(Unique, WhatIsGivenBackLeavesItsCell) {
  UniqueTable table = TableOf(1);
  for (int i = 0; i < 100; ++i) {
    UniqueTable::Claim claim;
    ASSERT_EQ(Claim(&table, "key", 10, &claim), Verdict::kClaimed);
    table.Release(claim);
  }
}

// A search that has begun before a cell was used again ends there: what is behind has expired too.
TEST_F(Unique, ASearchThroughCellsThatAreUsedAgainFindsNothing) {
  UniqueTable one = TableOf(1);
  UniqueTable two = TableOf(2);
  ASSERT_EQ(Claim(&one, "key", 0), Verdict::kClaimed);
  UniqueTable::Claim slow;
  slow.key = "key";
  two.Open(&slow);
  for (std::uint32_t i = 0; i < cells_; ++i)
    ASSERT_EQ(Claim(&one, "new " + std::to_string(i), 200), Verdict::kClaimed);
  EXPECT_NE(two.Try(&slow, 50, kTimeout), Verdict::kTaken);
}

// Died while it was writing a cell: the slot's next worker writes it anew.
TEST_F(Unique, ACellThatWasHalfWrittenIsUsedAgain) {
  for (std::size_t i = word_count() - kSlots * cells_ * sizeof(UniqueCell) / 8; i < word_count();
       i += sizeof(UniqueCell) / 8) {
    words()[i] = 7;  // the version
  }
  UniqueTable table = TableOf(1);
  EXPECT_EQ(Claim(&table, "key", 0), Verdict::kClaimed);
  EXPECT_EQ(Claim(&table, "key", 0), Verdict::kTaken);
}

// A relative gone wild: any words at all are survived.
TEST_F(Unique, GarbageHarmsNothingElse) {
  UniqueTable table = TableOf(1);
  std::uint64_t random = 1;
  for (int round = 0; round < 200; ++round) {
    for (std::size_t i = 0; i < word_count(); ++i) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      if (round % 2 == 0 || random % 16 == 0) words()[i] = round % 3 == 0 ? random : random >> 40;
    }
    for (int i = 0; i < 20; ++i) Claim(&table, "key " + std::to_string(i), random >> 50);
  }
  // A chain that leads into itself.
  std::memset(memory_.get(), 0, word_count() * 8);
  ASSERT_EQ(Claim(&table, "key", 0), Verdict::kClaimed);
  for (std::size_t i = 0; i + 1 < word_count(); ++i) {
    if (words()[i] != 0) {
      const std::uint64_t link = words()[i];
      for (std::size_t at = word_count() - kSlots * cells_ * sizeof(UniqueCell) / 8;
           at < word_count(); at += sizeof(UniqueCell) / 8) {
        words()[at + 1] = link;
      }
      break;
    }
  }
  EXPECT_EQ(Claim(&table, "key", 0), Verdict::kTaken);
  table = TableOf(1);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NE(Claim(&table, "absent " + std::to_string(i), 0), Verdict::kTaken);
  }
}

class UniqueRace : public Unique {
 protected:
  static constexpr int kKeys = 20000;
  UniqueRace() : Unique(kKeys) {}
};

// All at once, key by key: of each key one claim succeeds.
TEST_F(UniqueRace, HasOneWinner) {
  std::vector<std::atomic<int>> won(kKeys);
  std::atomic<int> arrived{0};
  std::vector<std::thread> threads;
  for (int slot = 0; slot < kSlots; ++slot) {
    threads.emplace_back([&, slot] {
      UniqueTable table = TableOf(slot);
      for (int i = 0; i < kKeys; ++i) {
        const std::string key = "key " + std::to_string(i);
        ++arrived;
        while (arrived.load() < (i / 100 * 100) * kSlots) std::this_thread::yield();
        UniqueTable::Claim claim;
        claim.key = key;
        Verdict verdict = Verdict::kAgain;
        while (verdict == Verdict::kAgain) {
          table.Open(&claim);
          verdict = table.Try(&claim, 1, kTimeout);
        }
        if (verdict == Verdict::kClaimed) ++won[static_cast<std::size_t>(i)];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(won[static_cast<std::size_t>(i)].load(), 1) << i;
}

}  // namespace
}  // namespace alertpipe::core
