// SPDX-License-Identifier: Apache-2.0
#include "canary_bird.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "stamp.h"

namespace alertpipe::soak {
namespace {

// Long enough for every pair to be under way.
constexpr std::uint64_t kActAfter = 2000;
constexpr std::size_t kKeptBytes = 100000;

}  // namespace

void CanaryBird::Hear(const Peer& sender, std::string_view data, Listener* listener) {
  if (canary_ == Canary::kNone) return listener->Hear(sender, data);
  Stamp stamp;
  std::memcpy(&stamp, data.data(), sizeof stamp);
  if (canary_ == Canary::kLate && !held_.empty()) {
    listener->Hear(sender, data);
    return HearLate(sender, stamp, listener);
  }
  if (!held_.empty() && sender == holder_) {
    listener->Hear(sender, data);
    listener->Hear(holder_, held_);
    held_.clear();
    return;
  }
  // What was never sent has to come when nothing else does.
  const bool wanted = canary_ == Canary::kInvent
                          ? stamp.kind == StampKind::kQuiet
                          : stamp.kind == StampKind::kLoad && listener->heard() >= kActAfter &&
                                (canary_ != Canary::kLate || !LivesLong(sender.slot));
  if (done_ || !wanted) return listener->Hear(sender, data);
  done_ = true;
  Act(sender, data, listener);
}

void CanaryBird::HearLate(const Peer& sender, const Stamp& stamp, Listener* listener) {
  // The account is closed some time after a quiet point was announced.
  if (quiets_ >= 2 && stamp.kind == StampKind::kLoad) {
    listener->Hear(holder_, held_);
    held_.clear();
  }
  quiets_ += replaced_ && stamp.kind == StampKind::kQuiet;
  replaced_ = replaced_ || (sender.slot == holder_.slot && sender.generation > holder_.generation);
}

void CanaryBird::Act(const Peer& sender, std::string_view data, Listener* listener) {
  std::string changed(data);
  Stamp stamp;
  std::memcpy(&stamp, data.data(), sizeof stamp);
  switch (canary_) {
    case Canary::kDrop:
      return;
    case Canary::kLate:
      held_ = changed;
      holder_ = sender;
      break;
    case Canary::kReorder:
      held_ = changed;
      holder_ = sender;
      return;
    case Canary::kCorrupt:
      changed.back() = static_cast<char>(changed.back() ^ 4);
      return listener->Hear(sender, changed);
    case Canary::kHang:
      for (;;) pause();
    case Canary::kDie:
      _exit(3);
    case Canary::kDuplicate:
      listener->Hear(sender, data);
      break;
    case Canary::kMisdeliver:
      ++stamp.to_generation;
      Seal(stamp, changed.data(), changed.size());
      listener->Hear(sender, changed);
      break;
    case Canary::kInvent:
      listener->Hear(sender, data);
      ++stamp.number;
      stamp.kind = StampKind::kLoad;
      Seal(stamp, changed.data(), changed.size());
      return listener->Hear(sender, changed);
    case Canary::kNone:
    case Canary::kForget:
    case Canary::kHasty:
    case Canary::kLeak:
    case Canary::kDescriptor:
      break;
  }
  listener->Hear(sender, data);
}

void CanaryBird::Keep() {
  if (canary_ == Canary::kDescriptor) fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  if (canary_ == Canary::kLeak) kept_.emplace_back(kKeptBytes, 'x');
}

}  // namespace alertpipe::soak
