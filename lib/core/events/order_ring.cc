// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_ring.h"

namespace alertpipe::core {

OrderRing::Place OrderRing::Look(std::uint64_t place, OrderWord* word) const {
  *word = OrderWord::Unpack(At(place).load(std::memory_order_acquire));
  // After the word: who writes it for the next lap has seen the tail there before.
  const std::uint64_t end = tail();
  if (end < place || end - place >= places_) return Place::kOverrun;
  if (word->lap == LapOf(place)) return Place::kTaken;
  return end > place ? Place::kOverrun : Place::kFree;
}

bool OrderRing::Step(Claim* claim) {
  using Step = Claim::Step;
  std::uint64_t expected = claim->place;
  switch (claim->step) {
    case Step::kTail:
      claim->place = tail();
      claim->step = Step::kLook;
      break;
    case Step::kLook:
      claim->found = At(claim->place).load(std::memory_order_acquire);
      claim->taken = OrderWord::Unpack(claim->found).lap == LapOf(claim->place);
      claim->step = Step::kCheck;
      break;
    case Step::kCheck:
      // Stopped in between, it may have looked at the place of any lap.
      claim->step = claim->taken ? Step::kMove : Step::kSwap;
      if (tail() != claim->place) claim->step = Step::kTail;
      break;
    case Step::kSwap:
      claim->word.lap = LapOf(claim->place);
      claim->step = At(claim->place)
                            .compare_exchange_strong(claim->found, claim->word.Pack(),
                                                     std::memory_order_acq_rel)
                        ? Step::kMove
                        : Step::kTail;
      break;
    case Step::kMove:
      memory_->tail.compare_exchange_strong(expected, claim->place + 1, std::memory_order_acq_rel);
      claim->step = claim->taken ? Step::kTail : Step::kDone;
      break;
    case Step::kDone:
      break;
  }
  return claim->step != Step::kDone;
}

std::uint64_t OrderRing::Settle() {
  // At most one place is taken and not passed by the tail: who claims the next has moved it.
  std::uint64_t end = tail();
  if (OrderWord::Unpack(At(end).load(std::memory_order_acquire)).lap == LapOf(end)) {
    memory_->tail.compare_exchange_strong(end, end + 1, std::memory_order_acq_rel);
  }
  return tail();
}

}  // namespace alertpipe::core
