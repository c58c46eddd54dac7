// SPDX-License-Identifier: Apache-2.0
//
// The acceptance cases of ngx.ipc, on families of real processes. ALERTPIPE_PINGPONGS raises the
// number of ping-pongs (20,000 each by default).
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "family.h"
#include "runner/test_case.h"

namespace alertpipe::process {
namespace {

constexpr int kMembers = 32;

struct Tally {
  Count heard[kMembers];
  Count last[kMembers];
  Count matrix[kMembers][kMembers];
  Text text;
};

TEST(Acceptance, HelloIsAnsweredWithWhatWasSaid) {
  Shared<Tally> tally;
  Family family(FamilyOf(4));
  for (int i = 0; i < 4; ++i) {
    family.Spawn([&](Member& me) {
      me->Receive("hello", [](Alert& alert) {
        alert.Reply("reply", std::string("hello to you too, you said ").append(alert.data()));
      });
      me->Receive("reply", [&](Alert& alert) {
        tally->text.Set(alert.data());
        ++tally->matrix[me.slot()][alert.sender().slot];
        ++tally->heard[me.slot()];
      });
      if (me.slot() == 4)
        me.Check(me->Broadcast("hello", "from all of us").accepted == 4, "broadcast");
      me.Run();
    });
  }
  ASSERT_TRUE(family.Until([&] { return tally->heard[4] == 4; }));
  EXPECT_EQ(tally->text.Get(), "hello to you too, you said from all of us");
  for (int from = 1; from <= 4; ++from) EXPECT_EQ(tally->matrix[4][from], 1u) << "sender included";
  EXPECT_EQ(tally->heard[1] + tally->heard[2] + tally->heard[3], 0u);
}

TEST(Acceptance, SendToAnyOtherWorker) {
  Shared<Tally> tally;
  Family family(FamilyOf(3));
  for (int i = 0; i < 3; ++i) {
    family.Spawn([&](Member& me) {
      me->Receive("start", [&](Alert&) {
        for (const Peer& peer : me->Workers()) {
          if (peer == me->self()) continue;
          me.Check(me->Send(peer.pid, "hello", std::to_string(getpid())).ok(),
                   "send to another worker's pid");
        }
      });
      me->Receive("hello", [&](Alert& alert) {
        me.Check(alert.data() == std::to_string(alert.sender().pid), "the sender's pid");
        ++tally->matrix[me.slot()][alert.sender().slot];
        ++tally->heard[0];
      });
      me.Run();
    });
  }
  family->Broadcast("start");
  ASSERT_TRUE(family.Until([&] { return tally->heard[0] == 6; }));
  for (int to = 1; to <= 3; ++to) {
    for (int from = 1; from <= 3; ++from)
      EXPECT_EQ(tally->matrix[to][from], to == from ? 0u : 1u) << from << to;
  }
}

TEST(Acceptance, FloodArrivesCompleteAndInOrder) {
  constexpr std::uint64_t kAlerts = 100000;
  Shared<Tally> tally;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("flood", [&](Alert& alert) {
      me.Check(NumberOf(alert.data()) == ++tally->heard[1], "out of order");
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    Pump pump(kAlerts, [&](std::uint64_t number) {
      return me->Send(To::Slot(1), "flood", Numbered(number, 30));
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    pump.Go();
    me.Run();
    me.Check(pump.done(), pump.trouble().ToString());
  });
  EXPECT_TRUE(family.Until([&] { return tally->heard[1] == kAlerts; })) << tally->heard[1];
}

// "1 2 3 ... count "
std::string LongCount(std::uint32_t count) {
  std::string text;
  for (std::uint32_t number = 1; number <= count; ++number) {
    char digits[16];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
    text += ' ';
  }
  return text;
}

// The first number that is not what it should be; 0 when all are right and the last is `count`.
std::uint32_t FirstWrong(std::string_view text, std::uint32_t count) {
  const char* at = text.data();
  const char* end = at + text.size();
  for (std::uint32_t wanted = 1; wanted <= count; ++wanted) {
    std::uint32_t number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number != wanted || next == end || *next != ' ') return wanted;
    at = next + 1;
  }
  return at == end ? 0 : count + 1;
}

TEST(Acceptance, OneToAMillionInOneAlert) {
  constexpr std::uint32_t kNumbers = 1000000;
  Shared<Tally> tally;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("long", [&](Alert& alert) {
      const std::uint32_t wrong = FirstWrong(alert.data(), kNumbers);
      me.Check(wrong == 0,
               "wrong at " + std::to_string(wrong) + " of " + std::to_string(alert.data().size()));
      ++tally->heard[1];
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    const SendResult sent = me->Send(To::Slot(1), "long", Buffer(LongCount(kNumbers)));
    me.Check(sent.ok(), sent.status().ToString());
  });
  EXPECT_TRUE(family.Until([&] { return tally->heard[1] == 1; }));
}

TEST(Acceptance, LongCountsOfManyLengths) {
  Shared<Tally> tally;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("long", [&](Alert& alert) {
      const auto count = static_cast<std::uint32_t>(++tally->heard[1] * 97);
      me.Check(FirstWrong(alert.data(), count) == 0,
               "wrong in a count to " + std::to_string(count));
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    Pump pump(300, [&](std::uint64_t number) {
      return me->Send(To::Slot(1), "long", LongCount(static_cast<std::uint32_t>(number * 97)));
    });
    me->OnDrained([&](const Peer&) { pump.Go(); });
    pump.Go();
    me.Run();
    me.Check(pump.done(), pump.trouble().ToString());
  });
  EXPECT_TRUE(family.Until([&] { return tally->heard[1] == 300; }));
}

TEST(Acceptance, LargeDataCopiedAndHandedOver) {
  constexpr std::size_t kCopied = 4000000;
  constexpr std::size_t kHandedOver = 20000000;
  Shared<Tally> tally;
  Family family(FamilyOf(2));
  family.Spawn([&](Member& me) {
    me->Receive("large", [&](Alert& alert) {
      const std::size_t expected = ++tally->heard[1] % 2 == 1 ? kCopied : kHandedOver;
      me.Check(alert.data().size() == expected && IsPattern(alert.data(), expected), "large data");
      me.Check(me->stats().reassembly_bytes == 0, "nothing else is being put together");
      alert.Reply("got it");
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    const auto send = [&] {
      if (++tally->heard[2] > 4) return;
      const bool copied = tally->heard[2] % 2 == 1;
      std::string data = Pattern(copied ? kCopied : kHandedOver, copied ? kCopied : kHandedOver);
      const SendResult sent = copied ? me->Send(To::Slot(1), "large", data)
                                     : me->Send(To::Slot(1), "large", Buffer(std::move(data)));
      me.Check(sent.ok(), sent.status().ToString());
    };
    me->Receive("got it", [&](Alert&) { send(); });
    send();
    me.Run();
  });
  EXPECT_TRUE(family.Until([&] { return tally->heard[1] == 4; }));
}

TEST(Acceptance, PingSkipsOneself) {
  Shared<Tally> tally;
  Family family(FamilyOf(5));
  for (int i = 0; i < 5; ++i) {
    family.Spawn([&](Member& me) {
      me->Receive("start", [&](Alert&) {
        me.Check(me->Broadcast("ping", "", Scope::kOthers).accepted == 4, "four others");
      });
      me->Receive("ping", [&](Alert& alert) {
        me.Check(alert.sender() != me->self(), "a ping from oneself");
        ++tally->matrix[me.slot()][alert.sender().slot];
        ++tally->heard[0];
      });
      me.Run();
    });
  }
  family->Broadcast("start");
  ASSERT_TRUE(family.Until([&] { return tally->heard[0] == 20; }));
  for (int to = 1; to <= 5; ++to) EXPECT_EQ(tally->matrix[to][to], 0u);
}

// ---- Ping-pongs ---------------------------------------------------------------------------------

struct PingPongs {
  Count pings[kMembers][kMembers];  // that [receiver] got from [sender], all verified
  Count pongs[kMembers][kMembers];  // that [pinger] got back from [answerer]
  Count finished;
};

// Every worker pings all others; each answers; each answer triggers the next ping to whoever gave
// it, until each pair has had its share. Every alert carries its number within its pair and
// direction.
void Play(Member& me, PingPongs* seen, int workers, std::uint64_t share, std::size_t bytes) {
  const int self = me.slot();
  std::uint64_t done = 0;
  const std::string fill = Pattern(bytes, static_cast<std::uint64_t>(self));
  std::string out = fill;
  const auto numbered = [&](std::uint64_t number) -> std::string_view {
    std::memcpy(out.data(), &number, sizeof number);
    return out;
  };
  const auto checked = [&](const Alert& alert, std::uint64_t number) {
    me.Check(alert.data().size() == bytes && NumberOf(alert.data()) == number, "a wrong alert");
  };
  me->Receive("start", [&](Alert&) {
    const BroadcastResult sent = me->Broadcast("ping", numbered(1), Scope::kOthers);
    me.Check(sent.accepted == static_cast<std::size_t>(workers - 1), "start");
  });
  me->Receive("ping", [&](Alert& alert) {
    const std::uint64_t number = ++seen->pings[self][alert.sender().slot];
    checked(alert, number);
    me.Check(alert.Reply("pong", alert.data()).ok(), "pong");
  });
  me->Receive("pong", [&](Alert& alert) {
    const std::uint64_t number = ++seen->pongs[self][alert.sender().slot];
    checked(alert, number);
    me.Check(alert.data().substr(8) == std::string_view(fill).substr(8), "the data that was sent");
    if (number < share) {
      me.Check(alert.Reply("ping", numbered(number + 1)).ok(), "ping");
    } else if (++done == static_cast<std::uint64_t>(workers - 1)) {
      ++seen->finished;
    }
  });
  me.Run();
}

void PlayPingPong(int workers, std::size_t bytes) {
  const std::uint64_t total = EnvironmentOr("ALERTPIPE_PINGPONGS", 20000);
  RaiseLivenessLimit(static_cast<int>(30 + total / 1500));
  const auto pairs = static_cast<std::uint64_t>(workers) * static_cast<std::uint64_t>(workers - 1);
  const std::uint64_t share = (total + pairs - 1) / pairs;
  Shared<PingPongs> seen;
  Family family(FamilyOf(workers));
  for (int i = 0; i < workers; ++i) {
    family.Spawn([&](Member& me) { Play(me, &*seen, workers, share, bytes); });
  }
  family->Broadcast("start");
  ASSERT_TRUE(family.Until([&] { return seen->finished == static_cast<std::uint64_t>(workers); }));
  std::uint64_t verified = 0;
  for (int to = 1; to <= workers; ++to) {
    for (int from = 1; from <= workers; ++from) {
      const std::uint64_t expected = to == from ? 0 : share;
      EXPECT_EQ(seen->pings[to][from], expected) << from << " to " << to;
      EXPECT_EQ(seen->pongs[to][from], expected) << from << " to " << to;
      verified += seen->pongs[to][from];
    }
  }
  std::printf("ping-pongs: %llu verified, %d workers, %zu bytes\n",
              static_cast<unsigned long long>(verified), workers, bytes);
}

TEST(PingPong, FiveWorkersTenBytes) { PlayPingPong(5, 10); }
TEST(PingPong, FiveWorkersTenKilobytes) { PlayPingPong(5, 10000); }
TEST(PingPong, TwentyWorkersTenBytes) { PlayPingPong(20, 10); }
TEST(PingPong, TwentyWorkersTenKilobytes) { PlayPingPong(20, 10000); }

const int kPingPongSeconds =
    static_cast<int>(60 + EnvironmentOr("ALERTPIPE_PINGPONGS", 20000) / 1000);
ALERTPIPE_TIME_LIMIT(PingPong, FiveWorkersTenBytes, kPingPongSeconds);
ALERTPIPE_TIME_LIMIT(PingPong, FiveWorkersTenKilobytes, kPingPongSeconds);
ALERTPIPE_TIME_LIMIT(PingPong, TwentyWorkersTenBytes, kPingPongSeconds);
ALERTPIPE_TIME_LIMIT(PingPong, TwentyWorkersTenKilobytes, kPingPongSeconds);

// ---- 70,000 bytes from all to all ---------------------------------------------------------------

TEST(Acceptance, SeventyThousandBytesFromAllToAll) {
  constexpr int kWorkers = 16;
  constexpr std::size_t kBytes = 70000;
  constexpr std::uint64_t kRounds = 3;
  Shared<Tally> tally;
  Family family(FamilyOf(kWorkers));
  for (int i = 0; i < kWorkers; ++i) {
    family.Spawn([&](Member& me) {
      const int self = me.slot();
      me->Receive("start", [&](Alert&) {
        for (std::uint64_t round = 1; round <= kRounds; ++round) {
          const BroadcastResult sent = me->Broadcast(
              "large", Pattern(kBytes, static_cast<std::uint64_t>(self) * 100 + round));
          me.Check(sent.accepted == kWorkers && sent.refused.empty(), "broadcast");
        }
      });
      me->Receive("large", [&](Alert& alert) {
        const int from = alert.sender().slot;
        const std::uint64_t round = ++tally->matrix[self][from];
        me.Check(alert.data().size() == kBytes &&
                     IsPattern(alert.data(), static_cast<std::uint64_t>(from) * 100 + round),
                 "data from worker " + std::to_string(from));
        ++tally->heard[self];
      });
      me.Run();
    });
  }
  family->Broadcast("start");
  ASSERT_TRUE(family.Until([&] {
    for (int slot = 1; slot <= kWorkers; ++slot) {
      if (tally->heard[slot] < kWorkers * kRounds) return false;
    }
    return true;
  }));
  for (int to = 1; to <= kWorkers; ++to) {
    for (int from = 1; from <= kWorkers; ++from)
      EXPECT_EQ(tally->matrix[to][from], kRounds) << from << " to " << to;
  }
}

}  // namespace
}  // namespace alertpipe::process
