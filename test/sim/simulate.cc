// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "sim/ledger.h"
#include "sim/plan.h"
#include "sim/world.h"

namespace alertpipe::sim {

Verdict Simulate(const SeedRun& run, Census* census) {
  Plan plan = MakePlan(run.seed, run.canary);
  if (run.steps != 0) plan.steps = run.steps;
  plan.real_pipes = run.real_pipes;
  Verdict verdict;
  try {
    World world(plan, census, run.trace);
    verdict.digest = world.Run();
  } catch (const Violation& violation) {
    verdict.violation = violation.what();
  }
  return verdict;
}

}  // namespace alertpipe::sim
