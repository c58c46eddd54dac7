// SPDX-License-Identifier: Apache-2.0
#include "listener.h"

#include <cstring>
#include <string>

namespace alertpipe::soak {

// Null when nothing can come from that sender any more.
Heard* Listener::HalfOf(const Peer& sender) {
  Heard& half = ledger_->HeardBy(self_, sender);
  const std::uint64_t key = KeyOf(sender.generation, self_.generation);
  const std::uint64_t found = half.key.Get();
  if (found == key) return &half;
  if (found == (key | kClosed)) {
    ledger_->Complain(Violation::kInvented, Name(sender) +
                                                ": heard when the sender was dead and "
                                                "everybody had said so");
    return nullptr;
  }
  if (found != 0 && (found & kClosed) == 0)
    ledger_->Complain(Violation::kBroken, Name(sender) + ": the ring is too small");
  for (Word* word : {&half.last, &half.missing, &half.gap_begin, &half.gap_end}) word->Set(0);
  half.key.Set(key);
  return &half;
}

std::string Listener::Name(const Peer& sender) const {
  return std::to_string(sender.slot) + "." + std::to_string(sender.generation) + " to " +
         std::to_string(self_.slot) + "." + std::to_string(self_.generation);
}

void Listener::Hear(const Peer& sender, std::string_view data) {
  ++heard_;
  place_->delivered.Add();
  place_->delivered_bytes.Add(data.size());
  Stamp stamp;
  const bool whole = Unseal(data, &stamp);
  if (whole && (!stamp.to(self_) || !stamp.from(sender))) {
    ledger_->Complain(Violation::kMisdelivered, Name(sender) + " heard what is stamped " +
                                                    std::to_string(stamp.from_slot) + "." +
                                                    std::to_string(stamp.from_generation) + " to " +
                                                    std::to_string(stamp.to_slot) + "." +
                                                    std::to_string(stamp.to_generation));
    return;
  }
  Heard* half = HalfOf(sender);
  if (half == nullptr) return;
  if (!whole) {
    // It stands for the one that was due.
    half->last.Add();
    ledger_->Complain(Violation::kTorn, Name(sender) + " number " +
                                            std::to_string(half->last.Get()) + ", " +
                                            std::to_string(data.size()) + " bytes");
    return;
  }
  if (stamp.number == half->last.Get() + 1) {
    half->last.Set(stamp.number);
  } else {
    OutOfTurn(stamp, half);
  }
  if (stamp.kind == StampKind::kQuiet && sender.is_master())
    std::memcpy(&quiet_, data.data() + sizeof stamp, sizeof quiet_);
}

// A number that is too high leaves a hole, which is lost unless it is filled later.
void Listener::OutOfTurn(const Stamp& stamp, Heard* half) {
  const std::uint64_t last = half->last.Get();
  if (stamp.number > last) {
    half->missing.Add(stamp.number - last - 1);
    half->gap_begin.Set(last + 1);
    half->gap_end.Set(stamp.number);
    half->last.Set(stamp.number);
    return;
  }
  const bool in_gap = half->missing.Get() > 0 && stamp.number >= half->gap_begin.Get() &&
                      stamp.number < half->gap_end.Get();
  const Peer sender = {0, stamp.from_slot, stamp.from_generation};
  ledger_->Complain(
      in_gap ? Violation::kReordered : Violation::kDuplicated,
      Name(sender) + " number " + std::to_string(stamp.number) + " after " + std::to_string(last));
  if (in_gap) half->missing.Set(half->missing.Get() - 1);
}

}  // namespace alertpipe::soak
