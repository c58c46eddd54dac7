// SPDX-License-Identifier: Apache-2.0
#include "receiver.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace alertpipe::event_soak {
namespace {

// Long enough for everybody to be under way.
constexpr std::uint64_t kActAfter = 2000;

void Append(const Entry& entry, Log* log, Books* books) {
  const std::uint64_t size = log->size.Get();
  if (size == kLogMax) return books->Complain(Violation::kBroken, "the log is too small");
  log->entries[size].Set(entry.Pack());
  log->size.Set(size + 1);
}

}  // namespace

Receiver::Receiver(const Peer& self, Books* books, Canary canary)
    : self_(self),
      books_(books),
      place_(&books->places[self.slot]),
      log_(&books->logs[self.slot]),
      canary_(canary) {
  Append({Entry::kBegins, self.generation, 0}, log_, books_);
}

Heard& Receiver::HeardOf(const Peer& publisher) {
  Heard& heard = books_->HeardBy(self_, publisher);
  const std::uint64_t key = KeyOf(publisher, self_);
  if (heard.key.Get() == key) return heard;
  if (heard.key.Get() != 0) books_->Complain(Violation::kBroken, "the ring is too small");
  heard.key.Set(key);
  return heard;
}

bool Receiver::Fits(const Event& event, const Stamp& stamp) const {
  const auto wrong = [&](Violation violation, const std::string& text) {
    books_->Complain(violation, Name(event.publisher) + " to " + Name(self_) + " number " +
                                    std::to_string(stamp.number) + ": " + text);
    return false;
  };
  if (!stamp.from(event.publisher) || event.name != NameOf(stamp.kind) || event.replayed)
    return wrong(Violation::kMisdelivered, "another one's, or another event");
  if (stamp.round != books_->round.Get())
    return wrong(Violation::kDuplicated, "of round " + std::to_string(stamp.round));
  if ((stamp.kind == Kind::kOrdered) != (event.place != 0))
    return wrong(Violation::kBroken, "its place is " + std::to_string(event.place));
  return true;
}

void Receiver::Hear(const Event& event) {
  ++heard_;
  Stamp stamp;
  if (!Unseal(event.data, &stamp)) {
    return books_->Complain(Violation::kTorn, Name(event.publisher) + " to " + Name(self_) + ", " +
                                                  std::to_string(event.data.size()) + " bytes");
  }
  if (!Fits(event, stamp)) return;
  if (event.place != 0 && event.place < last_place_)
    books_->Complain(Violation::kBroken, Name(self_) + ": the places go back");
  last_place_ = std::max(last_place_, event.place);
  if (canary_ == Canary::kNone || !Act(event, stamp)) Hear(event.publisher, stamp);
}

void Receiver::Hear(const Peer& publisher, const Stamp& stamp) {
  Heard& heard = HeardOf(publisher);
  const std::uint64_t last = heard.last.Get();
  if (stamp.number <= last) {
    return books_->Complain(stamp.number == last ? Violation::kDuplicated : Violation::kReordered,
                            Name(publisher) + " to " + Name(self_) + " number " +
                                std::to_string(stamp.number) + " after " + std::to_string(last));
  }
  heard.last.Set(stamp.number);
  heard.heard[static_cast<std::size_t>(stamp.kind)].Add();
  if (stamp.kind == Kind::kValue) heard.values[stamp.key % kKeys].Set(stamp.number);
  if (stamp.kind != Kind::kOrdered) return;
  Append({publisher.slot, publisher.generation & 0xffffff, stamp.number}, log_, books_);
  if (publisher != self_) place_->fresh_ns.Set(std::max(place_->fresh_ns.Get(), stamp.time_ns));
}

void Receiver::HearGap(const Gap& gap) {
  for (int kind = 0; kind < kKinds; ++kind) {
    if (gap.name != NameOf(static_cast<Kind>(kind))) continue;
    const bool forgets = canary_ == Canary::kGap && heard_ >= kActAfter;
    if (forgets) canary_ = Canary::kNone;
    HeardOf(gap.publisher).told[static_cast<std::size_t>(kind)].Add(gap.count - (forgets ? 1 : 0));
    return;
  }
  books_->Complain(Violation::kBroken,
                   Name(gap.publisher) + " to " + Name(self_) + ": a gap of no known name");
}

void Receiver::HearRace(const Event& event) {
  std::uint64_t key = kRacesMax;
  if (event.data.size() == sizeof key) std::memcpy(&key, event.data.data(), sizeof key);
  if (key >= kRacesMax) return books_->Complain(Violation::kTorn, "a unique event");
  books_->races[key].heard.AddShared();
  if (canary_ == Canary::kUnique) books_->races[key].heard.AddShared();
  if (canary_ == Canary::kUnique) canary_ = Canary::kNone;
}

void Receiver::Release() {
  if (holder_.slot >= 0) Hear(std::exchange(holder_, Peer()), held_);
}

// Does what the canary is there for. False: this event is an ordinary one.
bool Receiver::Act(const Event& event, const Stamp& stamp) {
  // Not two of one publisher: their numbers would show it.
  if (holder_ == event.publisher) Release();
  if (heard_ < kActAfter || stamp.kind != Kind::kOrdered) return false;
  switch (canary_) {
    case Canary::kSwap:
      if (holder_.slot >= 0) {
        Hear(event.publisher, stamp);
        Release();
        return true;
      }
      // Again and again: others need not have both.
      holder_ = event.publisher;
      held_ = stamp;
      return true;
    case Canary::kLose:
      canary_ = Canary::kNone;
      return true;
    case Canary::kDuplicate:
      canary_ = Canary::kNone;
      Hear(event.publisher, stamp);
      return false;
    case Canary::kHang:
      for (;;) pause();
    case Canary::kDie:
      _exit(3);
    case Canary::kNone:
    case Canary::kGap:
    case Canary::kUnique:
      return false;
  }
  return false;
}

}  // namespace alertpipe::event_soak
