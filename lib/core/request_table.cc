// SPDX-License-Identifier: Apache-2.0
#include "core/request_table.h"

#include <utility>

namespace alertpipe::core {
namespace {

std::uint64_t IdOf(std::uint32_t at, std::uint32_t serial) {
  return (static_cast<std::uint64_t>(serial) << 32) | at;
}
std::uint32_t PlaceOf(std::uint64_t id) { return static_cast<std::uint32_t>(id); }
std::uint32_t SerialOf(std::uint64_t id) { return static_cast<std::uint32_t>(id >> 32); }

}  // namespace

std::uint64_t RequestTable::Add(const Peer& peer, std::uint64_t deadline,
                                ResponseCallback callback) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_.emplace_back();
  }
  const std::uint32_t at = free_.back();
  free_.pop_back();
  Entry& entry = entries_[at];
  entry.peer = peer;
  entry.alert_id = 0;
  entry.deadline = deadline;
  entry.callback = std::move(callback);
  entry.used = true;
  const auto slot = static_cast<std::size_t>(peer.slot);
  if (slot >= counts_.size()) counts_.resize(slot + 1);
  ++counts_[slot];
  return IdOf(at, entry.serial);
}

void RequestTable::Open(std::uint64_t id, std::uint64_t alert_id) {
  const std::uint32_t at = PlaceOf(id);
  Entry& entry = entries_[at];
  entry.alert_id = alert_id;
  entry.open = true;
  if (entry.deadline == kNever) return;
  by_deadline_.push_back(at);
  SiftUp(by_deadline_.size() - 1, at);
}

const RequestTable::Entry* RequestTable::Find(std::uint64_t id) const {
  if (PlaceOf(id) >= entries_.size()) return nullptr;
  const Entry& entry = entries_[PlaceOf(id)];
  return entry.used && entry.serial == SerialOf(id) ? &entry : nullptr;
}

bool RequestTable::IsOpen(std::uint64_t id, const Peer& peer) const {
  const Entry* entry = Find(id);
  return entry != nullptr && entry->open && entry->peer == peer;
}

bool RequestTable::IsOpen(std::uint64_t id, const Peer& peer, std::uint64_t alert_id) const {
  return IsOpen(id, peer) && Find(id)->alert_id == alert_id;
}

ResponseCallback RequestTable::Take(std::uint64_t id) { return Release(PlaceOf(id)); }

ResponseCallback RequestTable::Release(std::uint32_t at) {
  Entry& entry = entries_[at];
  if (entry.open) HeapRemove(at);
  entry.used = entry.open = false;
  if (++entry.serial == 0) entry.serial = 1;
  --counts_[static_cast<std::size_t>(entry.peer.slot)];
  free_.push_back(at);
  return std::exchange(entry.callback, nullptr);
}

bool RequestTable::Decide(std::uint64_t id, ResponseOutcome outcome) {
  const Entry* entry = Find(id);
  if (entry == nullptr || !entry->open) return false;
  DecideAt(PlaceOf(id), outcome);
  return true;
}

void RequestTable::DecideAt(std::uint32_t at, ResponseOutcome outcome) {
  HeapRemove(at);
  entries_[at].open = false;
  decided_.push_back({at, outcome});
}

void RequestTable::DecidePeer(int slot, std::uint32_t generation, ResponseOutcome outcome) {
  if (count(slot) == 0) return;
  for (std::uint32_t at = 0; at < entries_.size(); ++at) {
    const Entry& entry = entries_[at];
    if (entry.open && entry.peer.slot == slot && entry.peer.generation <= generation)
      DecideAt(at, outcome);
  }
}

void RequestTable::DecideAll(ResponseOutcome outcome) {
  for (std::uint32_t at = 0; at < entries_.size(); ++at) {
    if (entries_[at].open) DecideAt(at, outcome);
  }
}

void RequestTable::DecideExpired(std::uint64_t now) {
  while (next_deadline() <= now && !by_deadline_.empty())
    DecideAt(by_deadline_.front(), ResponseOutcome::kDeadline);
}

bool RequestTable::NextEnded(EndedRequest* ended) {
  if (decided_.empty()) return false;
  const Decided decided = decided_.front();
  decided_.pop_front();
  ended->id = IdOf(decided.at, entries_[decided.at].serial);
  ended->peer = entries_[decided.at].peer;
  ended->outcome = decided.outcome;
  ended->callback = Release(decided.at);
  return true;
}

std::uint64_t RequestTable::next_deadline() const {
  return by_deadline_.empty() ? kNever : entries_[by_deadline_.front()].deadline;
}

std::size_t RequestTable::count(int slot) const {
  const auto at = static_cast<std::size_t>(slot);
  return at < counts_.size() ? counts_[at] : 0;
}

// ---- The heap ----

void RequestTable::Place(std::size_t heap_at, std::uint32_t at) {
  by_deadline_[heap_at] = at;
  entries_[at].heap_at = static_cast<std::uint32_t>(heap_at);
}

void RequestTable::SiftUp(std::size_t heap_at, std::uint32_t at) {
  while (heap_at > 0) {
    const std::size_t parent = (heap_at - 1) / 2;
    if (!Earlier(at, by_deadline_[parent])) break;
    Place(heap_at, by_deadline_[parent]);
    heap_at = parent;
  }
  Place(heap_at, at);
}

void RequestTable::SiftDown(std::size_t heap_at, std::uint32_t at) {
  while (2 * heap_at + 1 < by_deadline_.size()) {
    std::size_t child = 2 * heap_at + 1;
    if (child + 1 < by_deadline_.size() && Earlier(by_deadline_[child + 1], by_deadline_[child]))
      ++child;
    if (!Earlier(by_deadline_[child], at)) break;
    Place(heap_at, by_deadline_[child]);
    heap_at = child;
  }
  Place(heap_at, at);
}

void RequestTable::HeapRemove(std::uint32_t at) {
  if (entries_[at].deadline == kNever) return;
  const std::size_t heap_at = entries_[at].heap_at;
  const std::uint32_t last = by_deadline_.back();
  by_deadline_.pop_back();
  if (last == at) return;
  // The last one takes its place, and goes up or down from there.
  if (heap_at > 0 && Earlier(last, by_deadline_[(heap_at - 1) / 2])) {
    SiftUp(heap_at, last);
  } else {
    SiftDown(heap_at, last);
  }
}

}  // namespace alertpipe::core
