// SPDX-License-Identifier: Apache-2.0
//
// The life of one slot, as the master drives it: a state machine that names one step at a time, so
// that a step is one system call (or one store) and a simulator can crash anybody between two of
// them. The order of the steps is the promise: any other loses or misdelivers (docs/design.md).
//
//   start:   kPublishStarting -> kFork -> kPublishUp -> kTellJoined
//   death:   kPublishDown -> kReap -> kDrain -> kTellDied
//   no fork: kPublishDown -> kDrain -> kTellDied        (the generation is spent: others may have
//   sent to it)
#ifndef ALERTPIPE_CORE_SLOT_LIFE_H_
#define ALERTPIPE_CORE_SLOT_LIFE_H_

#include <cstdint>

#include "core/roster.h"

namespace alertpipe::core {

class SlotLife {
 public:
  enum class Step : std::uint8_t {
    kNone,             // nothing to do until an input comes
    kPublishStarting,  // store word() in the roster
    kFork,             // then Forked or ForkFailed instead of Done
    kPublishUp,        // store word()
    kTellJoined,       // put a joined notice up for everybody
    kPublishDown,      // store word()
    kReap,             // wait for the process: from here on its pid may be reused
    kDrain,            // one read of the pipe's capacity + 4096 bytes, then archive the counters
    kTellDied,         // put a death notice up for everybody
  };

  Step step() const { return step_; }
  RosterWord word() const { return word_; }
  bool idle() const { return step_ == Step::kNone && !word_.lives(); }
  bool running() const { return step_ == Step::kNone && word_.lives(); }

  // Inputs. Start needs idle(), Died needs running(): the process has ended but has not been
  // reaped.
  void Start();
  void Died();
  void Forked(std::uint32_t pid);
  void ForkFailed();
  // The step was carried out.
  void Done();

 private:
  RosterWord word_;
  Step step_ = Step::kNone;
  bool forked_ = false;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_SLOT_LIFE_H_
