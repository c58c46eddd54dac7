// SPDX-License-Identifier: Apache-2.0
//
// What the master has to tell is state: it is in the roster before the notice is sent, and the
// notice only says when it may be acted upon, which is when everything that the dead have written
// has been read. Bytes without framing can cost a notice, since all that was read with them goes.
// So when framing was lost, the roster is looked at, and what it says is acted upon once the pipe
// has been found empty afterwards: the dead of that look can have written nothing since.
#include "core/endpoint.h"

namespace alertpipe::core {

// All that was read has been handed out.
void Endpoint::StepRecheck() {
  if (wants_read() && inbox_->reads() > recheck_reads_ && inbox_->found_empty()) Recheck();
  if (!recheck_wanted_) return;
  recheck_wanted_ = false;
  recheck_words_.clear();
  for (int slot = 0; slot < roster_.slots(); ++slot) recheck_words_.push_back(roster_.Get(slot));
  recheck_reads_ = inbox_->reads();
}

void Endpoint::Recheck() {
  for (int slot = 1; slot < roster_.slots(); ++slot) {
    const RosterWord& word = recheck_words_[Index(slot)];
    const RosterWord now = roster_.Get(slot);
    const bool started = now.lives() && now.generation == word.generation && word.pid != 0 &&
                         !Gone(slot, now);  // what the master does not know any more
    if (word.state == SlotState::kDown) PeerDied(slot, word.generation);
    if (word.lives() && word.generation > 1) PeerDied(slot, word.generation - 1);
    if (started && slot != self_.slot) PeerJoined(slot, word.generation, word.pid);
  }
  const RosterWord& own = recheck_words_[Index(self_.slot)];
  if (own.state == SlotState::kDraining && own.generation == self_.generation)
    TellDraining(roster_.successor(self_.slot));
  recheck_words_.clear();
}

}  // namespace alertpipe::core
