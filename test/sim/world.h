// SPDX-License-Identifier: Apache-2.0
//
// A family in one process: slots with their pipes, the roster, the processes that live, and chance.
// The world decides whose step is next and what goes wrong between two steps; it is the kernel for
// everybody in it. After the last step with faults everything must come to rest by itself, and the
// ledger is settled.
//
// Nothing in it depends on addresses, on the order of a hash table or on time: a seed is a run.
#ifndef ALERTPIPE_TEST_SIM_WORLD_H_
#define ALERTPIPE_TEST_SIM_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/heap_roster.h"
#include "../events/ring_memory.h"
#include "core/counters.h"
#include "core/notice_board.h"
#include "core/roster.h"
#include "core/slot_life.h"
#include "sim/census.h"
#include "sim/heap.h"
#include "sim/ledger.h"
#include "sim/lives.h"
#include "sim/order_ledger.h"
#include "sim/pipe.h"
#include "sim/plan.h"
#include "sim/process.h"
#include "sim/random.h"

namespace alertpipe::sim {

// A place for one worker, or the master's own.
struct Seat {
  explicit Seat(std::unique_ptr<AnyPipe> made)
      : pipe(std::move(made)), page(std::make_unique<core::CounterPage>()) {}
  std::unique_ptr<AnyPipe> pipe;
  std::uint64_t written = 0;  // bytes ever
  std::uint64_t read = 0;
  std::unique_ptr<core::CounterPage> page;
  std::unique_ptr<Process> process;
  std::uint64_t garbage_until = 0;  // bytes up to here may be a hostile relative's
  std::uint64_t drained_until = 0;  // the successor must find none of these
};

// The outcome of a write.
struct Outcome {
  std::size_t bytes = 0;
  int error = 0;
};

class World {
 public:
  // `census` is added to. `trace`: every step is printed.
  World(const Plan& plan, Census* census, bool trace);
  ~World();

  // Throws Violation. Returns a digest of everything that happened.
  std::uint64_t Run();

  // ---- For processes
  const Plan& plan() const { return plan_; }
  Random& random() { return random_; }
  Census& census() { return *census_; }
  Ledger& ledger() { return ledger_; }
  OrderLedger& orders() { return orders_; }
  // Of the one order of events, if the family has any.
  core::OrderRing ring() { return ring_.ring(); }
  std::uint64_t StartOf(int slot) const { return starts_[static_cast<std::size_t>(slot)]; }
  core::Roster roster() const { return roster_.roster(); }
  int slots() const { return static_cast<int>(seats_.size()); }
  std::uint64_t now() const { return now_; }
  std::uint64_t NewSerial() { return ++serials_; }
  // Faults are on and the application begins new things.
  bool active() const { return active_; }
  bool Fault(std::uint32_t one_in) { return active_ && random_.Chance(one_in); }
  Canary canary() const { return plan_.canary; }
  // Somebody has been a victim: what went with the damage may be missed by others.
  bool tainted() const { return tainted_; }
  bool breaks(Canary rule) const { return plan_.canary == rule; }

  Outcome Write(Process* writer, int slot, const iovec* parts, int count);
  // Reads into the process's inbox and returns the bytes.
  std::size_t Read(Process* reader);
  AnyPipe& pipe(int slot) { return *seat(slot).pipe; }
  bool HasReader(int slot) const;
  bool MasterLives() const { return seats_[0].process != nullptr; }
  core::NoticeBoard& board() { return board_; }
  // The process ends by itself once its step is over.
  void Exit(int slot) { exiting_ = slot; }

  // ---- For the life of slots
  Seat& seat(int slot) { return seats_[static_cast<std::size_t>(slot)]; }
  core::RosterWord word(int slot) const { return roster().Get(slot); }
  // Where the slot's next worker starts in the one order.
  void Announce(int slot) { starts_[static_cast<std::size_t>(slot)] = ring().tail(); }
  void PublishSuccessor(int slot, int successor) { roster_.PublishSuccessor(slot, successor); }
  void Publish(int slot, const core::RosterWord& word) { roster_.Publish(slot, word); }
  std::uint32_t StartProcess(int slot, std::uint32_t generation);
  // SIGKILL, if the process has not ended by itself just now.
  void Kill(int slot);
  void Reaped(std::uint32_t pid);
  void Drain(int slot, std::uint32_t generation);
  Lives& lives() { return lives_; }

  void Note(std::uint64_t what) { digest_ = Mix(digest_ ^ what); }
  bool tracing() const { return trace_; }
  void Trace(const std::string& line);

 private:
  void StepOnce();
  void Misfortune();
  // `retired`: by its master, at the deadline.
  void Crash(int slot, bool retired = false);
  void CrashMaster();
  void StopOrContinue();
  void Garbage();
  std::string ForgedPacket(int slot);
  void CalmDown();
  void RunToRest(const char* what);
  bool AllQuiet();
  void Verify();
  void WakeWriters(int slot);
  void Wake(Process* process);
  std::uint32_t NewPid();
  Process* PickProcess();
  [[noreturn]] void FailAtRest(const std::string& why);

  Plan plan_;
  Census* census_;
  bool trace_;
  Random random_;
  Heap heap_;
  core::HeapRoster roster_;
  core::NoticeBoard board_;
  Ledger ledger_;
  core::RingMemory ring_;
  std::vector<std::uint64_t> starts_;  // by slot
  OrderLedger orders_;
  std::deque<Seat> seats_;
  Lives lives_;
  std::vector<std::uint32_t> pids_used_;  // not reaped yet
  std::vector<bool> pids_ever_;
  std::uint64_t serials_ = 0;
  std::uint64_t now_ = 1;
  std::uint64_t ticks_ = 0;  // also those in which nobody could take a step
  std::uint64_t steps_ = 0;
  std::uint64_t digest_ = 0;
  bool active_ = true;
  bool tainted_ = false;
  int exiting_ = -1;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_WORLD_H_
