// SPDX-License-Identifier: Apache-2.0
//
// Families under load. Every case is short by default and long when its environment variable says
// so; each prints its figures as one line.
//
//   ALERTPIPE_BROADCAST_WORKERS   workers that all broadcast to all (16)
//   ALERTPIPE_BROADCAST_SECONDS   for so long (3)
//   ALERTPIPE_KILLS               workers that are killed under load (40)
//   ALERTPIPE_HUGE_BYTES          data of the one huge alert (67108864); up to 4294967040
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "family.h"
#include "runner/test_case.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;
using Clock = std::chrono::steady_clock;

unsigned long long Long(std::uint64_t value) { return value; }

// ---- Two workers that flood each other ----------------------------------------------------------

TEST(Stress, TwoWorkersFloodEachOtherThroughFullPipes) {
  constexpr std::uint64_t kAlerts = 20000;
  constexpr std::size_t kBytes = 1500;
  struct Seen {
    Count heard[3];
    Count blocked[3];
    Count refusals[3];
  };
  Shared<Seen> seen;
  MasterOptions options = FamilyOf(2, 4096);
  options.queued_bytes_per_peer_max = 200000;
  Family family(options);
  for (int i = 0; i < 2; ++i) {
    family.Spawn([&](Member& me) {
      const int self = me.slot();
      Pump pump(kAlerts, [&](std::uint64_t number) {
        return me->Send(To::Slot(3 - self), "flood", Numbered(number, kBytes));
      });
      me->OnDrained([&](const Peer&) { pump.Go(); });
      me->Receive("start", [&](Alert&) { pump.Go(); });
      me->Receive("flood", [&](Alert& alert) {
        me.Check(NumberOf(alert.data()) == ++seen->heard[self] && alert.data().size() == kBytes,
                 "out of order");
        seen->blocked[self] = me->stats().writes_blocked;
        seen->refusals[self] = pump.refusals();
      });
      me.Run();
      me.Check(pump.done(), pump.trouble().ToString());
    });
  }
  ASSERT_TRUE(family.Ready());
  family->Broadcast("start");
  ASSERT_TRUE(family.Until([&] { return seen->heard[1] == kAlerts && seen->heard[2] == kAlerts; }))
      << seen->heard[1] << ' ' << seen->heard[2];
  EXPECT_GT(seen->blocked[1] + seen->blocked[2], 0u) << "the pipes were full";
  EXPECT_GT(seen->refusals[1] + seen->refusals[2], 0u) << "the queues were full";
  std::printf("mutual flood: %llu alerts of %zu bytes each way, %llu and %llu blocked writes\n",
              Long(kAlerts), kBytes, Long(seen->blocked[1]), Long(seen->blocked[2]));
}

// ---- All to all ---------------------------------------------------------------------------------

constexpr int kCrowdMax = 64;

struct Crowd {
  Count stop;
  Count stopped;
  Count share[kCrowdMax + 1];  // broadcasts that this worker made
  Count refused[kCrowdMax + 1];
  Count accepted[kCrowdMax + 1][kCrowdMax + 1];  // [sender][receiver]
  Count delivered[kCrowdMax + 1][kCrowdMax + 1];
  Count last[kCrowdMax + 1]
            [kCrowdMax + 1];  // number of the last broadcast of [sender] at [receiver]
  Count queued_peak[kCrowdMax + 1];
};

constexpr std::size_t kCrowdBytes[] = {10, 100, 1000, 10000, 10, 3000, 40, 5000};

// Broadcasts as fast as the others read, until told to stop: after a refusal it waits until
// something has drained.
class Broadcaster {
 public:
  Broadcaster(Member& me, Crowd* crowd, int workers)
      : me_(me), crowd_(crowd), workers_(workers), self_(me.slot()) {}

  void Listen() {
    me_->Receive("all", [this](Alert& alert) {
      const int from = alert.sender().slot;
      const std::uint64_t number = NumberOf(alert.data());
      me_.Check(number > crowd_->last[from][self_], "out of order or twice");
      me_.Check(alert.data().size() == kCrowdBytes[number % std::size(kCrowdBytes)] &&
                    alert.data().back() == static_cast<char>('a' + number % 26),
                "a torn alert");
      crowd_->last[from][self_] = number;
      ++crowd_->delivered[from][self_];
    });
    me_->OnUndelivered(
        [this](const Undelivered&) { me_.Check(false, "undelivered though all live"); });
    me_->OnDrained([this](const Peer&) { waiting_ = false; });
    me_->Receive("start", [this](Alert&) { me_.Every(1, [this] { Work(); }); });
  }

 private:
  void Work() {
    if (crowd_->stop != 0) {
      if (!std::exchange(stopped_, true)) ++crowd_->stopped;
      return;
    }
    crowd_->queued_peak[self_] = me_->stats().queued_bytes_peak;
    for (int i = 0; i < 8 && !waiting_; ++i) BroadcastOnce();
  }

  void BroadcastOnce() {
    const std::uint64_t number = ++number_;
    const BroadcastResult sent =
        me_->Broadcast("all", Numbered(number, kCrowdBytes[number % std::size(kCrowdBytes)]));
    me_.Check(sent.ok(), sent.status().ToString());
    me_.Check(sent.accepted + sent.refused.size() == static_cast<std::size_t>(workers_),
              "receivers");
    for (int to = 1; to <= workers_; ++to) ++crowd_->accepted[self_][to];
    for (const Refusal& refusal : sent.refused) {
      me_.Check(refusal.status.code() == StatusCode::kResourceExhausted, refusal.status.ToString());
      --crowd_->accepted[self_][refusal.peer.slot];
      ++crowd_->refused[self_];
      waiting_ = true;
    }
    ++crowd_->share[self_];
  }

  Member& me_;
  Crowd* crowd_;
  int workers_;
  int self_;
  std::uint64_t number_ = 0;
  bool waiting_ = false;
  bool stopped_ = false;
};

std::string Missing(const Crowd& crowd, int workers) {
  std::string list;
  for (int from = 1; from <= workers; ++from) {
    for (int to = 1; to <= workers; ++to) {
      if (crowd.delivered[from][to] == crowd.accepted[from][to]) continue;
      list += "\n" + std::to_string(from) + " to " + std::to_string(to) + ": accepted " +
              std::to_string(crowd.accepted[from][to]) + ", delivered " +
              std::to_string(crowd.delivered[from][to]);
    }
  }
  return list;
}

TEST(Stress, AllBroadcastToAllThroughSmallPipes) {
  const int workers = static_cast<int>(
      std::min<std::uint64_t>(EnvironmentOr("ALERTPIPE_BROADCAST_WORKERS", 16), kCrowdMax));
  const auto seconds = static_cast<int>(EnvironmentOr("ALERTPIPE_BROADCAST_SECONDS", 3));
  constexpr std::uint64_t kShareMin = 50;
  RaiseLivenessLimit(60 + 3 * seconds);
  Shared<Crowd> crowd;
  Family family(FamilyOf(workers, 8192));
  for (int i = 0; i < workers; ++i) {
    family.Spawn([&](Member& me) {
      Broadcaster broadcaster(me, &*crowd, workers);
      broadcaster.Listen();
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  family->Broadcast("start");
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  std::uint64_t memory_peak = 0;
  auto next_look = Clock::now();
  const auto shares_done = [&] {
    return std::all_of(crowd->share + 1, crowd->share + workers + 1,
                       [](const Count& share) { return share >= kShareMin; });
  };
  EXPECT_TRUE(family.Until([&] {
    if (Clock::now() >= next_look) {
      memory_peak = std::max(memory_peak, family.MemoryBytes());
      next_look = Clock::now() + std::chrono::milliseconds(500);
    }
    return Clock::now() > end && shares_done();
  })) << "a worker did not complete its share";
  crowd->stop = 1;
  ASSERT_TRUE(family.Until([&] { return crowd->stopped == static_cast<std::uint64_t>(workers); }));
  memory_peak = std::max(memory_peak, family.MemoryBytes());
  std::uint64_t delivered = 0;
  const auto settled = [&] {
    delivered = 0;
    for (int from = 1; from <= workers; ++from) {
      for (int to = 1; to <= workers; ++to) {
        if (crowd->delivered[from][to] != crowd->accepted[from][to]) return false;
        delivered += crowd->delivered[from][to];
      }
    }
    return true;
  };
  EXPECT_TRUE(family.Until(settled)) << "accepted alerts were lost" << Missing(*crowd, workers);
  EXPECT_LT(memory_peak, std::uint64_t{6} << 30);
  std::uint64_t least = crowd->share[1];
  std::uint64_t most = crowd->share[1];
  std::uint64_t refused = 0;
  std::uint64_t queued = 0;
  for (int slot = 1; slot <= workers; ++slot) {
    least = std::min<std::uint64_t>(least, crowd->share[slot]);
    most = std::max<std::uint64_t>(most, crowd->share[slot]);
    refused += crowd->refused[slot];
    queued = std::max<std::uint64_t>(queued, crowd->queued_peak[slot]);
    EXPECT_LE(crowd->queued_peak[slot], std::uint64_t{64} << 20);
  }
  std::printf(
      "all to all: %d workers, %d s, %llu alerts delivered, 0 lost, %llu refused, %llu to %llu "
      "broadcasts each, "
      "family memory at most %llu MiB, most queued by one %llu KiB\n",
      workers, seconds, Long(delivered), Long(refused), Long(least), Long(most),
      Long(memory_peak >> 20), Long(queued >> 10));
}
ALERTPIPE_TIME_LIMIT(Stress, AllBroadcastToAllThroughSmallPipes,
                     static_cast<int>(120 + 4 * EnvironmentOr("ALERTPIPE_BROADCAST_SECONDS", 3)));

// ---- A receiver that is stopped -----------------------------------------------------------------

TEST(Stress, StoppedReceiverHoldsUpNobodyElse) {
  constexpr std::uint64_t kCap = 300000;
  constexpr int kSenders = 3;
  struct Seen {
    Count accepted[8];  // by sender, for the stopped receiver
    Count heard_by_stopped[8];
    Count heard_by_other[8];
    Count refused[8];
    Count queued_peak[8];
    Count stop;
    Count stopped;
  };
  Shared<Seen> seen;
  MasterOptions options = FamilyOf(kSenders + 2, 16384);
  options.queued_bytes_per_peer_max = kCap;
  options.queued_bytes_max = 2 * kCap;
  Family family(options);
  const Peer sleepy = family.Spawn([&](Member& me) {
    me->Receive("x", [&](Alert& alert) {
      me.Check(NumberOf(alert.data()) == ++seen->heard_by_stopped[alert.sender().slot],
               "out of order");
    });
    me.Run();
  });
  family.Spawn([&](Member& me) {
    me->Receive("x", [&](Alert& alert) {
      me.Check(NumberOf(alert.data()) == ++seen->heard_by_other[alert.sender().slot],
               "out of order");
    });
    me.Run();
  });
  for (int i = 0; i < kSenders; ++i) {
    family.Spawn([&](Member& me) {
      const int self = me.slot();
      std::uint64_t to_other = 0;
      bool done = false;
      me.Every(1, [&] {
        seen->queued_peak[self] = me->stats().queued_bytes_peak;
        if (seen->stop != 0) {
          if (!std::exchange(done, true)) ++seen->stopped;
          return;
        }
        for (int burst = 0; burst < 20; ++burst) {
          const std::uint64_t number = seen->accepted[self] + 1;
          const SendResult sent = me->Send(To::Slot(1), "x", Numbered(number, 8 + number % 3000));
          if (sent.ok()) {
            seen->accepted[self] = number;
          } else {
            me.Check(sent.status().code() == StatusCode::kResourceExhausted,
                     sent.status().ToString());
            ++seen->refused[self];
          }
          if (me->Send(To::Slot(2), "x", Numbered(to_other + 1, 100)).ok()) ++to_other;
        }
      });
      me.Run();
    });
  }
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family.Stop(sleepy));
  const auto all = [&](const Count* counts, std::uint64_t least) {
    return std::all_of(counts + 3, counts + 3 + kSenders,
                       [least](const Count& count) { return count >= least; });
  };
  ASSERT_TRUE(family.Until([&] { return all(seen->refused, 10); }))
      << "the queues to the stopped one are full";
  std::uint64_t before[8];
  for (int slot = 3; slot < 3 + kSenders; ++slot) before[slot] = seen->heard_by_other[slot];
  const std::uint64_t most = *std::max_element(before + 3, before + 3 + kSenders);
  EXPECT_TRUE(family.Until([&] { return all(seen->heard_by_other, most + 500); }))
      << "the other receiver is held up";
  seen->stop = 1;
  ASSERT_TRUE(family.Until([&] { return seen->stopped == kSenders; }));
  std::uint64_t accepted = 0;
  std::uint64_t queued = 0;
  for (int slot = 3; slot < 3 + kSenders; ++slot) {
    EXPECT_LE(seen->queued_peak[slot], 2 * kCap);
    queued = std::max<std::uint64_t>(queued, seen->queued_peak[slot]);
    accepted += seen->accepted[slot];
  }
  family.Continue(sleepy);
  EXPECT_TRUE(family.Until([&] {
    for (int slot = 3; slot < 3 + kSenders; ++slot) {
      if (seen->heard_by_stopped[slot] != seen->accepted[slot]) return false;
    }
    return true;
  })) << "accepted alerts did not arrive";
  std::printf(
      "stopped receiver: %d senders, %llu alerts accepted for it, all arrived; most queued by one "
      "%llu bytes\n",
      kSenders, Long(accepted), Long(queued));
}

// ---- kill -9 under load -------------------------------------------------------------------------

// What one incarnation sent to another. The sender writes attempted before the call and accepted
// after it, so that a sender killed in between is accounted for; numbers count from 1 for each pair
// and are the library's alert ids.
struct Pair {
  Count attempted;
  Count accepted;
  Count delivered;     // the last number, and so the count: receivers check that none is missing
  Count failed;        // alerts that came back
  Count failed_first;  // the lowest number among them
};

constexpr int kKilledSlots = 8;
constexpr int kGenerationsMax = 600;

struct Ledger {
  Count stop;
  Count stopped[kKilledSlots + 1];
  Count delivered;
  Count sent;
  // [slot][generation] of the sender, then of the receiver; pages that nobody uses cost nothing.
  Pair pairs[kKilledSlots + 1][kGenerationsMax][kKilledSlots + 1][kGenerationsMax];

  Pair& Between(const Peer& from, const Peer& to) {
    return pairs[from.slot][from.generation][to.slot][to.generation];
  }
};

// What every alert says about itself.
struct Stamp {
  std::int32_t from_slot;
  std::uint32_t from_generation;
  std::int32_t to_slot;
  std::uint32_t to_generation;
  std::uint64_t number;
};

std::string Stamped(const Peer& from, const Peer& to, std::uint64_t number, std::size_t bytes) {
  const Stamp stamp = {from.slot, from.generation, to.slot, to.generation, number};
  std::string data(sizeof stamp + bytes, static_cast<char>('a' + number % 26));
  std::memcpy(data.data(), &stamp, sizeof stamp);
  return data;
}

// Sends alerts of all sizes to random others and checks what it gets.
class Player {
 public:
  Player(Member& me, Ledger* ledger)
      : me_(me),
        ledger_(ledger),
        self_(me->self()),
        random_(self_.generation * 64u + static_cast<unsigned>(self_.slot)) {}

  void Play() {
    me_->ReceiveDefault([this](Alert& alert) { Check(alert); });
    me_->OnUndelivered([this](const Undelivered& undelivered) { Failed(undelivered); });
    me_->OnDamage([this](const Damage& damage) {
      me_.Check(false, "damage of " + std::to_string(damage.bytes_discarded) + " bytes");
    });
    me_.Every(1, [this] { Work(); });
    me_.Run();
  }

 private:
  void Work() {
    if (ledger_->stop != 0) {
      ledger_->stopped[self_.slot] = self_.generation;
      return;
    }
    for (const Peer& peer : me_->Workers()) {
      for (int i = static_cast<int>(random_() % 6); i > 0; --i) SendOne(peer);
    }
  }

  void SendOne(const Peer& peer) {
    constexpr std::size_t kSizes[] = {0, 10, 100, 10, 1000, 4000, 100, 9000, 10, 60000};
    Pair& pair = ledger_->Between(self_, peer);
    const std::uint64_t number = pair.accepted + 1;
    pair.attempted = number;
    std::string data = Stamped(self_, peer, number, kSizes[random_() % std::size(kSizes)]);
    const SendResult sent = random_() % 3 == 0 ? me_->Send(peer, "load", Buffer(std::move(data)))
                                               : me_->Send(peer, "load", data);
    if (sent.ok()) {
      me_.Check(sent.alert_id() == number, "alert ids count what was accepted");
      pair.accepted = number;
      ++ledger_->sent;
      return;
    }
    pair.attempted = number - 1;
    me_.Check(sent.status().code() == StatusCode::kUnavailable ||
                  sent.status().code() == StatusCode::kResourceExhausted,
              sent.status().ToString());
  }

  void Check(const Alert& alert) {
    Stamp stamp;
    me_.Check(alert.data().size() >= sizeof stamp, "a torn alert");
    std::memcpy(&stamp, alert.data().data(), sizeof stamp);
    const std::string_view fill = alert.data().substr(sizeof stamp);
    me_.Check(fill.find_first_not_of(static_cast<char>('a' + stamp.number % 26)) == fill.npos,
              "torn data");
    me_.Check(stamp.to_slot == self_.slot && stamp.to_generation == self_.generation,
              "misdelivered");
    me_.Check(stamp.from_slot == alert.sender().slot &&
                  stamp.from_generation == alert.sender().generation,
              "sender");
    Pair& pair = ledger_->Between(alert.sender(), self_);
    me_.Check(stamp.number == pair.delivered + 1, "lost, twice or out of order");
    pair.delivered = stamp.number;
    ++ledger_->delivered;
  }

  void Failed(const Undelivered& undelivered) {
    me_.Check(undelivered.reason == UndeliveredReason::kPeerDied, "reason");
    Pair& pair = ledger_->Between(self_, undelivered.peer);
    if (pair.failed++ == 0) pair.failed_first = undelivered.alert_id;
  }

  Member& me_;
  Ledger* ledger_;
  Peer self_;
  std::minstd_rand random_;
};

struct Account {
  std::uint64_t pairs = 0;
  std::uint64_t settled = 0;  // pairs that both lived to the end
  std::uint64_t failed = 0;   // alerts that came back
  std::uint64_t unsettled = 0;
};

Account Settle(Ledger& ledger, const std::map<int, Peer>& live) {
  Account account;
  const auto lives = [&](int slot, std::uint32_t generation) {
    const auto found = live.find(slot);
    return found != live.end() && found->second.generation == generation;
  };
  for (int from = 1; from <= kKilledSlots; ++from) {
    const std::uint32_t from_last = live.at(from).generation;
    for (std::uint32_t from_generation = 1; from_generation <= from_last; ++from_generation) {
      for (int to = 1; to <= kKilledSlots; ++to) {
        const std::uint32_t to_last = live.at(to).generation;
        for (std::uint32_t to_generation = 1; to_generation <= to_last; ++to_generation) {
          const Pair& pair = ledger.pairs[from][from_generation][to][to_generation];
          if (pair.attempted == 0 && pair.delivered == 0) continue;
          ++account.pairs;
          account.failed += pair.failed;
          const bool both = lives(from, from_generation) && lives(to, to_generation);
          account.settled += both;
          bool right = pair.delivered <= pair.attempted && pair.accepted + 1 >= pair.attempted;
          if (both) right = right && pair.accepted == pair.delivered + pair.failed;
          // What came back is the end of what was accepted, and none of it was delivered.
          if (pair.failed > 0) right = right && pair.failed_first > pair.delivered;
          if (pair.failed > 0)
            right = right && pair.failed_first + pair.failed - 1 <= pair.attempted;
          account.unsettled += !right;
        }
      }
    }
  }
  return account;
}

TEST(Stress, KilledWorkersLeaveAnAccountThatSettles) {
  const std::uint64_t kills =
      std::min<std::uint64_t>(EnvironmentOr("ALERTPIPE_KILLS", 40), 8 * (kGenerationsMax - 100));
  RaiseLivenessLimit(static_cast<int>(30 + kills / 5));
  const unsigned seed = static_cast<unsigned>(EnvironmentOr("ALERTPIPE_SEED", 1));
  std::minstd_rand random(seed);
  Shared<Ledger> ledger;
  MasterOptions options = FamilyOf(kKilledSlots, 16384);
  options.queued_bytes_per_peer_max = 500000;
  Family family(options);
  family.OnExit([&](const WorkerExit& exit) { family.Respawn(exit.worker.slot); });
  for (int i = 0; i < kKilledSlots; ++i) {
    family.Spawn([&](Member& me) {
      Player player(me, &*ledger);
      player.Play();
    });
  }
  std::uint64_t drained = 0;
  std::set<std::pair<int, std::uint32_t>> killed;
  for (std::uint64_t kill = 1; killed.size() < kills; ++kill) {
    const std::uint64_t wanted = ledger->delivered + 20 + random() % 400;
    ASSERT_TRUE(family.Until([&] { return ledger->delivered >= wanted; }))
        << "after " << kill << " kills";
    const Peer victim = family.live[static_cast<int>(1 + random() % kKilledSlots)];
    ASSERT_LT(victim.generation + 1, static_cast<std::uint32_t>(kGenerationsMax));
    if (!killed.emplace(victim.slot, victim.generation).second) continue;  // not reaped yet
    family.Kill(victim);
    if (random() % 3 == 0) continue;  // several at once
    ASSERT_TRUE(
        family.Until([&] { return family.live[victim.slot].generation > victim.generation; }));
  }
  ASSERT_TRUE(family.Until([&] { return family.exits.size() == killed.size(); }));
  ASSERT_TRUE(family.Ready());
  ledger->stop = 1;
  ASSERT_TRUE(family.Until([&] {
    return std::all_of(family.live.begin(), family.live.end(), [&](const auto& entry) {
      return ledger->stopped[entry.first] == entry.second.generation;
    });
  }));
  EXPECT_TRUE(family.Until([&] { return Settle(*ledger, family.live).unsettled == 0; }))
      << Settle(*ledger, family.live).unsettled << " pairs do not settle, seed " << seed;
  const Account account = Settle(*ledger, family.live);
  for (const WorkerExit& exit : family.exits) drained += exit.alerts_drained;
  std::printf(
      "kills: %zu workers killed, %llu alerts accepted, %llu delivered, %llu failed back, %llu "
      "drained, %llu pairs "
      "settled of which %llu both lived\n",
      family.exits.size(), Long(ledger->sent), Long(ledger->delivered), Long(account.failed),
      Long(drained), Long(account.pairs), Long(account.settled));
  family.OnExit(nullptr);
}
ALERTPIPE_TIME_LIMIT(Stress, KilledWorkersLeaveAnAccountThatSettles,
                     static_cast<int>(120 + EnvironmentOr("ALERTPIPE_KILLS", 40)));

// ---- One huge alert -----------------------------------------------------------------------------

// Word by word; fast enough for 4 GiB.
std::uint64_t Hash(std::string_view data) {
  std::uint64_t hash = data.size();
  std::size_t at = 0;
  for (; at + 8 <= data.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, data.data() + at, 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 29;
  }
  for (; at < data.size(); ++at)
    hash = (hash ^ static_cast<unsigned char>(data[at])) * 0x9E3779B97F4A7C15;
  return hash;
}

void Fill(char* data, std::size_t bytes) {
  std::uint64_t state = 88172645463325252;
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(data + at, &state, 8);
  }
}

struct Huge {
  Count sent_hash;
  Count heard_hash;
  Count heard_bytes;
  Count sender_grew;
  Count receiver_grew;
  Count sender_done;
};

std::uint64_t PeakBytes() { return ProcessBytes(getpid(), "status", "VmHWM:"); }

TEST(Stress, OneHugeAlertIsHandedOverWithoutACopy) {
  const std::uint64_t bytes = EnvironmentOr("ALERTPIPE_HUGE_BYTES", 64 << 20);
  constexpr std::uint64_t kSlack = 64 << 20;
  if (bytes > (std::uint64_t{1} << 30)) {
    const std::uint64_t free = ProcessBytes(getpid(), "../meminfo", "MemAvailable:");
    if (free < (std::uint64_t{12} << 30)) {
      GTEST_SKIP() << "needs 12 GiB of free memory, there are " << (free >> 20) << " MiB";
    }
  }
  RaiseLivenessLimit(static_cast<int>(60 + bytes / (50 << 20)));
  Shared<Huge> huge;
  Family family(FamilyOf(2, 262144));
  const Peer receiver = family.Spawn([&](Member& me) {
    const std::uint64_t before = PeakBytes();
    me->Receive("huge", [&, before](Alert& alert) {
      absl::StatusOr<Buffer> data = alert.TakeData();
      me.Check(data.ok(), "TakeData");
      huge->receiver_grew = PeakBytes() - before;
      huge->heard_hash = Hash(data->view());
      huge->heard_bytes = data->size();
    });
    me.Run();
  });
  ASSERT_TRUE(family.Ready());
  family.Spawn([&](Member& me) {
    const std::uint64_t before = PeakBytes();
    absl::StatusOr<Buffer> data = Buffer::Allocate(bytes);
    me.Check(data.ok(), data.status().ToString());
    if (!data.ok()) return;
    Fill(data->data(), data->size());
    huge->sent_hash = Hash(data->view());
    const SendResult sent = me->Send(receiver, "huge", *std::move(data));
    me.Check(sent.ok(), sent.status().ToString());
    me.Every(5, [&, before] {
      if (me->QueuedBytes() == 0) huge->sender_done = 1;
      huge->sender_grew = PeakBytes() - before;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return huge->heard_bytes != 0 && huge->sender_done != 0; }));
  EXPECT_EQ(huge->heard_bytes, bytes);
  EXPECT_EQ(huge->heard_hash, huge->sent_hash);
  if (!Sanitized()) {
    EXPECT_LE(huge->sender_grew, bytes + kSlack);
    EXPECT_LE(huge->receiver_grew, bytes + kSlack);
  }
  std::printf(
      "huge alert: %llu bytes, hash %016llx; VmHWM grew by %llu MiB at the sender, %llu MiB at the "
      "receiver\n",
      Long(bytes), Long(huge->heard_hash), Long(huge->sender_grew >> 20),
      Long(huge->receiver_grew >> 20));
}
ALERTPIPE_TIME_LIMIT(Stress, OneHugeAlertIsHandedOverWithoutACopy,
                     static_cast<int>(120 + EnvironmentOr("ALERTPIPE_HUGE_BYTES", 64 << 20) /
                                                (25 << 20)));

}  // namespace
}  // namespace alertpipe::process
