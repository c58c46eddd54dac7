// SPDX-License-Identifier: Apache-2.0
//
// The one order under any interleaving: publishers and receivers that take one step at a time, one
// access to shared memory or one write or read of a pipe each, chosen at random; they stop, go on,
// die between any two steps, and get successors. Pipes are queues of events with little room. What
// each receiver gets is written down and compared in the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/events/order_book.h"
#include "core/events/order_ring.h"
#include "ring_memory.h"

namespace alertpipe::core {
namespace {

// Defects that have to be found.
enum class Canary {
  kNone,
  kClaimBeforeWrite,  // places are claimed for what has not left
  kNoRead,            // a read that began before the look proves what it saw
  kNoDeathNotice,     // nobody is told of a death
  kNoClaimNotice,     // nobody is told that events have places
};

struct Totals {
  std::uint64_t delivered = 0;
  std::uint64_t late = 0;
  std::uint64_t withdrawn = 0;
  std::uint64_t overruns = 0;
};

struct Copy {
  Peer publisher;
  std::uint64_t sequence = 0;  // 0: a notice
  std::uint64_t claimed = 0;   // of a notice "these have places", else 0
  int dead_slot = -1;          // of a death notice
  std::uint32_t dead_generation = 0;
};

using EventId = std::pair<std::pair<int, std::uint32_t>, std::uint64_t>;

class World {
 public:
  World(unsigned seed, Canary canary, std::uint64_t places)
      : random_(seed), canary_(canary), memory_(places) {
    processes_.resize(kSlots);
    for (int slot = 1; slot < kSlots; ++slot) Start(slot);
  }

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      const int slot = 1 + Pick(kSlots - 1);
      Process& process = processes_[slot];
      if (Pick(400) == 0) process.stopped = !process.stopped;
      if (Pick(900) == 0) {
        Kill(slot);
        continue;
      }
      if (!process.stopped) Step(slot);
    }
    Rest();
  }

  // What was seen in more than one process is in one order in all of them; what had been written
  // before it was claimed has come out as an event; nothing is held for good.
  std::string Judge(Totals* totals) {
    std::map<EventId, std::uint64_t> place_of;
    for (const auto& [who, log] : logs_) {
      std::uint64_t last = 0;
      std::set<EventId> seen;
      for (const auto& [event, place] : log) {
        if (!seen.insert(event).second) return "twice";
        if (place_of.insert({event, place}).first->second != place) return "in two places";
        if (place < last) return "out of order";
        last = place;
      }
      if (processes_[who.first].generation != who.second) continue;
      for (const EventId& event : due_[who]) {
        if (seen.count(event) == 0 && processes_[who.first].book->overruns() == 0)
          return "not delivered";
      }
    }
    for (const Process& process : processes_) {
      if (process.book == nullptr) continue;
      if (process.book->held() != 0) return "held for good";
      totals->overruns += process.book->overruns();
    }
    for (const auto& [who, log] : logs_) totals->delivered += log.size();
    totals->late += totals_.late;
    totals->withdrawn += totals_.withdrawn;
    return "";
  }

 private:
  static constexpr int kSlots = 6;
  static constexpr std::size_t kRoom = 6;

  struct Process {
    std::uint32_t generation = 0;
    bool stopped = false;
    std::deque<Copy> pipe;  // its inbox
    std::unique_ptr<OrderBook> book;
    ReadCount reads = 0;
    bool reading = false;
    std::deque<Copy> read;  // what the last read has brought, not handed out yet
    // Publishing: copies that have not been written, for each receiver, in their order.
    std::map<int, std::deque<Copy>> queued;
    std::uint64_t numbered = 0, claimed = 0, closed = 0;
    std::map<int, bool> lags;
    std::set<int> waived;  // those that lagged when the claim began
    std::set<std::tuple<int, std::uint32_t, std::uint64_t>> sent_to;
    OrderRing::Claim claim;
    bool claiming = false;
  };

  int Pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  Peer PeerIn(int slot) const { return {100 + slot, slot, processes_[slot].generation}; }
  OrderRing ring() { return memory_.ring(); }

  void Start(int slot) {
    Process& process = processes_[slot];
    const std::uint32_t generation = process.generation + 1;
    process = Process();
    process.generation = generation;
    process.book = std::make_unique<OrderBook>(ring(), PeerIn(slot), kSlots, ring().tail());
  }

  void Kill(int slot) {
    const Peer dead = PeerIn(slot);
    Start(slot);
    for (int other = 1; other < kSlots; ++other) {
      for (auto& [to, copies] : processes_[other].queued) {
        if (to == slot) copies.clear();
      }
      Copy notice;
      notice.dead_slot = slot;
      notice.dead_generation = dead.generation;
      if (other == slot || canary_ == Canary::kNoDeathNotice) continue;
      processes_[other].pipe.push_back(notice);  // notices are never lost
    }
  }

  void Step(int slot) {
    switch (Pick(6)) {
      case 0:
        return Publish(slot);
      case 1:
      case 2:
        return Write(slot);
      case 3:
        return ClaimStep(slot);
      default:
        return Receive(slot);
    }
  }

  void Publish(int slot) {
    Process& process = processes_[slot];
    if (process.numbered - process.claimed > 8) return;
    ++process.numbered;
    for (int to = 1; to < kSlots; ++to) {
      Copy copy;
      copy.publisher = PeerIn(slot);
      copy.sequence = process.numbered;
      if (to == slot) {
        process.book->Hold({copy.sequence, 0, copy.publisher, Buffer()});
      } else if (process.queued[to].size() < 10) {
        process.queued[to].push_back(copy);
        process.sent_to.insert({to, processes_[to].generation, copy.sequence});
      }
    }
  }

  void Write(int slot) {
    Process& process = processes_[slot];
    const int to = 1 + Pick(kSlots - 1);
    if (process.queued[to].empty()) return;
    if (processes_[to].pipe.size() >= kRoom) {
      if (Pick(10) == 0) process.lags[to] = true;  // its patience is at an end
      return;
    }
    process.lags[to] = false;
    processes_[to].pipe.push_back(process.queued[to].front());
    process.queued[to].pop_front();
  }

  bool HasLeft(const Process& process, std::uint64_t sequence) {
    if (canary_ == Canary::kClaimBeforeWrite) return true;
    for (const auto& [to, copies] : process.queued) {
      if (Lags(process, to)) continue;
      for (const Copy& copy : copies) {
        if (copy.sequence != 0 && copy.sequence <= sequence) return false;
      }
    }
    return true;
  }

  void ClaimStep(int slot) {
    Process& process = processes_[slot];
    if (!process.claiming) {
      if (process.closed == process.claimed) process.closed = process.numbered;
      if (process.closed == process.claimed || !HasLeft(process, process.closed)) return;
      process.waived.clear();
      for (const auto& [to, lags] : process.lags) {
        if (lags) process.waived.insert(to);
      }
      process.claim = OrderRing::Claim();
      process.claim.word.slot = static_cast<std::uint32_t>(slot);
      process.claim.word.generation = process.generation;
      process.claim.word.count = static_cast<std::uint32_t>(process.closed - process.claimed);
      process.claim.word.last = static_cast<std::uint32_t>(process.closed);
      process.claiming = true;
    }
    const bool swaps = process.claim.step == OrderRing::Claim::Step::kSwap;
    const bool more = ring().Step(&process.claim);
    if (swaps && process.claim.step == OrderRing::Claim::Step::kMove) NoteDue(slot);
    if (more) return;
    process.claiming = false;
    process.claimed = process.closed;
    for (int to = 1; to < kSlots; ++to) {
      Copy notice;
      notice.publisher = PeerIn(slot);
      notice.claimed = process.claimed;
      if (to == slot || canary_ == Canary::kNoClaimNotice) continue;
      process.queued[to].push_back(notice);
    }
  }

  static bool Lags(const Process& process, int to) {
    const auto lags = process.lags.find(to);
    return lags != process.lags.end() && lags->second;
  }

  void NoteDue(int slot) {
    const Process& process = processes_[slot];
    for (int to = 1; to < kSlots; ++to) {
      std::set<std::uint64_t> queued;
      if (to != slot) {
        for (const Copy& copy : process.queued.at(to)) queued.insert(copy.sequence);
      }
      for (std::uint64_t sequence = process.claimed + 1; sequence <= process.closed; ++sequence) {
        const EventId id = {{slot, process.generation}, sequence};
        const bool sent =
            to == slot || process.sent_to.count({to, processes_[to].generation, sequence}) > 0;
        // Those that are not waited for get it late.
        if (sent && (queued.count(sequence) == 0 || !process.waived.count(to)))
          due_[{to, processes_[to].generation}].push_back(id);
      }
    }
  }

  // One step of a receiver: a read of all that is there, or the next of what it has brought, or the
  // end of it, or what comes out of the book.
  void Receive(int slot) {
    Process& process = processes_[slot];
    OrderBook& book = *process.book;
    if (!process.reading) {
      process.reading = true;
      ++process.reads;
      process.read.swap(process.pipe);
      return;
    }
    if (!process.read.empty()) {
      const Copy copy = process.read.front();
      process.read.pop_front();
      return Handle(slot, copy);
    }
    process.reading = false;
    book.HasRead(process.reads);
    if (canary_ == Canary::kNoRead) {
      book.Look(process.reads - 1);
      book.HasRead(process.reads);
    }
    book.Look(process.reads);
    TakeOut(slot);
  }

  void Handle(int slot, const Copy& copy) {
    Process& process = processes_[slot];
    OrderBook& book = *process.book;
    if (copy.dead_slot >= 0) {
      book.PublisherDied(copy.dead_slot, copy.dead_generation);
    } else if (copy.claimed != 0) {
      book.Claimed(copy.publisher, copy.claimed);
      book.Look(process.reads);  // this read has begun before
    } else {
      book.Hold({copy.sequence, 0, copy.publisher, Buffer()});
    }
  }

  void TakeOut(int slot) {
    Process& process = processes_[slot];
    OrderBook::Item item;
    for (;;) {
      const OrderBook::Release release = process.book->Next(&item);
      if (release == OrderBook::Release::kNothing) break;
      if (release == OrderBook::Release::kLate) ++totals_.late;
      if (release == OrderBook::Release::kWithdrawn) ++totals_.withdrawn;
      if (release != OrderBook::Release::kEvent) continue;
      const EventId id = {{item.publisher.slot, item.publisher.generation}, item.sequence};
      logs_[{slot, process.generation}].push_back({id, item.place});
    }
  }

  // Nobody is stopped, nothing new is published: all that is held comes out.
  void Rest() {
    for (Process& process : processes_) process.stopped = false;
    for (int i = 0; i < 20000; ++i) {
      const int slot = 1 + Pick(kSlots - 1);
      switch (Pick(3)) {
        case 0:
          for (int j = 0; j < 4; ++j) Write(slot);
          break;
        case 1:
          ClaimStep(slot);
          break;
        default:
          Receive(slot);
      }
    }
  }

  std::mt19937 random_;
  Canary canary_;
  RingMemory memory_;
  std::vector<Process> processes_;
  Totals totals_;
  // What was in somebody's pipe, or had been read, when it was claimed.
  std::map<std::pair<int, std::uint32_t>, std::vector<EventId>> due_;
  std::map<std::pair<int, std::uint32_t>, std::vector<std::pair<EventId, std::uint64_t>>> logs_;
};

// Runs one family. What is wrong, if anything.
std::string Fault(unsigned seed, Canary canary, std::uint64_t places, Totals* totals) {
  World world(seed, canary, places);
  world.Run(20000);
  return world.Judge(totals);
}

TEST(OneOrder, UnderAnyInterleaving) {
  Totals totals;
  for (unsigned seed = 1; seed <= 300; ++seed)
    ASSERT_EQ(Fault(seed, Canary::kNone, 16384, &totals), "") << "seed " << seed;
  EXPECT_GT(totals.delivered, 100000u);
  EXPECT_GT(totals.late, 10000u);
  EXPECT_GT(totals.withdrawn, 10000u);
}

// Whoever is stopped for long comes back to a ring that has run over. What it cannot place is lost
// to it, and nothing is out of order.
TEST(OneOrder, InARingThatRunsOver) {
  Totals totals;
  for (unsigned seed = 1; seed <= 300; ++seed) {
    ASSERT_EQ(Fault(seed, Canary::kNone, 16, &totals), "") << "seed " << seed;
  }
  EXPECT_GT(totals.delivered, 100000u);
  EXPECT_GT(totals.overruns, 50u);
}

TEST(OneOrder, EveryDefectIsFound) {
  for (const Canary canary : {Canary::kClaimBeforeWrite, Canary::kNoRead, Canary::kNoDeathNotice,
                              Canary::kNoClaimNotice}) {
    bool found = false;
    for (unsigned seed = 1; seed <= 300 && !found; ++seed) {
      Totals totals;
      found = !Fault(seed, canary, 16384, &totals).empty();
    }
    EXPECT_TRUE(found) << static_cast<int>(canary);
  }
}

}  // namespace
}  // namespace alertpipe::core
