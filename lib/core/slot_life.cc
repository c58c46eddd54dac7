// SPDX-License-Identifier: Apache-2.0
#include "core/slot_life.h"

#include "core/check.h"

namespace alertpipe::core {

void SlotLife::Start() { Announce(false); }

void SlotLife::Reserve() { Announce(true); }

void SlotLife::Announce(bool reaped_elsewhere) {
  ALERTPIPE_CHECK(idle(), "a slot was started while it was in use");
  // The pipe was drained when the last worker died, so the word that is published here names a
  // generation whose alerts alone can be in it, late packets for earlier ones aside: those are told
  // by their destination generation.
  word_.generation += 1;
  word_.pid = 0;
  word_.state = SlotState::kStarting;
  successor_ = 0;
  forked_ = false;
  reaped_elsewhere_ = reaped_elsewhere;
  step_ = Step::kPublishStarting;
}

void SlotLife::Died() {
  ALERTPIPE_CHECK(running(), "the death of a slot that does not run");
  word_.state = SlotState::kDown;
  step_ = Step::kPublishDown;
}

void SlotLife::Retire(int successor) {
  ALERTPIPE_CHECK(running() && !draining(), "a slot was retired that does not run, or twice");
  successor_ = successor;
  word_.state = SlotState::kDraining;
  step_ = Step::kPublishDraining;
}

void SlotLife::Kill() {
  ALERTPIPE_CHECK(running() && !reaped_elsewhere_, "a process was to be killed that is not ours");
  step_ = Step::kKill;
}

void SlotLife::Forked(std::uint32_t pid) {
  ALERTPIPE_CHECK(step_ == Step::kFork || reserved(), "Forked out of turn");
  word_.pid = pid;
  word_.state = SlotState::kUp;
  forked_ = true;
  step_ = Step::kPublishUp;
}

void SlotLife::ForkFailed() {
  ALERTPIPE_CHECK(step_ == Step::kFork || reserved(), "ForkFailed out of turn");
  word_.state = SlotState::kDown;
  step_ = Step::kPublishDown;
}

void SlotLife::Done() {
  switch (step_) {
    case Step::kPublishStarting:
      step_ = reaped_elsewhere_ ? Step::kNone : Step::kFork;
      return;
    case Step::kPublishUp:
      step_ = Step::kTellJoined;
      return;
    case Step::kPublishDraining:
      step_ = Step::kTellDraining;
      return;
    case Step::kPublishDown:
      step_ = forked_ && !reaped_elsewhere_ ? Step::kReap : Step::kDrain;
      return;
    case Step::kReap:
      step_ = Step::kDrain;
      return;
    case Step::kDrain:
      step_ = Step::kTellDied;
      return;
    case Step::kTellJoined:
    case Step::kTellDraining:
    case Step::kKill:
    case Step::kTellDied:
      step_ = Step::kNone;
      return;
    case Step::kNone:
    case Step::kFork:
      break;
  }
  ALERTPIPE_CHECK(false, "Done without a step");
}

}  // namespace alertpipe::core
