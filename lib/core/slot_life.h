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
//
// One that runs can be retired, in favour of a successor in another slot or of nobody. It still
// runs then, and ends by itself once nobody has anything for it any more: nobody begins to send to
// it before it is told, so what it asks the others for afterwards is their last. One that takes too
// long is killed; its death comes as any other does, later or in the midst.
//
//   retire:  kPublishDraining -> kTellDraining, then running() and draining() until Died
//   kill:    kKill, then running() until Died
//
// A program that forks on its own reserves instead of starting. The fork, and the reaping, are then
// not among the steps: the machine waits for Forked or ForkFailed, and Died says that the process
// is gone.
//
//   reserve: kPublishStarting, then reserved() until Forked (kPublishUp -> kTellJoined) or
//            ForkFailed (kPublishDown -> kDrain -> kTellDied)
//   death:   kPublishDown -> kDrain -> kTellDied
//   retire:  as above. It is never killed: whose process it is alone may do that.
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
    kPublishDraining,  // store successor() in the roster, then word()
    kTellDraining,     // put a notice up for this worker alone
    kKill,             // send SIGKILL to the process, which has not been reaped
    kPublishDown,      // store word()
    kReap,             // wait for the process: from here on its pid may be reused
    kDrain,            // one read of the pipe's capacity + 4096 bytes; the counters are final
    kTellDied,         // put a death notice up for everybody
  };

  Step step() const { return step_; }
  RosterWord word() const { return word_; }
  bool idle() const { return step_ == Step::kNone && !word_.lives(); }
  bool running() const { return step_ == Step::kNone && word_.lives() && forked_; }
  // Announced, and nobody has said yet what became of the fork.
  bool reserved() const { return step_ == Step::kNone && word_.lives() && !forked_; }
  // Whether the incarnation that word() names, dead or alive, was a process at all, and whether it
  // was reserved for a process that is reaped by somebody else.
  bool forked() const { return forked_; }
  bool reaped_elsewhere() const { return reaped_elsewhere_; }
  // Whether it runs and has been retired, and in favour of which slot (0: none).
  bool draining() const { return word_.state == SlotState::kDraining; }
  int successor() const { return successor_; }

  // Inputs. Start and Reserve need idle(). Died needs running(): the process has ended, and has not
  // been reaped unless that is done elsewhere. Forked and ForkFailed need kFork or reserved().
  // Retire needs running(), once per life; Kill needs running() and a process that is reaped here.
  void Start();
  void Reserve();
  void Died();
  void Retire(int successor);
  void Kill();
  void Forked(std::uint32_t pid);
  void ForkFailed();
  // The step was carried out.
  void Done();

 private:
  void Announce(bool reaped_elsewhere);

  RosterWord word_;
  Step step_ = Step::kNone;
  int successor_ = 0;
  bool forked_ = false;
  bool reaped_elsewhere_ = false;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_SLOT_LIFE_H_
