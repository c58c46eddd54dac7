// SPDX-License-Identifier: Apache-2.0
//
// What a hostile or broken relative can do to the pipes that it shares with a live worker: write
// packets that are wrong in every field, claim what never comes, clear O_NONBLOCK, change the size
// of a pipe. Each is counted, harms no alert of anybody else, and blocks nobody.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../os/support.h"
#include "core/packet.h"
#include "family.h"
#include "forger.h"
#include "os/kernel.h"

namespace alertpipe::process {
namespace {

using core::RecordKind;

// ---- Wrong packets ------------------------------------------------------------------------------

// What the victim counts of it.
struct Counts {
  std::uint64_t bytes = 0;
  std::uint64_t packets = 0;
  std::uint64_t records = 0;
  std::uint64_t lost = 0;
  std::uint64_t stale = 0;
  std::uint64_t seen = 0;  // alerts from forged packets that are well-made

  friend bool operator==(const Counts& a, const Counts& b) {
    return a.bytes == b.bytes && a.packets == b.packets && a.records == b.records &&
           a.lost == b.lost && a.stale == b.stale && a.seen == b.seen;
  }
  Counts& operator+=(const Counts& more) {
    bytes += more.bytes;
    packets += more.packets;
    records += more.records;
    lost += more.lost;
    stale += more.stale;
    seen += more.seen;
    return *this;
  }
  friend std::ostream& operator<<(std::ostream& to, const Counts& counts) {
    return to << counts.bytes << " bytes, " << counts.packets << " packets, " << counts.records
              << " records, " << counts.lost << " lost, " << counts.stale << " stale, "
              << counts.seen << " seen";
  }
};

// One attack: packets that follow each other, and what they cost.
struct Attack {
  std::string what;
  std::vector<std::string> packets;
  Counts cost;
};

struct Victim {
  Count good;
  Count seen;
  Count streamed;
  Count hooks;
  Count left;
  Count bytes;
  Count packets;
  Count records;
  Count lost;
  Count stale;

  Counts counts() const { return {bytes, packets, records, lost, stale, seen}; }
};

// Slot 1 is attacked in the name of slot 2, which is idle; slot 3 never stops streaming large
// alerts to slot 1 if asked to; slot 4 never had a worker.
class Siege {
 public:
  explicit Siege(bool streaming) : family(FamilyOf(4)), streaming_(streaming) {
    family.Spawn([this](Member& me) { LiveAsVictim(me); });
    claimed = family.Spawn([](Member&) {});
    family.Spawn([this](Member& me) { LiveAsStreamer(me); });
    EXPECT_TRUE(family.Ready());
    SendGood("the start");  // what the master had to tell has been read when it arrives
  }

  void Launch(const Attack& attack) {
    for (const std::string& packet : attack.packets) {
      family.Inject(1, packet);
      if (HasFailed()) return;
    }
    expected_ += attack.cost;
    ASSERT_TRUE(family.Until([&] { return victim->counts() == expected_; }))
        << attack.what << ": counted " << victim->counts() << ", expected " << expected_;
    SendGood(attack.what);
    if (!streaming_ || HasFailed()) return;
    const std::uint64_t streamed = victim->streamed;
    ASSERT_TRUE(family.Until([&] { return victim->streamed >= streamed + 2; }))
        << "after " << attack.what;
  }
  void SendGood(const std::string& after) {
    ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
    ++good_;
    ASSERT_TRUE(family.Until([&] { return victim->good == good_; })) << "after " << after;
  }
  static bool HasFailed() { return ::testing::Test::HasFailure(); }

  Shared<Victim> victim;
  Family family;
  Peer claimed;

 private:
  static constexpr std::size_t kStreamedBytes = 20000;

  void LiveAsVictim(Member& me) const {
    Victim* counts = &*victim;
    me->OnDamage([counts](const Damage&) { ++counts->hooks; });
    me->OnLeft([counts](const Peer&) { ++counts->left; });
    me->Receive("good", [counts](Alert&) { ++counts->good; });
    me->Receive("seen", [counts](Alert&) { ++counts->seen; });
    me->Receive("forged", [&me](Alert&) { me.Check(false, "a forged alert was delivered"); });
    me->Receive("stream", [counts, &me](Alert& alert) {
      me.Check(alert.sender().slot == 3 && alert.data().size() == kStreamedBytes &&
                   IsPattern(alert.data(), counts->streamed + 1),
               "a streamed alert is not what was sent");
      ++counts->streamed;
    });
    me.Every(1, [counts, &me] {
      const Stats stats = me->stats();
      counts->bytes = stats.damaged_bytes;
      counts->packets = stats.damaged_packets;
      counts->records = stats.damaged_records;
      counts->lost = stats.lost_alerts;
      counts->stale = stats.alerts_stale;
    });
    me.Run();
  }

  void LiveAsStreamer(Member& me) const {
    const Victim* counts = &*victim;
    std::uint64_t sent = 0;
    if (streaming_) {
      me.Every(1, [&sent, counts, &me] {
        while (sent < counts->streamed + 4) {
          const SendResult result =
              me->Send(To::Slot(1), "stream", Pattern(kStreamedBytes, sent + 1));
          if (!result.ok()) return;  // the end of the test
          ++sent;
        }
      });
    }
    me.Run();
  }

  bool streaming_;
  Counts expected_;
  std::uint64_t good_ = 0;
};

// The check that docs/wire.md describes, over whatever the header says.
std::string Checked(std::string packet) {
  const auto load = [&](std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, packet.data() + at, bytes);
    return value;
  };
  constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15;
  std::uint64_t hash = load(0, 4) * kMix;
  for (const std::size_t at : {8, 16, 24}) {
    hash = (hash ^ load(at, 8)) * kMix;
    hash ^= hash >> 32;
  }
  std::memcpy(packet.data() + 4, &hash, 4);
  return packet;
}

// Bytes that are no packet: all that was read with them goes, and the next alert arrives.
TEST(Malformed, EveryWrongFrameIsCountedInBytesAndTheNextAlertArrives) {
  Siege siege(false);
  Forger forger(siege.claimed, 1);
  const std::string whole =
      forger.Raw(std::string_view("\x01\x06\x00\x00"
                                  "forged",
                                  10));
  ASSERT_EQ(Checked(whole), whole) << "the check of this test is the library's";
  const auto with = [&](std::size_t at, char byte) {
    std::string packet = whole;
    packet[at] = byte;
    return packet;
  };
  const auto length = [&](std::uint16_t bytes) {
    std::string packet = whole;
    std::memcpy(packet.data() + 2, &bytes, 2);
    return Checked(packet);
  };
  std::vector<std::pair<std::string, std::string>> wrong = {
      {"magic", Checked(with(0, '\0'))},
      {"the other byte of magic", Checked(with(1, '\0'))},
      {"length 0", length(0)},
      {"length 31, less than a header", length(31)},
      {"length 4097", length(4097)},
      {"length 65535", length(65535)},
      {"a length of more than is there", length(static_cast<std::uint16_t>(whole.size() + 1))},
      {"a length of 4096 with little there", length(4096)},
      {"version 0", Checked(with(11, '\0'))},
      {"version 2", Checked(with(11, '\2'))},
      {"zeros", std::string(4096, '\0')},
      {"all bits", std::string(4096, '\xff')},
      {"text", "GET / HTTP/1.1\r\n\r\n"},
      {"payload", Pattern(3000, 5)},
      {"a packet behind one byte", "x" + whole},
  };
  for (std::size_t at = 4; at < core::kHeaderBytes; ++at) {
    wrong.emplace_back("header byte " + std::to_string(at) + " without its check",
                       with(at, static_cast<char>(whole[at] ^ 0x10)));
  }
  for (std::size_t bytes = 1; bytes < whole.size(); ++bytes)
    wrong.emplace_back("the first " + std::to_string(bytes) + " bytes", whole.substr(0, bytes));
  std::uint64_t hooks = 0;
  for (const auto& [what, bytes] : wrong) {
    siege.Launch({what, {bytes}, {bytes.size()}});
    if (Siege::HasFailed()) return;
    EXPECT_EQ(siege.victim->hooks, ++hooks) << what;
  }
}

// Well framed, but not from whom or to whom it says.
TEST(Malformed, EveryWrongHeaderFieldIsCountedAndHarmsNoOtherSender) {
  Siege siege(true);
  std::uint64_t sequence = 1;
  const auto packet = [&](const std::function<void(core::PacketHeader&)>& change,
                          std::string_view name) {
    Forger forger(siege.claimed, 1);
    forger.header().sequence = sequence;
    change(forger.header());
    return std::vector<std::string>{forger.Whole(name, "")};
  };
  using Header = core::PacketHeader;
  const auto wrong = [](std::string what, std::vector<std::string> packets) {
    return Attack{std::move(what), std::move(packets), {0, 1}};
  };
  const Attack attacks[] = {
      wrong("lane 1", packet([](Header& h) { h.lane = 1; }, "forged")),
      wrong("lane 255", packet([](Header& h) { h.lane = 255; }, "forged")),
      wrong("a slot that does not exist", packet([](Header& h) { h.source_slot = 5; }, "forged")),
      wrong("the last slot", packet([](Header& h) { h.source_slot = 0xffff; }, "forged")),
      wrong("a slot without a worker", packet([](Header& h) { h.source_slot = 4; }, "forged")),
      wrong("generation 0", packet([](Header& h) { h.source_generation = 0; }, "forged")),
      wrong("a generation to come", packet([](Header& h) { h.source_generation = 2; }, "forged")),
      wrong("the last generation", packet([](Header& h) { h.source_generation = ~0u; }, "forged")),
      wrong("for a receiver to come",
            packet([](Header& h) { h.destination_generation = 2; }, "forged")),
      {"for an earlier receiver",
       packet([](Header& h) { h.destination_generation = 0; }, "forged"),
       {0, 0, 0, 0, 1}},
      // A pid is for people: nobody is found by it.
      {"a wrong pid", packet([](Header& h) { h.source_pid = 1; }, "seen"), {0, 0, 0, 0, 0, 1}},
  };
  for (const Attack& attack : attacks) {
    siege.Launch(attack);
    if (Siege::HasFailed()) return;
  }
  sequence = 5;  // 2 was next
  siege.Launch({"a hole", packet([](Header&) {}, "seen"), {0, 0, 0, 3, 0, 1}});
  sequence = 3;
  siege.Launch({"a step back", packet([](Header&) {}, "seen"), {0, 1, 0, 0, 0, 1}});
  if (Siege::HasFailed()) return;

  ASSERT_TRUE(siege.family.KillAndReap(siege.claimed));
  ASSERT_TRUE(siege.family.Until([&] { return siege.victim->left == 1; })) << "what comes earlier "
                                                                              "is its last words";
  sequence = 4;
  siege.Launch(wrong("a dead worker", packet([](Header&) {}, "forged")));
  siege.family.Respawn(2);
  ASSERT_TRUE(siege.family.Ready());
  siege.Launch(wrong("a dead predecessor", packet([](Header&) {}, "forged")));
}

std::string Bytes(std::initializer_list<int> bytes) {
  std::string text;
  for (const int byte : bytes) text.push_back(static_cast<char>(byte));
  return text;
}

// Records that no decoder can take.
std::vector<std::pair<std::string, std::string>> BrokenRecords() {
  std::vector<std::pair<std::string, std::string>> broken = {
      {"one byte", Bytes({1})},
      {"three bytes", Bytes({1, 0, 0})},
      {"an unknown flag", Bytes({0x81, 0, 0, 0})},
      {"a name longer than the packet", Bytes({1, 255, 0, 0})},
      {"data longer than the packet", Bytes({1, 0, 255, 255})},
      {"one byte more than is there", Bytes({1, 0, 2, 0, 'x'})},
      {"no room for a request id", Bytes({0x21, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7})},
      {"no room for a total", Bytes({2, 0, 0, 0, 1, 2, 3})},
  };
  for (int kind = 0; kind < 32; ++kind) {
    if ((kind >= 1 && kind <= 4) || (kind >= 16 && kind <= 21)) continue;
    // With four zeroes the rest would be padding.
    const int data_bytes = kind == 0 ? 1 : 0;
    broken.emplace_back("unknown kind " + std::to_string(kind), Bytes({kind, 0, data_bytes, 0}));
  }
  for (int kind = 16; kind <= 21; ++kind) {
    broken.emplace_back("a control body of 3 bytes, kind " + std::to_string(kind),
                        Bytes({kind, 0, 3, 0, 1, 2, 3}));
    broken.emplace_back("a control record without a body, kind " + std::to_string(kind),
                        Bytes({kind, 0, 0, 0}));
  }
  return broken;
}

TEST(Malformed, EveryWrongRecordIsCountedAndHarmsNoOtherSender) {
  Siege siege(true);
  const std::string name_255(255, 'n');
  std::uint64_t next = 1;  // what the victim expects of slot 2
  const auto from = [&](std::uint64_t started) {
    Forger forger(siege.claimed, 1);
    forger.header().sequence = next + started;
    return forger;
  };
  for (const auto& [what, body] : BrokenRecords()) {
    siege.Launch({what, {from(0).Raw(body)}, {0, 0, 1}});
    if (Siege::HasFailed()) return;
  }
  const auto part = [&](RecordKind kind, std::string_view data, std::string_view name = {}) {
    return from(1).Part(kind, data, name);
  };
  const std::string first = from(0).First("seen", "x", 3);
  const auto alone = [&](std::string what, std::string packet) {
    return Attack{std::move(what), {std::move(packet)}, {0, 0, 1}};
  };
  for (const Attack& attack : {
           alone("a name of 255 bytes", from(0).Whole(name_255, "")),
           alone("a first part with a name of 255 bytes", from(0).First(name_255, "x", 3)),
           alone("a total of 0", from(0).First("forged", "x", 0)),
           alone("nothing left to come", from(0).First("forged", "x", 1)),
           alone("a total above 4 GiB less 256", from(0).First("forged", "x", 0xffffff01)),
           alone("the largest total", from(0).First("forged", "x", 0xffffffff)),
           alone("an orphan middle part", from(0).Part(RecordKind::kMiddle, "x")),
           alone("an orphan last part", from(0).Part(RecordKind::kLast, "x")),
           alone("a death told by a worker",
                 from(0).Control(RecordKind::kDied, core::DiedBody{3, 1})),
           alone("a birth told by a worker",
                 from(0).Control(RecordKind::kJoined, core::JoinedBody{4, 1, 1})),
           alone("a reject of nothing",
                 from(0).Control(RecordKind::kReject, core::RejectBody{1, 1})),
       }) {
    siege.Launch(attack);
    if (Siege::HasFailed()) return;
  }
  // Within an alert that a good first part has begun.
  const auto within = [&](std::string what, std::vector<std::string> packets, Counts cost) {
    packets.insert(packets.begin(), from(0).First("seen", "x", 3));
    siege.Launch({std::move(what), std::move(packets), cost});
    ++next;
  };
  const Counts dropped = {0, 0, 1, 1};
  const Counts kept = {0, 0, 1, 0, 0, 1};
  within("a middle part that completes", {part(RecordKind::kMiddle, "yz")}, dropped);
  within("a last part that is too short", {part(RecordKind::kLast, "y")}, dropped);
  within("a last part that is too long", {part(RecordKind::kLast, "yzz")}, dropped);
  within("a whole alert inside", {from(1).Whole("forged", ""), part(RecordKind::kLast, "yz")},
         kept);
  within("a first part inside", {from(1).First("forged", "x", 9), part(RecordKind::kLast, "yz")},
         kept);
  within("a part with a name",
         {part(RecordKind::kMiddle, "y", "name"), part(RecordKind::kLast, "yz")}, kept);
}

// Beginnings of alerts of almost 4 GiB that never go on. Each sender can have one at a time.
TEST(Malformed, HundredThousandHeadersThatClaimFourGibHoldNextToNothing) {
  constexpr int kForged = 100000;
  constexpr std::uint64_t kPerSlot = 1048576;
  Shared<Victim> victim;
  Family family(FamilyOf(5));
  const Peer attacked = family.Spawn([&](Member& me) {
    me->Receive("good", [&](Alert&) { ++victim->good; });
    me.Every(1, [&] {
      const Stats stats = me->stats();
      victim->seen = stats.packets_read;
      victim->bytes = stats.reassembly_bytes_peak;
      victim->packets = stats.damaged_packets;
      victim->records = stats.damaged_records;
      victim->lost = stats.lost_alerts;
    });
    me.Run();
  });
  std::vector<Forger> forgers;
  for (int i = 0; i < 4; ++i) forgers.emplace_back(family.Spawn([](Member&) {}), 1);
  ASSERT_TRUE(family.Ready());
  const std::uint64_t data_before = ProcessBytes(attacked.pid, "status", "VmData:");
  const std::uint64_t rss_before = ProcessBytes(attacked.pid, "status", "VmRSS:");
  std::string batch;
  for (int i = 0; i < kForged; ++i) {
    Forger& forger = forgers[static_cast<std::size_t>(i % 4)];
    forger.header().sequence += static_cast<std::uint64_t>(i % 3);  // in step, and with holes
    const std::string packet = forger.First("forged", "x", 4294967040u);
    if (batch.size() + packet.size() > 4096) {
      family.Inject(1, batch);
      batch.clear();
    }
    batch += packet;
  }
  family.Inject(1, batch);
  ASSERT_TRUE(family->Send(To::Slot(1), "good").ok());
  ASSERT_TRUE(family.Until([&] { return victim->good == 1 && victim->seen > kForged; }));
  EXPECT_GE(victim->records + victim->lost, std::uint64_t{kForged} / 3) << "each is counted";
  EXPECT_LE(victim->bytes, forgers.size()) << "a byte of each sender";
  ASSERT_GT(data_before, 0u);
  if (!Sanitized()) {
    EXPECT_LE(ProcessBytes(attacked.pid, "status", "VmData:"),
              data_before + forgers.size() * kPerSlot)
        << "not even reserved";
    EXPECT_LE(ProcessBytes(attacked.pid, "status", "VmRSS:"),
              rss_before + forgers.size() * kPerSlot);
  }
}

// ---- A flood ------------------------------------------------------------------------------------

// A worker that has been taken over and writes whatever there is into the pipe of slot 1, in the
// names of everybody, as fast as it can.
class Flooder {
 public:
  Flooder(int fd, int slots) : fd_(fd), slots_(slots) {}

  void Write() {
    std::string bytes;
    while (bytes.size() < 3000) bytes += Next();
    bytes.resize(std::min<std::size_t>(bytes.size(), 4096));
    if (write(fd_, bytes.data(), bytes.size()) > 0) ++written;
    if (Random(512) == 0) fcntl(fd_, F_SETPIPE_SZ, Random(2) == 0 ? 4096 : 65536);
  }

  std::uint64_t written = 0;

 private:
  std::uint64_t Random(std::uint64_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % below;
  }
  std::uint32_t Number() {
    return static_cast<std::uint32_t>(Random(Random(2) == 0 ? 4 : 1u << 31));
  }

  std::string Next() {
    Peer claimed;
    claimed.slot = static_cast<int>(Random(static_cast<std::uint64_t>(slots_) + 2));
    claimed.generation = Random(4) == 0 ? Number() : 1;
    claimed.pid = static_cast<pid_t>(Random(100000));
    Forger forger(claimed, Random(8) == 0 ? Number() : 1);
    forger.header().sequence = sequence_ += Random(3);
    const auto slot = static_cast<std::uint16_t>(Random(6));
    switch (Random(12)) {
      case 0:
        return forger.First("forged", Pattern(Random(3000), 1), 4294967040u);
      case 1:
        return forger.Part(RecordKind::kMiddle, Pattern(Random(3000), 1));
      case 2:
        return forger.Part(RecordKind::kLast, "x");
      case 3:
        return forger.Control(RecordKind::kDied, core::DiedBody{slot, Number()});
      case 4:
        return forger.Control(RecordKind::kJoined, core::JoinedBody{slot, Number(), Number()});
      case 5:
        return forger.Control(RecordKind::kDraining, core::DrainingBody{slot, Number(), slot});
      case 6:
        return forger.Control(RecordKind::kBarrier, core::BarrierBody{Number()});
      case 7:
        return forger.Control(RecordKind::kAcknowledge, core::BarrierBody{Number()});
      case 8:
        return forger.Control(RecordKind::kReject, core::RejectBody{Number(), Number(), 1});
      case 9:
        return forger.Raw(Pattern(Random(200), Random(1000)));
      case 10:
        return forger.Part(RecordKind::kUnhandled, Pattern(8 * Random(20), Random(1000)));
      default:
        return Pattern(Random(300), Random(1000));  // no packet
    }
  }

  int fd_;
  int slots_;
  std::uint64_t state_ = 20;
  std::uint64_t sequence_ = 1;
};

struct Flooded {
  Count good;
  Count successor;
  Count damage;
  Count reassembly_peak;
  Count left;
  Count drains;
  Count written;
};

TEST(Flood, OfEverythingIsSurvivedWithinBudgetAndOverWithinOneCapacity) {
  constexpr std::uint64_t kBudget = 1048576;
  const std::uint64_t writes = 30000;
  MasterOptions options = FamilyOf(4);
  options.alert_bytes_max = options.reassembly_bytes_max = kBudget;
  Shared<Flooded> seen;
  Family family(options);
  const Peer victim = family.Spawn([&](Member& me) {
    me->Receive("good", [&](Alert&) { ++seen->good; });
    me->Receive("from the successor", [&](Alert&) { ++seen->successor; });
    me->OnLeft([&](const Peer&) { ++seen->left; });
    me.worker->OnDraining([&](const Peer&) { ++seen->drains; });
    me.Every(1, [&] {
      const Stats stats = me->stats();
      seen->damage = stats.damaged_bytes + stats.damaged_packets + stats.damaged_records;
      seen->reassembly_peak = stats.reassembly_bytes_peak;
    });
    me.Run();
  });
  for (int i = 0; i < 2; ++i) family.Spawn([](Member&) {});
  ASSERT_TRUE(family.Ready());
  const std::uint64_t data_before = ProcessBytes(victim.pid, "status", "VmData:");
  const Peer hostile = family.Spawn([&](Member& me) {
    Flooder flooder(DescriptorOf(family.inbox(1), O_WRONLY), 5);
    me.Every(1, [&] {
      for (int i = 0; i < 200 && flooder.written < writes; ++i) flooder.Write();
      seen->written = flooder.written;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->written == writes; }));
  ASSERT_TRUE(family.KillAndReap(hostile));

  // What follows is lost until the next proven boundary, not longer.
  const std::string good(4000, 'g');
  const std::uint64_t capacity = family->pipe_capacity();
  std::uint64_t sent = 0;
  ASSERT_TRUE(family.Until([&] {
    if (seen->good == 0 && family->QueuedBytes(1) == 0 && sent <= capacity &&
        family->Send(To::Slot(1), "good", good).ok())
      sent += good.size();
    return seen->good > 0;
  })) << sent
      << " bytes were sent";
  EXPECT_LE(sent, capacity + good.size());
  EXPECT_GT(seen->damage, writes);
  EXPECT_LE(seen->reassembly_peak, kBudget);
  EXPECT_TRUE(family.Until([&] { return seen->left >= 1; })) << "its death was told in the flood";
  EXPECT_EQ(seen->left, 1u) << "only the hostile worker has died";
  EXPECT_EQ(seen->drains, 0u);
  if (!Sanitized()) {
    EXPECT_LE(ProcessBytes(victim.pid, "status", "VmData:"), data_before + 8 * kBudget);
  }
  // A respawn in the slot that was most maligned is as good as new.
  const Peer fresh = family.Spawn([&](Member& me) {
    me->Send(To::Slot(1), "from the successor");
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return seen->successor == 1; })) << ToString(fresh);
}

// ---- O_NONBLOCK ---------------------------------------------------------------------------------

void ClearNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); }
// Both ends of all pipes, as a relative does that was forked from the master or by a worker: the
// flag is the same for all who share the description.
void ClearNonBlocking(Family& family, int workers) {
  for (int slot = 1; slot <= workers; ++slot) {
    ASSERT_TRUE(family.Until([&] { return family.inbox(slot) != 0; }));
    ClearNonBlocking(DescriptorOf(family.inbox(slot), O_WRONLY));
    ClearNonBlocking(DescriptorOf(family.inbox(slot), O_RDONLY));
  }
}
bool IsNonBlocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

struct Talk {
  Count alerts[4];
  Count ticks[4];
  Count refused;
};

// Worker 2 has to write into the full pipe of worker 1, worker 3 waits on an empty one. Neither may
// ever stand still.
TEST(NonBlocking, ClearedByARelativeBlocksNobody) {
  const absl::StatusOr<os::Kernel> kernel = os::ProbeKernel();
  ASSERT_TRUE(kernel.ok());
  if (!kernel->nowait) GTEST_SKIP() << "this kernel has no RWF_NOWAIT for pipes";
  Shared<Talk> talk;
  Family family(FamilyOf(3, 8192));
  const Peer deaf = family.SpawnDeaf([&](Member& me) {
    me->ReceiveDefault(
        [&](Alert& alert) { me.Check(NumberOf(alert.data()) == ++talk->alerts[1], "order"); });
    me.Run();
  });
  for (int slot = 2; slot <= 3; ++slot) {
    family.Spawn([&](Member& me) {
      Pump pump(3000, [&](std::uint64_t number) {
        return me->Send(To::Slot(1), "n", Numbered(number, 1000 + number % 3000));
      });
      me->OnDrained([&](const Peer&) { pump.Go(); });
      me->Receive("go", [&](Alert&) {
        pump.Go();
        talk->refused += pump.refusals();
      });
      me->Receive("ping", [&](Alert& alert) {
        ++talk->alerts[me.slot()];
        if (me.slot() == 2) pump.Go();  // tries the full pipe again
        alert.Reply("pong");
      });
      me.Every(1, [&] { ++talk->ticks[me.slot()]; });
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  ClearNonBlocking(family, 3);
  ASSERT_FALSE(IsNonBlocking(DescriptorOf(family.inbox(1), O_WRONLY)));
  std::uint64_t pongs = 0;
  family->Receive("pong", [&](Alert&) { ++pongs; });
  ASSERT_TRUE(family->Send(To::Slot(2), "go").ok());
  ASSERT_TRUE(family.Until([&] { return talk->refused > 0; })) << "the pipe and the queue are full";
  for (std::uint64_t round = 1; round <= 50; ++round) {
    for (int slot = 2; slot <= 3; ++slot) {
      ClearNonBlocking(family, 3);  // libuv sets it where it starts to poll
      const std::uint64_t ticks = talk->ticks[slot];
      ASSERT_TRUE(family->Send(To::Slot(slot), "ping").ok());
      ASSERT_TRUE(family.Until([&] {
        return talk->alerts[slot] == round && talk->ticks[slot] > ticks;
      })) << "worker "
          << slot << " stands still";
    }
  }
  ASSERT_TRUE(family.Until([&] { return pongs == 100; })) << pongs;
  family.Wake(deaf);
  ASSERT_TRUE(family.Until([&] { return talk->alerts[1] == 3000; })) << talk->alerts[1];
}

// An older kernel: RWF_NOWAIT is not known, and workers have descriptions of their own.
template <auto kMember>
ssize_t WithoutNowait(int fd, const iovec* parts, int count, off_t offset, int flags) {
  if ((flags & os::kRwfNowait) != 0) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return kMember(fd, parts, count, offset, flags);
}

TEST(NonBlocking, ClearedByARelativeBlocksNoWorkerOfAnOlderKernel) {
  const os::Replace<&os::Calls::preadv2> read(&WithoutNowait<&::preadv2>);
  const os::Replace<&os::Calls::pwritev2> write(&WithoutNowait<&::pwritev2>);
  Shared<Talk> talk;
  Family family(FamilyOf(2, 8192));
  family.SpawnDeaf([](Member&) {});
  family.Spawn([&](Member& me) {
    // As the master does it, or the other worker: through a description that is not this one's.
    me->Receive("fill", [&](Alert&) {
      for (int i = 0; i < 2000; ++i) me->Send(To::Slot(1), "n", std::string(1000, 'n'));
      ++talk->refused;
    });
    me->Receive("ping", [&](Alert&) { ++talk->alerts[2]; });
    me.Every(1, [&] { ++talk->ticks[2]; });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  ClearNonBlocking(family, 2);
  ASSERT_TRUE(family->Send(To::Slot(2), "fill").ok());
  ASSERT_TRUE(family.Until([&] { return talk->refused == 1; })) << "it stands in a write";
  for (std::uint64_t round = 1; round <= 50; ++round) {
    const std::uint64_t ticks = talk->ticks[2];
    ASSERT_TRUE(family->Send(To::Slot(2), "ping").ok());
    ASSERT_TRUE(
        family.Until([&] { return talk->alerts[2] == round && talk->ticks[2] > ticks + 1; }));
  }
}

// The master has no description of its own: its workers inherit what it writes through.
TEST(NonBlocking, ClearedByARelativeBlocksNoMasterOfAnOlderKernel) {
  const os::Replace<&os::Calls::preadv2> read(&WithoutNowait<&::preadv2>);
  const os::Replace<&os::Calls::pwritev2> write(&WithoutNowait<&::pwritev2>);
  Family family(FamilyOf(1, 8192));
  const Peer deaf = family.SpawnDeaf([](Member&) {});
  while (family->QueuedBytes(1) == 0) {
    ASSERT_TRUE(family->Send(deaf, "n", std::string(1000, 'n')).ok());
    ASSERT_TRUE(family->Flush().ok());
  }
  ClearNonBlocking(family, 1);
  ASSERT_FALSE(IsNonBlocking(DescriptorOf(family.inbox(1), O_WRONLY)));
  EXPECT_TRUE(family->Flush().ok());
  EXPECT_GT(family->QueuedBytes(1), 0u);
  EXPECT_EQ(family->stats().nonblock_restored, 1u);
  family.Wake(deaf);
  EXPECT_TRUE(family.Until([&] { return family->QueuedBytes(1) == 0; }));
}

// ---- The size of a pipe -------------------------------------------------------------------------

// While two workers flood each other, the master's side of the family shrinks and enlarges both
// pipes as often as the kernel lets it (it refuses to shrink one that holds more).
TEST(PipeSize, ChangedByARelativeInFullFlightCostsNothing) {
  constexpr std::uint64_t kAlerts = 4000;
  Shared<Talk> talk;
  Family family(FamilyOf(2));
  const auto body = [&](Member& me) {
    const int slot = me.slot();
    Pump pump(kAlerts, [&, slot](std::uint64_t number) {
      return me->Send(To::Slot(3 - slot), "n", Pattern(number * 37 % 30000, number));
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    me->Receive("go", [&](Alert&) { pump.Go(); });
    me->Receive("n", [&, slot](Alert& alert) {
      const std::uint64_t number = ++talk->alerts[slot];
      me.Check(alert.data().size() == number * 37 % 30000 && IsPattern(alert.data(), number),
               "an alert is not what was sent");
    });
    me.Run();
    const Stats stats = me->stats();
    me.Check(
        stats.damaged_bytes + stats.damaged_packets + stats.damaged_records + stats.lost_alerts ==
            0,
        "damage");
    me.Check(pump.done(), pump.trouble().ToString());
  };
  for (int i = 0; i < 2; ++i) family.Spawn(body);
  ASSERT_TRUE(family.Ready());
  std::uint64_t shrunk = 0;
  std::uint64_t enlarged = 0;
  bool denied = false;  // to an ordinary user past the page limit
  const auto resize = [&] {
    for (int slot = 1; slot <= 2; ++slot) {
      const int fd = DescriptorOf(family.inbox(slot), O_WRONLY);
      shrunk += fcntl(fd, F_SETPIPE_SZ, 4096) == 4096;
      enlarged += fcntl(fd, F_SETPIPE_SZ, 8192 << ((shrunk + enlarged) % 6)) > 4096;
      denied = denied || errno == EPERM;
    }
  };
  for (int slot = 1; slot <= 2; ++slot) ASSERT_TRUE(family->Send(To::Slot(slot), "go").ok());
  ASSERT_TRUE(family.Until([&] {
    resize();
    return talk->alerts[1] == kAlerts && talk->alerts[2] == kAlerts;
  })) << talk->alerts[1]
      << ' ' << talk->alerts[2];
  EXPECT_GT(shrunk, 0u);
  EXPECT_TRUE(enlarged > 0 || denied);
}

TEST(PipeSize, ShrunkToOnePageIsEnough) {
  Shared<Talk> talk;
  Family family(FamilyOf(2));
  for (int i = 0; i < 2; ++i) {
    family.Spawn([&](Member& me) {
      me->ReceiveDefault([&](Alert& alert) {
        me.Check(IsPattern(alert.data(), 1) && alert.data().size() == 300000, "data");
        ++talk->alerts[me.slot()];
      });
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  for (int slot = 1; slot <= 2; ++slot) {
    const int fd = DescriptorOf(family.inbox(slot), O_WRONLY);
    ASSERT_TRUE(family.Until([&] { return fcntl(fd, F_SETPIPE_SZ, 4096) == 4096; }));
  }
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(family->Send(To::Slot(1 + round % 2), "x", Pattern(300000, 1)).ok());
  }
  ASSERT_TRUE(family.Until([&] { return talk->alerts[1] == 10 && talk->alerts[2] == 10; }));
}

}  // namespace
}  // namespace alertpipe::process
