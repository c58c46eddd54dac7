// SPDX-License-Identifier: Apache-2.0
//
// What a master does beside being an endpoint: it drives each slot's core::SlotLife, one step at a
// time, and each step is one that anybody else can be faster or slower than. Like the real one it
// finishes with one slot before it does anything else, and then goes on with its loop. It also
// carries out what core::RollingRestart decides.
#ifndef ALERTPIPE_TEST_SIM_LIVES_H_
#define ALERTPIPE_TEST_SIM_LIVES_H_

#include <alertpipe/barrier.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/rolling_restart.h"
#include "core/slot_life.h"

namespace alertpipe::sim {

class World;

class Lives {
 public:
  Lives(World* world, int slots) : world_(world), slots_(static_cast<std::size_t>(slots)) {}

  // One step of what is under way, or the beginning of something. False: nothing to do.
  bool Step();
  bool busy() const { return driving_ != 0; }
  // Nothing is under way, and no death waits to be noticed.
  bool Quiet() const;
  // A worker has ended: the master could notice.
  void Ended(int slot) { slots_[static_cast<std::size_t>(slot)].ended = true; }
  const core::SlotLife& life(int slot) const { return slots_[static_cast<std::size_t>(slot)].life; }

 private:
  struct Slot {
    core::SlotLife life;
    bool ended = false;         // its process is gone, and that has not been noticed
    std::uint32_t child = 0;    // forked by the program for the reserved slot
    std::uint64_t kill_at = 0;  // of a retired one; 0: never
    bool killed = false;        // at the deadline
    bool drain_owed = false;    // canary: late
    bool announced = false;     // where the worker to start will start in the one order
  };
  bool Begin(int slot);
  bool GoOnReserved(int slot);
  bool GoOnRunning(int slot);
  bool GoOnRetired(int slot);
  int PickSuccessor(int slot);
  // lives_restart.cc
  bool StepRestart();
  bool BeginRestart();
  void StartSuccessor();
  bool AskSuccessor();
  void HearSuccessor(const Peer& successor, const BarrierReport& report);
  void EndStart(int slot);
  void EndRestart();
  Peer PeerIn(int slot) const;

  void Drive(int slot);
  void EndDrive(int slot);
  void Retire(int slot, int successor);
  void Published(int slot);
  void Fork(int slot);

  World* world_;
  std::vector<Slot> slots_;
  int driving_ = 0;  // the slot that is under way; 0: none
  std::optional<core::RollingRestart> restart_;
  std::uint32_t restart_deadline_ = 0;  // for each step of it
  int starting_ = 0;                    // the slot of the successor that is being started
  bool asked_ = false;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_LIVES_H_
