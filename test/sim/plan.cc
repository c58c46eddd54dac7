// SPDX-License-Identifier: Apache-2.0
#include "sim/plan.h"

#include <alertpipe/limits.h>

#include "sim/contents.h"
#include "sim/random.h"

namespace alertpipe::sim {
namespace {

constexpr std::uint64_t kPage = 4096;

core::FamilySettings MakeSettings(Random* random) {
  core::FamilySettings settings;
  settings.slots = static_cast<std::uint32_t>(random->Pick(3, 7));
  settings.runs = random->Below(2);
  constexpr std::uint64_t kPages[] = {1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 16, 16, 16, 16, 16, 256};
  settings.pipe_capacity = kPages[random->Below(16)] * kPage;
  settings.alert_bytes_max =
      random->Chance(8) ? static_cast<std::uint64_t>(random->Pick(3000, 30000)) : kDataBytesMax;
  settings.reassembly_bytes_max = random->Chance(3)
                                      ? static_cast<std::uint64_t>(random->Pick(5000, 60000))
                                      : std::uint64_t{1} << 30;
  settings.queued_bytes_per_peer_max = static_cast<std::uint64_t>(random->Pick(9000, 200000));
  settings.queued_bytes_max = static_cast<std::uint64_t>(random->Pick(17000, 400000));
  return settings;
}

}  // namespace

Plan MakePlan(std::uint64_t seed, Canary canary) {
  Random random(seed ^ 0xA1E27F1FE);
  const auto sometimes = [&random](std::uint32_t one_in, int from, int to) {
    return random.Chance(one_in) ? static_cast<std::uint32_t>(random.Pick(from, to)) : 0;
  };
  Plan plan;
  plan.seed = seed;
  plan.canary = canary;
  plan.settings = MakeSettings(&random);
  plan.steps = static_cast<std::uint32_t>(random.Pick(1000, 12000));
  plan.attached = !random.Chance(8);
  plan.attaches_late = !plan.attached && random.Chance(2);
  plan.alerts_per_turn = static_cast<std::uint32_t>(random.Pick(1, 40));
  if (random.Chance(3)) plan.slow_slot = random.Pick(0, static_cast<int>(plan.settings.slots) - 1);
  if (!random.Chance(6)) plan.crash = static_cast<std::uint32_t>(random.Pick(20, 200));
  plan.leave = sometimes(4, 300, 2000);
  plan.stop = sometimes(3, 50, 500);
  plan.master_crash = sometimes(6, 500, 6000);
  plan.garbage = sometimes(8, 50, 2000);
  plan.eagain = sometimes(3, 4, 60);
  plan.eintr = sometimes(6, 4, 60);
  plan.enomem = sometimes(6, 20, 200);
  plan.lost_wakeup = sometimes(3, 2, 30);
  plan.fork_fails = sometimes(3, 2, 20);
  plan.own_fork = sometimes(4, 1, 4);
  plan.refuse_memory = sometimes(4, 5, 200);
  if (!random.Chance(3)) plan.retire = static_cast<std::uint32_t>(random.Pick(5, 200));
  plan.restart = sometimes(2, 5, 200);
  if (plan.restart != 0) plan.spares = 1 + random.Below(2);
  plan.retire_deadline = sometimes(2, 50, 2000);
  plan.barrier = static_cast<std::uint32_t>(random.Pick(4, 40));
  plan.busy = static_cast<std::uint32_t>(random.Pick(1, 8));
  switch (random.Below(4)) {
    case 0:  // many small ones
      plan.small = 15;
      plan.filling = 1;
      plan.few = 0;
      break;
    case 1:  // the life of slots rather than traffic
      plan.small = 13;
      plan.filling = 1;
      plan.few = 2;
      plan.large_bytes_max = 20000;
      break;
    case 2:
      break;
    default:
      plan.small = 6;
      plan.large_bytes_max = random.Chance(4) ? Contents::kDataBytesMax : 60000;
      break;
  }
  plan.chatty = static_cast<std::uint32_t>(random.Pick(2, 16));
  plan.linger = sometimes(3, 1, 4);
  // Handlers that run late would be found by events before any barrier shows them.
  if (random.Chance(4) || canary == Canary::kEarlyBarrier) return plan;
  plan.publish = static_cast<std::uint32_t>(random.Pick(2, 10));
  constexpr std::uint64_t kPlaces[] = {8, 16, 32};
  if (random.Chance(3)) {  // hardly anything else
    plan.publish = 1;
    plan.busy = static_cast<std::uint32_t>(random.Pick(3, 12));
  }
  if (random.Chance(3)) plan.places = kPlaces[random.Below(3)];
  plan.patience = random.Chance(6) ? 0 : static_cast<std::uint64_t>(random.Pick(10, 1000));
  if (random.Chance(4)) plan.held_bytes_max = static_cast<std::uint64_t>(random.Pick(10000, 40000));
  return plan;
}

}  // namespace alertpipe::sim
