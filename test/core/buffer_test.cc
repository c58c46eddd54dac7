// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/buffer.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "contents.h"
#include "memory_faults.h"

namespace alertpipe::core {
namespace {

// Counts how often memory of the caller's own kind was given back, and what.
struct Releases {
  int count = 0;
  char* data = nullptr;
  std::size_t size = 0;

  static void Note(void* context, char* data, std::size_t size) {
    auto* self = static_cast<Releases*>(context);
    ++self->count;
    self->data = data;
    self->size = size;
  }
};

TEST(Buffer, IsEmptyAtFirst) {
  Buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_TRUE(buffer.view().empty());
}

TEST(Buffer, TakesAStringOverWithoutACopy) {
  std::string text = MakeData(1000);
  const auto at = reinterpret_cast<std::uintptr_t>(text.data());
  const Buffer buffer(std::move(text));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()), at);
  EXPECT_TRUE(buffer.view() == MakeData(1000));
  EXPECT_EQ(Buffer(std::string("short")).view(), "short");
  EXPECT_TRUE(Buffer(std::string()).empty());
}

TEST(Buffer, CopiesAreTheirOwn) {
  std::string text = "text";
  const Buffer buffer = Buffer::Copy(text).value();
  text[0] = 'n';
  EXPECT_EQ(buffer.view(), "text");
  EXPECT_TRUE(Buffer::Copy("").value().empty());
}

TEST(Buffer, AllocatesOnBothSidesOfTheMappingLimit) {
  MemoryFaults memory;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kMappedBytesMin - 1,
                                 kMappedBytesMin, kMappedBytesMin + 1}) {
    Buffer buffer = Buffer::Allocate(size).value();
    ASSERT_EQ(buffer.size(), size);
    for (std::size_t i = 0; i < size; ++i) buffer.data()[i] = static_cast<char>(i);
  }
  EXPECT_EQ(memory.live_blocks(), 0);
}

TEST(Buffer, AShortageNamesTheSize) {
  MemoryFaults memory;
  for (const std::size_t size : {std::size_t{1234}, std::size_t{1234567}}) {
    memory.Fail(1);
    const absl::StatusOr<Buffer> buffer = Buffer::Allocate(size);
    EXPECT_TRUE(absl::IsResourceExhausted(buffer.status()));
    EXPECT_NE(std::string(buffer.status().message()).find(std::to_string(size)), std::string::npos);
    memory.Fail(1);
    EXPECT_FALSE(Buffer::Copy(std::string(size, 'x')).ok());
  }
}

TEST(Buffer, AdoptedMemoryIsReleasedOnceWithWhatWasGiven) {
  Releases releases;
  char bytes[8] = "1234567";
  {
    Buffer buffer = Buffer::Adopt(bytes, 7, Releases::Note, &releases);
    EXPECT_EQ(buffer.view(), "1234567");
    Buffer moved(std::move(buffer));
    // That a moved-from Buffer is empty is documented.
    EXPECT_TRUE(buffer.empty());  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
    EXPECT_EQ(buffer.data(), nullptr);  // NOLINT(clang-analyzer-cplusplus.Move)
    Buffer assigned;
    assigned = std::move(moved);
    EXPECT_TRUE(moved.empty());  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
    EXPECT_EQ(releases.count, 0);
  }
  EXPECT_EQ(releases.count, 1);
  EXPECT_EQ(releases.data, bytes);
  EXPECT_EQ(releases.size, 7u);
}

TEST(Buffer, AssignmentReleasesWhatWasThere) {
  Releases first;
  Releases second;
  char bytes[1] = {};
  Buffer buffer = Buffer::Adopt(bytes, 1, Releases::Note, &first);
  buffer = Buffer::Adopt(bytes, 1, Releases::Note, &second);
  EXPECT_EQ(first.count, 1);
  EXPECT_EQ(second.count, 0);
  Buffer& same = buffer;
  buffer = std::move(same);
  EXPECT_EQ(second.count, 0);
  EXPECT_EQ(buffer.size(), 1u);
  buffer = Buffer();
  EXPECT_EQ(second.count, 1);
  EXPECT_TRUE(buffer.empty());
}

TEST(Buffer, AdoptingNoBytesStillReleases) {
  Releases releases;
  char byte = 0;
  Buffer::Adopt(&byte, 0, Releases::Note, &releases);
  EXPECT_EQ(releases.count, 1);
}

TEST(BufferDeathTest, AdoptNeedsARelease) {
  char byte = 0;
  EXPECT_DEATH(Buffer::Adopt(&byte, 1, nullptr, nullptr), "release");
}

}  // namespace
}  // namespace alertpipe::core
