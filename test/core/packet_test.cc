// SPDX-License-Identifier: Apache-2.0
#include "core/packet.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "contents.h"
#include "packet_builder.h"

namespace alertpipe::core {
namespace {

constexpr RecordKind kKinds[] = {
    RecordKind::kWhole,   RecordKind::kFirst,      RecordKind::kMiddle, RecordKind::kLast,
    RecordKind::kReject,  RecordKind::kJoined,     RecordKind::kDied,   RecordKind::kDraining,
    RecordKind::kBarrier, RecordKind::kAcknowledge};
constexpr std::uint8_t kFlagSets[] = {0, kHasRequestId, kIsResponse, kHasRequestId | kIsResponse};

PacketHeader ExtremeHeader(bool high) {
  PacketHeader header;
  header.bytes = high ? 4096 : 32;
  header.source_slot = high ? 0xffff : 0;
  header.lane = high ? 0xff : 0;
  header.source_generation = high ? 0xffffffff : 0;
  header.source_pid = high ? 0xffffffff : 0;
  header.destination_generation = high ? 0xffffffff : 0;
  header.sequence = high ? std::numeric_limits<std::uint64_t>::max() : 0;
  return header;
}

std::string EncodeOne(const Record& record) {
  std::string bytes(RecordSize(record.kind, record.flags, record.name.size(), record.data.size()),
                    '\xee');
  EXPECT_EQ(EncodeRecord(record, bytes.data()), bytes.size());
  return bytes;
}

void ExpectSame(const Record& a, const Record& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.flags, b.flags);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.data, b.data);
  if ((a.flags & kHasRequestId) != 0) {
    EXPECT_EQ(a.request_id, b.request_id);
  }
  if (a.kind == RecordKind::kFirst) {
    EXPECT_EQ(a.total_bytes, b.total_bytes);
  }
}

TEST(Header, RoundTripAtTheExtremes) {
  for (const bool high : {false, true}) {
    const PacketHeader in = ExtremeHeader(high);
    std::string bytes(in.bytes, '\0');
    EncodeHeader(in, bytes.data());
    PacketHeader out;
    ASSERT_EQ(DecodePacket(bytes, &out), Framing::kPacket);
    EXPECT_EQ(out.bytes, in.bytes);
    EXPECT_EQ(out.source_slot, in.source_slot);
    EXPECT_EQ(out.lane, in.lane);
    EXPECT_EQ(out.source_generation, in.source_generation);
    EXPECT_EQ(out.source_pid, in.source_pid);
    EXPECT_EQ(out.destination_generation, in.destination_generation);
    EXPECT_EQ(out.sequence, in.sequence);
  }
}

// The layout is a contract (docs/wire.md): these bytes were computed from the page, not by the
// code.
TEST(Header, IsLaidOutAsDocumented) {
  PacketHeader header;
  header.bytes = 0x0123;
  header.source_slot = 0x4567;
  header.lane = 0;
  header.source_generation = 0x89abcdef;
  header.source_pid = 0x00112233;
  header.destination_generation = 0x44556677;
  header.sequence = 0x8899aabbccddeeff;
  std::string bytes(kHeaderBytes, '\0');
  EncodeHeader(header, bytes.data());
  const unsigned char before_check[] = {0x7e, 0xa1, 0x23, 0x01};
  const unsigned char after_check[] = {0x67, 0x45, 0x00, 0x01, 0xef, 0xcd, 0xab, 0x89,
                                       0x33, 0x22, 0x11, 0x00, 0x77, 0x66, 0x55, 0x44,
                                       0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88};
  EXPECT_EQ(bytes.compare(0, 4, reinterpret_cast<const char*>(before_check), 4), 0);
  EXPECT_EQ(bytes.compare(8, 24, reinterpret_cast<const char*>(after_check), 24), 0);
}

TEST(Header, CheckIsComputedAsDocumented) {
  std::string bytes = PacketBuilder(3, 2, 1, 77).Whole("name", "data").Bytes();
  const auto at = [&](std::size_t from, int width) {
    std::uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i) {
      value = value << 8 | static_cast<unsigned char>(bytes[from + static_cast<std::size_t>(i)]);
    }
    return value;
  };
  const std::uint64_t m = 0x9E3779B97F4A7C15;
  std::uint64_t h = at(0, 4) * m;
  for (const std::size_t x : {8, 16, 24}) {
    h = (h ^ at(x, 8)) * m;
    h ^= h >> 32;
  }
  EXPECT_EQ(at(4, 4), h & 0xffffffff);
}

// Every single-bit flip of the header is caught, whatever the packet.
TEST(Header, EveryBitFlipIsBroken) {
  std::vector<std::string> packets = {
      PacketBuilder(0, 1, 1, 1).Bytes(), PacketBuilder(1, 1, 1, 1).Whole("hello", "world").Bytes(),
      PacketBuilder(4096, 0xffffffff, 0xfffffffe, 1ull << 63).Middle(MakeData(4060)).Bytes()};
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    PacketBuilder builder(static_cast<int>(Mix(seed) & 0xfff), static_cast<std::uint32_t>(seed), 7,
                          Mix(seed + 1) & 0xffff);
    packets.push_back(builder.Whole("n", MakeData(seed)).Bytes());
  }
  PacketHeader header;
  for (const std::string& packet : packets) {
    ASSERT_EQ(DecodePacket(packet, &header), Framing::kPacket);
    for (std::size_t bit = 0; bit < kHeaderBytes * 8; ++bit) {
      std::string flipped = packet;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      ASSERT_EQ(DecodePacket(flipped, &header), Framing::kBroken) << "bit " << bit;
    }
  }
}

TEST(Header, EveryByteValueElsewhereIsBroken) {
  const std::string packet = PacketBuilder(1, 2, 3, 4).Whole("hello", "world").Bytes();
  PacketHeader header;
  for (std::size_t at = 0; at < kHeaderBytes; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = packet;
      changed[at] = static_cast<char>(value);
      if (changed == packet) continue;
      ASSERT_EQ(DecodePacket(changed, &header), Framing::kBroken) << "byte " << at << "=" << value;
    }
  }
}

TEST(Header, EveryTruncationIsIncomplete) {
  const std::string packet = PacketBuilder(1, 2, 3, 4).Whole("hello", MakeData(300)).Bytes();
  PacketHeader header;
  for (std::size_t bytes = 0; bytes < packet.size(); ++bytes) {
    // An exact copy, so that a sanitizer sees a read behind it.
    const std::vector<char> cut(packet.begin(),
                                packet.begin() + static_cast<std::ptrdiff_t>(bytes));
    ASSERT_EQ(DecodePacket(std::string_view(cut.data(), cut.size()), &header), Framing::kIncomplete)
        << bytes;
  }
  EXPECT_EQ(DecodePacket(packet, &header), Framing::kPacket);
  EXPECT_EQ(DecodePacket(packet + "more", &header), Framing::kPacket);
  EXPECT_EQ(header.bytes, packet.size());
}

// With a good check, what is left to trust is the length.
TEST(Header, LengthsOutsideTheBoundsAreBroken) {
  std::string room(65536 + kHeaderBytes, '\0');
  for (std::uint32_t bytes = 0; bytes <= 0xffff; ++bytes) {
    PacketHeader in;
    in.bytes = static_cast<std::uint16_t>(bytes);
    EncodeHeader(in, room.data());
    PacketHeader out;
    const bool good = bytes >= kHeaderBytes && bytes <= kPacketBytesMax;
    ASSERT_EQ(DecodePacket(room, &out), good ? Framing::kPacket : Framing::kBroken) << bytes;
  }
}

TEST(Header, PacketsOf32And4096Bytes) {
  PacketHeader header;
  const std::string smallest = PacketBuilder(1, 1, 1, 1).Bytes();
  ASSERT_EQ(smallest.size(), 32u);
  EXPECT_EQ(DecodePacket(smallest, &header), Framing::kPacket);
  Record record;
  EXPECT_EQ(RecordReader(smallest.substr(kHeaderBytes)).Next(&record), RecordReader::Step::kEnd);

  const std::string data = MakeData(kWholeBytesMax);
  const std::string largest = PacketBuilder(1, 1, 1, 1).Whole("", data).Bytes();
  ASSERT_EQ(largest.size(), 4096u);
  ASSERT_EQ(DecodePacket(largest, &header), Framing::kPacket);
  RecordReader reader(std::string_view(largest).substr(kHeaderBytes));
  ASSERT_EQ(reader.Next(&record), RecordReader::Step::kRecord);
  EXPECT_EQ(record.data, data);
  EXPECT_TRUE(reader.done());
}

TEST(Records, RoundTripOfEveryKindFlagAndBoundary) {
  for (const RecordKind kind : kKinds) {
    for (const std::uint8_t flags : kFlagSets) {
      for (const std::size_t name_bytes : {0, 1, 254}) {
        for (const std::size_t data_bytes : {0, 1, 9, 4060, 65535}) {
          const std::string name = MakeData(name_bytes, 1);
          const std::string data = MakeData(data_bytes, 2);
          Record in;
          in.kind = kind;
          in.flags = flags;
          in.request_id = 0xfedcba9876543210;
          in.total_bytes = 0xfffffeff;
          in.name = name;
          in.data = data;
          const std::string bytes = EncodeOne(in);
          RecordReader reader(bytes);
          Record out;
          ASSERT_EQ(reader.Next(&out), RecordReader::Step::kRecord);
          ExpectSame(in, out);
          ASSERT_EQ(reader.Next(&out), RecordReader::Step::kEnd);
        }
      }
    }
  }
}

TEST(Records, HeadAndDataWrittenApartAreTheSameBytes) {
  Record record;
  record.kind = RecordKind::kFirst;
  record.flags = kHasRequestId;
  record.request_id = 5;
  record.total_bytes = 100000;
  record.name = "name";
  record.data = "data";
  const std::string together = EncodeOne(record);
  std::string apart(together.size(), '\0');
  const std::size_t head = EncodeRecordHead(record, record.data.size(), apart.data());
  EXPECT_EQ(head + 4, together.size());
  apart.replace(head, 4, "data");
  EXPECT_EQ(apart, together);
}

TEST(Records, SeveralInOnePacketComeInOrder) {
  PacketBuilder builder(1, 1, 1, 1);
  builder.Whole("a", "1").Whole("", "").First("b", 1000, "2").Last("3");
  const std::string packet = builder.Bytes();
  RecordReader reader(std::string_view(packet).substr(kHeaderBytes));
  std::string seen;
  Record record;
  while (reader.Next(&record) == RecordReader::Step::kRecord) {
    seen += std::string(record.name) + "=" + std::string(record.data) + ";";
  }
  EXPECT_EQ(seen, "a=1;=;b=2;=3;");
  EXPECT_TRUE(reader.done());
}

TEST(Records, EveryTruncationIsMalformed) {
  for (const RecordKind kind : kKinds) {
    for (const std::uint8_t flags : kFlagSets) {
      Record record;
      record.kind = kind;
      record.flags = flags;
      record.name = "name";
      record.data = "some data";
      const std::string bytes = EncodeOne(record);
      for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
        const std::vector<char> part(bytes.begin(),
                                     bytes.begin() + static_cast<std::ptrdiff_t>(cut));
        Record out;
        ASSERT_EQ(RecordReader(std::string_view(part.data(), part.size())).Next(&out),
                  RecordReader::Step::kMalformed)
            << cut;
      }
    }
  }
}

TEST(Records, ClaimingMoreThanIsThereIsMalformed) {
  Record record;
  record.name = "name";
  record.data = "some data";
  const std::string good = EncodeOne(record);
  std::string longer_name = good;
  longer_name[1] = 5;
  std::string longer_data = good;
  longer_data[2] = 10;
  std::string longest = good;
  longest[1] = longest[2] = longest[3] = '\xff';
  for (const std::string& bytes : {longer_name, longer_data, longest}) {
    Record out;
    EXPECT_EQ(RecordReader(bytes).Next(&out), RecordReader::Step::kMalformed);
  }
}

TEST(Records, ZeroesToTheEndArePaddingAndNothingElseIs) {
  Record record;
  record.name = "n";
  record.data = "data";
  const std::string encoded = EncodeOne(record);
  for (std::size_t zeroes = 1; zeroes <= 40; ++zeroes) {
    Record out;
    const std::string padded = encoded + std::string(zeroes, kPadding);
    RecordReader reader(padded);
    ASSERT_EQ(reader.Next(&out), RecordReader::Step::kRecord);
    EXPECT_EQ(reader.Next(&out), RecordReader::Step::kEnd) << zeroes;
    EXPECT_TRUE(reader.done());
    for (std::size_t at = encoded.size() + 1; at < padded.size(); ++at) {
      std::string other = padded;
      other[at] = 1;
      RecordReader damaged(other);
      ASSERT_EQ(damaged.Next(&out), RecordReader::Step::kRecord);
      EXPECT_EQ(damaged.Next(&out), RecordReader::Step::kMalformed) << zeroes << ", " << at;
    }
  }
}

TEST(Records, UnknownKindsAndFlagsAreMalformed) {
  Record record;
  record.data = std::string_view("0123456789abcdef");
  std::string bytes = EncodeOne(record);
  for (int first = 0; first < 256; ++first) {
    bytes[0] = static_cast<char>(first);
    const int kind = first & 0x1f;
    const bool timed = (first & 0x80) != 0;
    const bool known =
        (kind >= 1 && kind <= (timed ? 2 : 4)) || (!timed && kind >= 16 && kind <= 22);
    // What a known one lacks here is only the room for its optional fields.
    std::string padded = bytes + std::string(20, '\0');
    padded[2] = 0;
    Record out;
    ASSERT_EQ(RecordReader(padded).Next(&out) == RecordReader::Step::kRecord, known) << first;
  }
}

// In every kind of record, also where nothing reads the name or the id.
TEST(Records, NamesThatNobodyMayHaveAndRequestsWithoutAnIdAreMalformed) {
  for (const RecordKind kind : kKinds) {
    Record record;
    record.kind = kind;
    const std::string name = MakeData(255);
    record.name = name;
    Record out;
    EXPECT_EQ(RecordReader(EncodeOne(record)).Next(&out), RecordReader::Step::kMalformed);
    record.name = "n";
    record.flags = kHasRequestId;
    EXPECT_EQ(RecordReader(EncodeOne(record)).Next(&out), RecordReader::Step::kMalformed);
    record.request_id = 1;
    EXPECT_EQ(RecordReader(EncodeOne(record)).Next(&out), RecordReader::Step::kRecord);
  }
}

template <typename Body>
void ExpectExactLength(const Body& body) {
  char bytes[Body::kBytes + 1] = {};
  body.Encode(bytes);
  Body out;
  for (std::size_t length = 0; length <= Body::kBytes + 1; ++length) {
    EXPECT_EQ(out.Decode(std::string_view(bytes, length)), length == Body::kBytes);
  }
}

TEST(ControlBodies, RoundTripAndExactLength) {
  RejectBody reject{0x0102030405060708, 0x1112131415161718, 2};
  ExpectExactLength(reject);
  char bytes[RejectBody::kBytes];
  reject.Encode(bytes);
  RejectBody reject_out;
  ASSERT_TRUE(reject_out.Decode(std::string_view(bytes, RejectBody::kBytes)));
  EXPECT_EQ(reject_out.alert_id, reject.alert_id);
  EXPECT_EQ(reject_out.request_id, reject.request_id);
  EXPECT_EQ(reject_out.reason, reject.reason);

  UnhandledBody unhandled{0x2122232425262728};
  ExpectExactLength(unhandled);
  unhandled.Encode(bytes);
  UnhandledBody unhandled_out;
  ASSERT_TRUE(unhandled_out.Decode(std::string_view(bytes, UnhandledBody::kBytes)));
  EXPECT_EQ(unhandled_out.request_id, unhandled.request_id);

  JoinedBody joined{0xfffe, 0xfffffffd, 0xfffffffc};
  ExpectExactLength(joined);
  joined.Encode(bytes);
  JoinedBody joined_out;
  ASSERT_TRUE(joined_out.Decode(std::string_view(bytes, JoinedBody::kBytes)));
  EXPECT_EQ(joined_out.slot, joined.slot);
  EXPECT_EQ(joined_out.generation, joined.generation);
  EXPECT_EQ(joined_out.pid, joined.pid);

  DiedBody died{4096, 0xffffffff};
  ExpectExactLength(died);
  died.Encode(bytes);
  DiedBody died_out;
  ASSERT_TRUE(died_out.Decode(std::string_view(bytes, DiedBody::kBytes)));
  EXPECT_EQ(died_out.slot, died.slot);
  EXPECT_EQ(died_out.generation, died.generation);

  DrainingBody draining{1, 0x80000000, 0xffff};
  ExpectExactLength(draining);
  draining.Encode(bytes);
  DrainingBody draining_out;
  ASSERT_TRUE(draining_out.Decode(std::string_view(bytes, DrainingBody::kBytes)));
  EXPECT_EQ(draining_out.slot, draining.slot);
  EXPECT_EQ(draining_out.generation, draining.generation);
  EXPECT_EQ(draining_out.successor_slot, draining.successor_slot);

  BarrierBody barrier{0xffeeddccbbaa9988};
  ExpectExactLength(barrier);
  barrier.Encode(bytes);
  BarrierBody barrier_out;
  ASSERT_TRUE(barrier_out.Decode(std::string_view(bytes, BarrierBody::kBytes)));
  EXPECT_EQ(barrier_out.id, barrier.id);
}

}  // namespace
}  // namespace alertpipe::core
