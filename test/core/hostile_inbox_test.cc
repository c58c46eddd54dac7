// SPDX-License-Identifier: Apache-2.0
//
// What a hostile or broken relative can write into a pipe: nothing crashes, memory stays bounded,
// no alert of another sender is torn, and reading goes on at the next proven boundary.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "contents.h"
#include "core/inbox.h"
#include "inbox_bench.h"
#include "memory_faults.h"

namespace alertpipe::core {
namespace {

// Whole alerts and alerts in parts of the senders 2 and 3; each proves itself by its name.
std::vector<std::string> HonestPackets() {
  std::vector<std::string> packets;
  std::uint64_t next[6] = {1, 1, 1, 1, 1, 1};
  for (int i = 0; i < 4; ++i) {
    const int slot = 2 + i % 2;
    const std::string small = MakeData(20, static_cast<std::uint64_t>(i));
    const std::string large = MakeData(300, static_cast<std::uint64_t>(i) + 100);
    packets.push_back(From(slot, next[slot])
                          .Whole(ProvenName("s", small), small)
                          .First(ProvenName("l", large), large.size(), large.substr(0, 100))
                          .Bytes());
    next[slot] += 2;
    packets.push_back(From(slot, next[slot]).Middle(large.substr(100, 100)).Bytes());
    packets.push_back(From(slot, next[slot]).Last(large.substr(200)).Bytes());
  }
  return packets;
}

std::string Join(const std::vector<std::string>& packets) {
  std::string stream;
  for (const std::string& packet : packets) stream += packet;
  return stream;
}

// After a short read an unharmed sender's alert arrives, and nothing that was handed out was torn.
void ExpectRecovered(InboxBench* bench) {
  for (const Seen& seen : bench->Take()) {
    if (seen.kind != Arrival::Kind::kAlert) continue;
    EXPECT_TRUE(IsProven(seen.name, seen.data)) << "a torn alert was delivered";
  }
  const std::string large = MakeData(500, 9);
  bench->Feed(From(5, 1).Whole("alive", "").First("large", 500, large.substr(0, 250)).Bytes() +
              From(5, 3).Last(large.substr(250)).Bytes());
  const std::vector<Seen> seen = bench->TakeAlerts();
  ASSERT_EQ(seen.size(), 2u) << "no resynchronisation";
  EXPECT_EQ(seen[0].name, "alive");
  EXPECT_EQ(seen[1].data, large);
}

// ---- Framing

TEST(Framing, EveryBitFlipInEveryHeader) {
  const std::vector<std::string> packets = HonestPackets();
  const std::string stream = Join(packets);
  std::size_t start = 0;
  for (const std::string& packet : packets) {
    for (std::size_t bit = 0; bit < kHeaderBytes * 8; ++bit) {
      std::string flipped = stream;
      char& byte = flipped[start + bit / 8];
      byte = static_cast<char>(byte ^ (1 << bit % 8));
      InboxBench bench;
      bench.Feed(flipped);
      EXPECT_EQ(bench.stats().damaged_bytes, stream.size() - start);
      ExpectRecovered(&bench);
      if (testing::Test::HasFailure()) FAIL() << "packet at " << start << ", bit " << bit;
    }
    start += packet.size();
  }
}

TEST(Framing, EveryTruncation) {
  const std::string stream = Join(HonestPackets());
  for (std::size_t bytes = 0; bytes < stream.size(); ++bytes) {
    InboxBench bench;
    bench.Feed(stream.substr(0, bytes));
    ExpectRecovered(&bench);
    InboxBench behind;
    behind.Feed(stream.substr(bytes));
    ExpectRecovered(&behind);
    if (testing::Test::HasFailure()) FAIL() << bytes;
  }
}

// Bytes in the midst of records are not covered by a check: lengths and kinds may turn into others,
// payload changes.
TEST(Framing, EveryByteOfTheStreamSetToAnything) {
  const std::string stream = Join(HonestPackets());
  const char values[] = {'\0', '\x01', '\x02', '\x7f', '\xff'};
  for (std::size_t at = 0; at < stream.size(); ++at) {
    for (const char value : values) {
      std::string changed = stream;
      changed[at] = value;
      InboxBench bench;
      bench.Feed(changed);
      bench.Take();
      ExpectRecovered(&bench);
      if (testing::Test::HasFailure()) FAIL() << "byte " << at << " set to " << int{value};
    }
  }
}

TEST(Framing, RubbishBetweenPacketsCostsWhatFollowsUpToTheShortRead) {
  InboxBench bench;
  const std::string rubbish = MakeData(100, 77);
  bench.Feed(From(2).Whole("a", "").Bytes() + rubbish + From(3).Whole("lost", "").Bytes());
  const std::vector<Seen> seen = bench.Take();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].name, "a");
  EXPECT_EQ(seen[1].kind, Arrival::Kind::kDamage);
  EXPECT_EQ(seen[1].damage.kind, Damage::Kind::kFraming);
  EXPECT_EQ(seen[1].damage.claimed_slot, -1);
  EXPECT_EQ(seen[1].damage.bytes_discarded, bench.stats().damaged_bytes);
  EXPECT_GT(bench.stats().damaged_bytes, rubbish.size());
  bench.Feed(From(3, 2).Whole("b", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().at(0).name, "b");
  EXPECT_EQ(bench.stats().lost_alerts, 1u);
}

// A relative has enlarged the pipe, so full reads of rubbish come one after another.
TEST(Framing, RubbishOverSeveralFullReads) {
  for (const std::size_t behind : {0, 1, 500}) {
    FamilySettings settings = InboxBench::Settings();
    settings.pipe_capacity = 4096;
    InboxBench bench(settings);
    bench.Feed(MakeData(std::size_t{3} * 8192 + behind, 5));
    bench.Take();
    EXPECT_EQ(bench.stats().damaged_bytes, std::size_t{3} * 8192 + behind);
    // The last read was short, so a packet starts here.
    ExpectRecovered(&bench);
    if (testing::Test::HasFailure()) FAIL() << behind;
  }
}

TEST(Framing, ThePeerGoesOnAfterALossInTheMidstOfAnAlert) {
  const std::string data = MakeData(3000);
  for (int lost = 0; lost < 3; ++lost) {
    InboxBench bench;
    const std::string parts[3] = {From(2).First("n", 3000, data.substr(0, 1000)).Bytes(),
                                  From(2, 2).Middle(data.substr(1000, 1000)).Bytes(),
                                  From(2, 2).Last(data.substr(2000)).Bytes()};
    for (int i = 0; i < 3; ++i) bench.Feed(i == lost ? "rubbish" + parts[i] : parts[i]);
    bench.Feed(From(2, 2).Whole("next", "").Bytes());
    std::vector<std::string> names;
    for (const Seen& seen : bench.Take()) {
      if (seen.kind == Arrival::Kind::kAlert) names.push_back(seen.name);
    }
    EXPECT_EQ(names, std::vector<std::string>{"next"}) << lost;
    EXPECT_EQ(bench.stats().lost_alerts, 1u) << lost;
    EXPECT_EQ(bench.reassembly_bytes(), 0u);
  }
}

// The sender was heard before, and its next alert lost its beginning with the framing: the rest of
// that is no new damage.
TEST(Framing, TheRestOfAnAlertThatWasLostIsNoNewDamage) {
  InboxBench bench;
  bench.Feed(From(2).Whole("before", "").Bytes());
  bench.Feed("rubbish" + From(2, 2).First("lost", 30, std::string(10, 'x')).Bytes());
  bench.Feed(From(2, 3).Middle(std::string(10, 'y')).Bytes());
  bench.Feed(From(2, 3).Last(std::string(10, 'z')).Bytes());
  bench.Feed(From(2, 3).Whole("after", "").Bytes());
  std::vector<std::string> names;
  for (const Seen& seen : bench.Take()) {
    if (seen.kind == Arrival::Kind::kAlert) names.push_back(seen.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"before", "after"}));
  EXPECT_EQ(bench.stats().damaged_records, 0u);
  EXPECT_EQ(bench.stats().damaged_framing, 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 1u);
}

// A relative has enlarged the pipe: a full read ends inside a packet. Asked too often the inbox
// says the same, and the rest completes the packet.
TEST(Framing, AReadThatEndsInsideAPacketGoesOn) {
  FamilySettings settings = InboxBench::Settings();
  settings.pipe_capacity = 4096;
  InboxBench bench(settings);
  std::string stream;
  for (std::uint64_t sequence = 1; stream.size() <= 8192; ++sequence)
    stream += From(2, sequence).Whole("n" + std::to_string(sequence), MakeData(2700)).Bytes();
  const std::string_view rest = bench.ReadOnce(stream);
  ASSERT_FALSE(rest.empty());
  ASSERT_EQ(bench.TakeAlerts().size(), 2u);
  Arrival arrival;
  bench.inbox->Next(&arrival);
  EXPECT_EQ(arrival.kind, Arrival::Kind::kNone);
  bench.Feed(rest);
  const std::vector<Seen> seen = bench.TakeAlerts();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].name, "n3");
  bench.ExpectNoDamage();
}

TEST(Framing, RandomBytes) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    FamilySettings settings = InboxBench::Settings();
    settings.pipe_capacity = 4096;
    InboxBench bench(settings);
    const std::vector<std::string> packets = HonestPackets();
    std::string stream;
    for (int i = 0; i < 30; ++i) {
      const std::string& packet = packets[random() % packets.size()];
      switch (random() % 4) {
        case 0:
          stream += MakeData(random() % 300, random());
          break;
        case 1:
          stream += packet.substr(0, random() % packet.size());
          break;
        default:
          stream += packet;
      }
    }
    bench.Feed(stream);
    bench.Take();
    // Sequences are out of step by now, so only the unharmed sender counts.
    ExpectRecovered(&bench);
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

// ---- Packets that are well framed and wrong

struct WrongPacket {
  const char* what;
  PacketHeader header;
};

TEST(Packets, WrongOnesHarmNobody) {
  const auto header = [](int slot, std::uint32_t source, std::uint32_t destination) {
    PacketHeader wrong;
    wrong.source_slot = static_cast<std::uint16_t>(slot);
    wrong.source_generation = source;
    wrong.destination_generation = destination;
    wrong.sequence = 1;
    return wrong;
  };
  PacketHeader lane = header(2, kSenderGeneration, kSelfGeneration);
  lane.lane = 1;
  const WrongPacket wrong[] = {
      {"an unknown slot", header(7, 1, kSelfGeneration)},
      {"the last slot there could be", header(0xffff, 1, kSelfGeneration)},
      {"a slot without a worker", header(6, 1, kSelfGeneration)},
      {"generation 0", header(2, 0, kSelfGeneration)},
      {"a sender's future", header(2, kSenderGeneration + 1, kSelfGeneration)},
      {"a receiver's future", header(2, kSenderGeneration, kSelfGeneration + 1)},
      {"another lane", lane},
  };
  for (const WrongPacket& packet : wrong) {
    InboxBench bench;
    const std::string data = MakeData(2000);
    PacketBuilder builder(0, 0, 0, 0);
    builder.header() = packet.header;
    bench.Feed(From(2).First("n", 2000, data.substr(0, 1000)).Bytes() +
               builder.Whole("forged", "").Bytes() + From(2, 2).Last(data.substr(1000)).Bytes());
    const std::vector<Seen> seen = bench.Take();
    ASSERT_EQ(seen.size(), 2u) << packet.what;
    EXPECT_EQ(seen[0].kind, Arrival::Kind::kDamage);
    EXPECT_EQ(seen[0].damage.kind, Damage::Kind::kPacket);
    EXPECT_EQ(seen[0].damage.claimed_slot, packet.header.source_slot);
    EXPECT_EQ(seen[1].kind, Arrival::Kind::kAlert);
    EXPECT_TRUE(seen[1].data == data) << packet.what;
    EXPECT_EQ(bench.stats().damaged_packets, 1u);
    EXPECT_EQ(bench.stats().lost_alerts, 0u);
  }
}

TEST(Packets, APredecessorOfWhatHasBeenHeardIsDamage) {
  InboxBench bench;
  bench.Feed(From(2).Whole("a", "").Bytes());
  bench.Feed(From(2, 1, kSenderGeneration - 1).Whole("ghost", "").Bytes() +
             From(2, 2).Whole("b", "").Bytes());
  EXPECT_EQ(bench.Take().size(), 3u);
  EXPECT_EQ(bench.stats().damaged_packets, 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 0u);
}

TEST(Packets, HolesInTheSequenceAreCounted) {
  InboxBench bench;
  bench.Feed(From(2).Whole("1", "").Bytes() + From(2, 5).Whole("5", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 2u);
  EXPECT_EQ(bench.stats().lost_alerts, 3u);
  // A hole ends what was being put together.
  bench.Feed(From(2, 6).First("6", 100, "x").Bytes() + From(2, 8).Whole("8", "").Bytes());
  EXPECT_EQ(bench.TakeAlerts().size(), 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 5u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
}

TEST(Packets, AStepBackIsDamage) {
  InboxBench bench;
  bench.Feed(From(2).Whole("1", "").Whole("2", "").Bytes() + From(2, 2).Whole("2", "").Bytes());
  EXPECT_EQ(bench.stats().damaged_packets, 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 0u);
}

// ---- Records that make no sense

TEST(Records, WrongOnesCostTheirOwnPacketOnly) {
  const std::string long_name = MakeData(255);
  const std::string wrong[] = {
      From(2).Whole(long_name, "").Whole("after", "").Bytes(),
      From(2).First("n", 3, "abc").Bytes(),  // nothing is left to come
      From(2).First("n", 0, "").Bytes(),
      From(2).First("n", kDataBytesMax + 1, "x").Bytes(),
      From(2).First("n", 0xffffffff, "x").Bytes(),
      From(2).First("n", 10, "x").Whole("inside", "").Bytes(),  // a start within an alert
      From(2).First("n", 10, "x").First("inside", 10, "y").Bytes(),
      From(2).First("n", 3, "x").Middle("yz").Bytes(),  // a middle that completes it
      From(2).First("n", 3, "x").Last("y").Bytes(),     // too little
      From(2).First("n", 3, "x").Last("yzz").Bytes(),   // too much
      From(2).Last("x").Bytes(),                        // orphans
      From(2).Middle("x").Bytes(),
      From(2).Raw(std::string_view("\x05\0\0\0", 4)).Bytes(),    // an unknown kind
      From(2).Raw(std::string_view("\x81\0\0\0", 4)).Bytes(),    // an unknown flag
      From(2).Raw(std::string_view("\x01\xff\0\0", 4)).Bytes(),  // more than is there
      From(2).Raw("abc").Bytes(),                                // less than a record
  };
  for (const std::string& packet : wrong) {
    InboxBench bench;
    const std::string data = MakeData(2000);
    bench.Feed(From(3).First("n", 2000, data.substr(0, 1000)).Bytes() + packet +
               From(3, 2).Last(data.substr(1000)).Bytes());
    const std::vector<Seen> seen = bench.Take();
    ASSERT_EQ(seen.size(), 2u) << &packet - wrong;
    EXPECT_EQ(seen[0].kind, Arrival::Kind::kDamage);
    EXPECT_EQ(seen[0].damage.kind, Damage::Kind::kRecord);
    EXPECT_EQ(seen[0].damage.claimed_slot, 2);
    EXPECT_EQ(seen[1].kind, Arrival::Kind::kAlert);
    EXPECT_TRUE(seen[1].data == data);
    EXPECT_EQ(bench.stats().damaged_records, 1u) << &packet - wrong;
  }
}

// From the wrong record to the end of its packet, wherever it is found to be wrong.
TEST(Records, DamageNamesTheBytesThatAreDiscarded) {
  const std::string good = From(2).Whole("good", "data").Bytes();
  const std::string wrong[] = {
      From(2).Raw(std::string_view("\x05\0\0\0", 4)).Whole("after", "").Bytes(),
      From(2).Last("orphan").Whole("after", "").Bytes(),
      From(2).First("n", 3, "abc").Whole("after", "").Bytes(),
  };
  for (const std::string& packet : wrong) {
    const std::string records = packet.substr(kHeaderBytes);
    InboxBench bench;
    bench.Feed(From(2).Raw(good.substr(kHeaderBytes)).Raw(records).Bytes());
    const std::vector<Seen> seen = bench.Take();
    ASSERT_EQ(seen.size(), 2u);
    EXPECT_EQ(seen[0].name, "good");
    EXPECT_EQ(seen[1].damage.bytes_discarded, records.size()) << &packet - wrong;
  }
}

// It has been counted as rejected, and its sender knows.
TEST(Records, ARejectedAlertWhoseEndIsLostIsNotLost) {
  FamilySettings settings = InboxBench::Settings();
  settings.reassembly_bytes_max = 5;
  InboxBench bench(settings);
  bench.Feed(From(2).First("n", 100, "too much").Bytes() + From(2, 3).Whole("after", "").Bytes());
  EXPECT_EQ(bench.Take().size(), 2u);
  EXPECT_EQ(bench.stats().alerts_rejected, 1u);
  EXPECT_EQ(bench.stats().lost_alerts, 1u) << "one is missing in the sequence";
}

// Defect 6 of the predecessor, from the other side: an orphan of one sender, good alerts of all the
// others.
TEST(Records, OrphanPartsOfADeadSender) {
  InboxBench bench;
  bench.Feed(From(2).First("n", 1000, "x").Bytes());
  bench.inbox->SenderDied(2, kSenderGeneration);
  for (int i = 0; i < 10; ++i) {
    bench.Feed(From(2, 2).Middle("y").Bytes() +
               From(3, static_cast<std::uint64_t>(i) + 1).Whole("good", "").Bytes());
  }
  int good = 0;
  for (const Seen& seen : bench.Take()) good += seen.kind == Arrival::Kind::kAlert ? 1 : 0;
  EXPECT_EQ(good, 10);
  EXPECT_EQ(bench.stats().damaged_packets, 10u);
  EXPECT_EQ(bench.reassembly_bytes(), 0u);
}

// ---- Memory

TEST(Memory, ForgedBeginningsOf4GiBHoldNothingMuch) {
  MemoryFaults memory;
  {
    InboxBench bench;
    const std::size_t before = memory.live_bytes();
    std::uint64_t sequence[6] = {1, 1, 1, 1, 1, 1};
    std::string stream;
    for (int i = 0; i < 100000; ++i) {
      const int slot = 2 + i % 4;
      stream += From(slot, sequence[slot]).First("n", kDataBytesMax, "x").Bytes();
      sequence[slot] += static_cast<std::uint64_t>(i % 3);  // in step, repeated and with holes
      if (stream.size() > 500000) {
        bench.Feed(stream);
        bench.Take();
        stream.clear();
      }
    }
    // One first block for each of the four.
    EXPECT_LE(memory.peak_bytes(), before + std::size_t{4} * (16384 + 64));
    EXPECT_LE(bench.stats().reassembly_bytes_peak, 4u);
    for (int slot = 2; slot < 6; ++slot) bench.inbox->SenderDied(slot, kSenderGeneration);
    EXPECT_EQ(memory.live_bytes(), before);
    EXPECT_EQ(bench.reassembly_bytes(), 0u);
  }
  EXPECT_EQ(memory.live_blocks(), 0);
}

TEST(Memory, GrowsWithWhatHasArrivedNotWithTheClaim) {
  MemoryFaults memory;
  InboxBench bench;
  const std::size_t before = memory.live_bytes();
  const std::string part = MakeData(kPartBytesMax);
  bench.Feed(From(2).First("n", kDataBytesMax, "x").Bytes());
  std::size_t arrived = 1;
  for (int i = 0; i < 500; ++i) {
    bench.Feed(From(2, 2).Middle(part).Bytes());
    arrived += part.size();
    ASSERT_LE(memory.live_bytes() - before, 2 * arrived + 16384);
  }
  EXPECT_EQ(bench.reassembly_bytes(), arrived);
  bench.inbox.reset();
  EXPECT_EQ(memory.live_blocks(), 0);
}

}  // namespace
}  // namespace alertpipe::core
