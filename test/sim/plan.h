// SPDX-License-Identifier: Apache-2.0
//
// What a seed decides before anything happens: how the family is set up, which faults there are and
// how often, and what the application does. Families differ on purpose: one in which everything
// goes wrong all the time never gets to what is rare.
#ifndef ALERTPIPE_TEST_SIM_PLAN_H_
#define ALERTPIPE_TEST_SIM_PLAN_H_

#include <cstdint>

#include "core/roster.h"
#include "sim/canary.h"

namespace alertpipe::sim {

struct Plan {
  std::uint64_t seed = 0;
  Canary canary = Canary::kNone;
  bool real_pipes = false;
  std::uint32_t steps = 0;  // with faults; those until everything is quiet come on top

  core::FamilySettings settings;
  bool attached = true;        // the master runs a loop from the start
  bool attaches_late = false;  // or begins to in the middle
  std::uint32_t alerts_per_turn = 16;
  std::uint32_t linger = 0;

  int slow_slot = -1;  // whose processes take a step where others take many

  // Faults, one in so many steps; 0: never.
  std::uint32_t crash = 0;
  std::uint32_t leave = 0;
  std::uint32_t stop = 0;
  std::uint32_t master_crash = 0;
  std::uint32_t garbage = 0;
  // One in so many calls.
  std::uint32_t eagain = 0;
  std::uint32_t eintr = 0;
  std::uint32_t enomem = 0;
  std::uint32_t lost_wakeup = 0;
  std::uint32_t fork_fails = 0;
  std::uint32_t own_fork = 0;
  std::uint32_t refuse_memory = 0;
  // Workers that are retired: one in so many looks of the master at a slot, and how long they have.
  std::uint32_t retire = 0;
  std::uint32_t restart = 0;          // a restart of one or all, in so many looks
  std::uint32_t spares = 0;           // slots that are left to successors
  std::uint32_t retire_deadline = 0;  // 0: as long as they need

  // One in so many looks at the loop begins something new.
  std::uint32_t busy = 4;
  // Of 16 alerts: how many are small, fill a packet, need a few; the rest is large.
  std::uint32_t small = 8;
  std::uint32_t filling = 3;
  std::uint32_t few = 3;
  std::uint32_t large_bytes_max = 60000;
  std::uint32_t barrier = 12;  // one in so many things that begin
  // Ordered events: one in so many things that begin is one; 0: the family has no events.
  std::uint32_t publish = 0;
  std::uint64_t places = 16384;          // of the ring
  std::uint64_t patience = 0;            // with receivers whose pipes are full
  std::uint64_t held_bytes_max = ~0ULL;  // of events that wait in a process
  std::uint32_t chatty = 8;              // one in so many alerts is replied to
};

Plan MakePlan(std::uint64_t seed, Canary canary);

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_PLAN_H_
