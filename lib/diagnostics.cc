// SPDX-License-Identifier: Apache-2.0
#include "diagnostics.h"

namespace alertpipe {
namespace {

struct Words {
  std::string_view name;
  std::string_view text;
};

Words WordsFor(Diagnostic::Kind kind) {
  switch (kind) {
    case Diagnostic::Kind::kDamagedFraming:
      return {"damaged framing", "bytes that are no packet were discarded"};
    case Diagnostic::Kind::kDamagedPacket:
      return {"damaged packet", "a packet that makes no sense was discarded"};
    case Diagnostic::Kind::kDamagedRecord:
      return {"damaged record", "a record that makes no sense was discarded"};
    case Diagnostic::Kind::kRejectedFull:
      return {"rejected, full",
              "an alert was rejected: the budget for incomplete alerts is used up"};
    case Diagnostic::Kind::kRejectedMemory:
      return {"rejected, no memory", "an alert was rejected: there is no memory for it"};
    case Diagnostic::Kind::kRejectsDropped:
      return {"rejects dropped", "notices of rejected alerts found no room"};
    case Diagnostic::Kind::kRefusedFull:
      return {"refused, full", "an alert was refused: a queue is full"};
    case Diagnostic::Kind::kRefusedMemory:
      return {"refused, no memory", "an alert was refused: there is no memory for it"};
    case Diagnostic::Kind::kUnhandled:
      return {"unhandled", "an alert has no handler"};
    case Diagnostic::Kind::kHandlerThrew:
      return {"handler threw", "a handler threw an exception"};
    case Diagnostic::Kind::kWriteFailed:
      return {"write failed", "a pipe could not be written"};
    case Diagnostic::Kind::kReadFailed:
      return {"read failed", "the own pipe could not be read"};
    case Diagnostic::Kind::kPollFailed:
      return {"poll failed", "the loop cannot wait for a pipe"};
    case Diagnostic::Kind::kPipeSmall:
      return {"pipe small", "a pipe got less capacity than was asked for"};
    case Diagnostic::Kind::kNonblockRestored:
      return {"O_NONBLOCK restored", "somebody cleared O_NONBLOCK of a pipe"};
    case Diagnostic::Kind::kStale:
      return {"stale", "alerts for an earlier generation were discarded"};
    case Diagnostic::Kind::kDrained:
      return {"drained", "unread alerts were discarded with a dead worker's pipe"};
    case Diagnostic::Kind::kKilled:
      return {"killed", "a worker was killed at the deadline of its replacement"};
  }
  return {"unknown", "unknown"};
}

}  // namespace

std::string_view ToString(Diagnostic::Kind kind) { return WordsFor(kind).name; }

namespace internal {

Diagnostic& Diagnostics::Note(Diagnostic::Kind kind, const Peer& peer, std::uint64_t count,
                              std::string_view name) {
  Place& place = places_[static_cast<std::size_t>(kind)];
  place.count += count;
  place.latest = Diagnostic();
  place.latest.kind = kind;
  place.latest.peer = peer;
  place.name.Set(name);
  if (!place.due && !(place.told && clock_() - place.told_at < kIntervalNs)) {
    place.due = true;
    due_ = true;
  }
  return place.latest;
}

bool Diagnostics::Take(Diagnostic::Kind kind, bool all, Diagnostic* report) {
  Place& place = places_[static_cast<std::size_t>(kind)];
  if (place.count == 0 || !(place.due || all)) return false;
  taken_name_ = place.name;
  *report = place.latest;
  report->count = place.count;
  report->name = taken_name_.view();
  report->text = WordsFor(kind).text;
  place.count = 0;
  place.due = false;
  place.told = true;
  place.told_at = clock_();
  due_ = false;
  for (const Place& other : places_) due_ = due_ || other.due;
  return true;
}

}  // namespace internal
}  // namespace alertpipe
