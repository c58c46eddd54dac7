// SPDX-License-Identifier: Apache-2.0
#include "core/grow_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>

#include "contents.h"
#include "memory_faults.h"

namespace alertpipe::core {
namespace {

constexpr std::size_t kPart = 4060;

TEST(GrowBuffer, HoldsWhatWasAppended) {
  const std::string data = MakeData(1000000);
  GrowBuffer buffer;
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_TRUE(buffer.view().empty());
  for (std::size_t at = 0; at < data.size(); at += kPart) {
    ASSERT_TRUE(buffer.Append(std::string_view(data).substr(at, kPart), data.size()));
    EXPECT_GE(buffer.capacity(), buffer.size());
  }
  EXPECT_TRUE(buffer.view() == data);
}

TEST(GrowBuffer, NothingAppendedToNothing) {
  MemoryFaults memory;
  GrowBuffer buffer;
  EXPECT_TRUE(buffer.Append("", 0xffffffff));
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(memory.requests(), 0);
}

// From 64 KiB on, memory grows by mremap: all but the first few blocks are the same one.
TEST(GrowBuffer, GrowsWithoutCopiesBeyond64KiB) {
  MemoryFaults memory;
  const std::string part = MakeData(kPart);
  const std::size_t total = 16 << 20;
  {
    GrowBuffer buffer;
    int others = 0;
    int beyond = 0;
    while (buffer.size() + kPart <= total) {
      const std::size_t capacity = buffer.capacity();
      const int remaps = memory.remaps();
      const int requests = memory.requests();
      ASSERT_TRUE(buffer.Append(part, total));
      if (buffer.capacity() == capacity) continue;
      if (memory.remaps() > remaps) {
        ++beyond;
        EXPECT_EQ(memory.requests(), requests + 1);
        EXPECT_GE(capacity, kMappedBytesMin);
      } else {
        ++others;
        EXPECT_LT(capacity, kMappedBytesMin);
      }
    }
    EXPECT_LE(others, 3);   // 16, 32 and 64 KiB
    EXPECT_LE(beyond, 10);  // by doubling
    EXPECT_GT(beyond, 0);
    // Never two large blocks at a time.
    EXPECT_LE(memory.peak_bytes(), total + 4096);
  }
  EXPECT_EQ(memory.live_blocks(), 0);
}

TEST(GrowBuffer, TheTotalBoundsTheGrowthAndAClaimAloneTakesNothing) {
  GrowBuffer exact;
  ASSERT_TRUE(exact.Append(MakeData(100), 5000));
  EXPECT_LE(exact.capacity(), 8192u);
  GrowBuffer claim;
  ASSERT_TRUE(claim.Append("x", 4294967040));
  EXPECT_LE(claim.capacity(), 16384u);
}

TEST(GrowBuffer, AFailureLeavesItUnchanged) {
  const std::string data = MakeData(300000);
  bool fired = true;
  int nth = 1;
  for (; fired; ++nth) {
    MemoryFaults memory;
    {
      GrowBuffer buffer;
      memory.Fail(nth);
      std::size_t at = 0;
      while (at < data.size()) {
        const std::string_view part = std::string_view(data).substr(at, kPart);
        const std::size_t capacity = buffer.capacity();
        if (buffer.Append(part, data.size())) {
          at += part.size();
          continue;
        }
        EXPECT_EQ(buffer.size(), at);
        EXPECT_EQ(buffer.capacity(), capacity);
        EXPECT_TRUE(buffer.view() == std::string_view(data).substr(0, at));
      }
      fired = memory.fired();
      EXPECT_TRUE(buffer.view() == data);
    }
    EXPECT_EQ(memory.live_blocks(), 0);
  }
  EXPECT_GT(nth, 5);
}

TEST(GrowBuffer, TakeHandsOverAndStartsAnew) {
  for (const std::size_t bytes : {1, 5000, 100000}) {
    MemoryFaults memory;
    {
      const std::string data = MakeData(bytes);
      GrowBuffer buffer;
      ASSERT_TRUE(buffer.Append(data, bytes));
      Buffer taken = buffer.Take();
      EXPECT_EQ(buffer.size(), 0u);
      EXPECT_EQ(buffer.capacity(), 0u);
      EXPECT_TRUE(taken.view() == data);
      ASSERT_TRUE(buffer.Append("new", 3));
      EXPECT_EQ(buffer.view(), "new");
      EXPECT_TRUE(taken.view() == data);
    }
    EXPECT_EQ(memory.live_blocks(), 0);
    EXPECT_EQ(memory.live_bytes(), 0u);
  }
}

TEST(GrowBuffer, TakeOfNothingIsEmpty) {
  GrowBuffer buffer;
  EXPECT_TRUE(buffer.Take().empty());
}

TEST(GrowBuffer, ClearKeepsAModestBlockAndFreesALargeOne) {
  MemoryFaults memory;
  GrowBuffer buffer;
  ASSERT_TRUE(buffer.Append(MakeData(12000), 12000));
  buffer.Clear();
  EXPECT_EQ(buffer.size(), 0u);
  const int requests = memory.requests();
  ASSERT_TRUE(buffer.Append(MakeData(12000), 12000));
  EXPECT_EQ(memory.requests(), requests) << "a kept block is used again";
  ASSERT_TRUE(buffer.Append(MakeData(1000000), 1100000));
  buffer.Clear();
  EXPECT_EQ(buffer.capacity(), 0u);
  EXPECT_EQ(memory.live_bytes(), 0u);
  buffer.Clear();
}

TEST(GrowBuffer, DataThatCannotBeCopiedStaysWhereItIs) {
  MemoryFaults memory;
  std::string_view data = "lent";
  GrowBuffer* collected = nullptr;
  memory.Fail(1);
  EXPECT_EQ(TakeData(&data, &collected).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(data, "lent");
  EXPECT_EQ(TakeData(&data, &collected).value().view(), "lent");
  EXPECT_TRUE(data.empty());
}

TEST(GrowBuffer, BlocksGrowWithAndWithoutContent) {
  for (const std::size_t keep : {0, 10}) {
    char* block = AllocateBlock(10);
    std::memcpy(block, "0123456789", 10);
    char* larger = GrowBlock(block, 10, 100000, keep);
    ASSERT_NE(larger, nullptr);
    EXPECT_EQ(std::string(larger, keep), std::string("0123456789", keep));
    // What no machine has.
    EXPECT_EQ(AllocateBlock(std::size_t{1} << 60), nullptr);
    EXPECT_EQ(GrowBlock(larger, 100000, std::size_t{1} << 60, keep), nullptr);
    EXPECT_EQ(std::string(larger, keep), std::string("0123456789", keep));
    FreeBlock(larger, 100000);
  }
}

TEST(GrowBuffer, FreeGivesEverythingBack) {
  MemoryFaults memory;
  GrowBuffer buffer;
  ASSERT_TRUE(buffer.Append("x", 100));
  buffer.Free();
  EXPECT_EQ(memory.live_blocks(), 0);
  EXPECT_EQ(buffer.capacity(), 0u);
  buffer.Free();
  ASSERT_TRUE(buffer.Append("y", 100));
  EXPECT_EQ(buffer.view(), "y");
}

}  // namespace
}  // namespace alertpipe::core
