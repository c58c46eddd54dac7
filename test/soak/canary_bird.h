// SPDX-License-Identifier: Apache-2.0
//
// Sits between the library and the listener of one worker and does one thing wrong, once: what the
// soak must notice, and call by its name.
#ifndef ALERTPIPE_TEST_SOAK_CANARY_BIRD_H_
#define ALERTPIPE_TEST_SOAK_CANARY_BIRD_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "listener.h"
#include "settings.h"
#include "stamp.h"

namespace alertpipe::soak {

class CanaryBird {
 public:
  explicit CanaryBird(Canary canary) : canary_(canary) {}

  void Hear(const Peer& sender, std::string_view data, Listener* listener);
  // Whether a worker that is being replaced is to end without draining.
  bool hasty() const { return canary_ == Canary::kHasty; }
  // At a quiet point, for those that grow.
  void Keep();

 private:
  void HearLate(const Peer& sender, const Stamp& stamp, Listener* listener);
  void Act(const Peer& sender, std::string_view data, Listener* listener);

  Canary canary_;
  bool done_ = false;
  std::string held_;  // of `holder_`, to come later
  Peer holder_;
  bool replaced_ = false;  // the holder's slot has somebody else
  int quiets_ = 0;         // since then
  std::vector<std::string> kept_;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_CANARY_BIRD_H_
