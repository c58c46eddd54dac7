// SPDX-License-Identifier: Apache-2.0
#include "core/events/event_record.h"

#include <gtest/gtest.h>

#include <string>

namespace alertpipe::core {
namespace {

std::string Encode(const EventRecord& record) {
  std::string bytes(record.HeadBytes(), '?');
  EXPECT_EQ(record.EncodeHead(bytes.data()), bytes.size());
  EXPECT_LE(bytes.size(), EventRecord::kBytesMax);
  return bytes + std::string(record.data);
}

TEST(EventRecord, EveryFieldTravels) {
  const std::string longest(255, 'x');
  for (int flags = 0; flags < 4; ++flags) {
    for (const std::string& name : {std::string("e"), longest}) {
      EventRecord sent;
      sent.ordered = (flags & 1) != 0;
      sent.retained = (flags & 2) != 0;
      sent.number = 0x1122334455667788;
      sent.time_ns = 99;
      sent.source = longest;
      sent.name = name;
      sent.data = std::string_view("\0data", 5);
      const std::string bytes = Encode(sent);
      EventRecord read;
      ASSERT_TRUE(read.Decode(bytes));
      EXPECT_EQ(read.kind, EventKind::kEvent);
      EXPECT_EQ(read.ordered, sent.ordered);
      EXPECT_EQ(read.retained, sent.retained);
      EXPECT_EQ(read.number, sent.ordered ? sent.number : 0);
      EXPECT_EQ(read.time_ns, sent.retained ? 99u : 0u);
      EXPECT_EQ(read.source, longest);
      EXPECT_EQ(read.name, name);
      EXPECT_EQ(read.data, sent.data);
    }
  }
}

TEST(EventRecord, GapsAndClaims) {
  EventRecord gap;
  gap.kind = EventKind::kGap;
  gap.count = 77;
  gap.source = "s";
  EventRecord read;
  const std::string gap_bytes = Encode(gap);
  ASSERT_TRUE(read.Decode(gap_bytes));
  EXPECT_EQ(read.kind, EventKind::kGap);
  EXPECT_EQ(read.count, 77u);
  EXPECT_EQ(read.source, "s");
  EXPECT_EQ(read.name, "");
  EventRecord claimed;
  claimed.kind = EventKind::kClaimed;
  claimed.number = 5;
  const std::string claimed_bytes = Encode(claimed);
  ASSERT_TRUE(read.Decode(claimed_bytes));
  EXPECT_EQ(read.kind, EventKind::kClaimed);
  EXPECT_EQ(read.number, 5u);
}

TEST(EventRecord, WhatIsCutShortIsNone) {
  EventRecord record;
  record.ordered = record.retained = true;
  record.number = 1;
  record.source = "source";
  record.name = "name";
  const std::string bytes = Encode(record);
  EventRecord read;
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(read.Decode(std::string_view(bytes).substr(0, size))) << size;
  EXPECT_TRUE(read.Decode(bytes));
}

TEST(EventRecord, WhatMakesNoSenseIsNone) {
  const std::string rest(64, '\1');
  EventRecord read;
  for (const int first : {0x00, 0x06, 0x0f, 0x41, 0x81, 0x12, 0x22, 0x13, 0x23})
    EXPECT_FALSE(read.Decode(std::string(1, static_cast<char>(first)) + rest)) << first;
  // An ordered event without a number.
  EXPECT_FALSE(read.Decode(std::string("\x11\0\0", 3) + std::string(8, '\0')));
  EXPECT_TRUE(read.Decode(std::string("\x11\0\0\1", 4) + std::string(7, '\0')));
}

}  // namespace
}  // namespace alertpipe::core
