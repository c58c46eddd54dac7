// SPDX-License-Identifier: Apache-2.0
#include "core/barrier_table.h"

#include <algorithm>
#include <utility>

#include <absl/strings/str_cat.h>

#include "core/request_table.h"

namespace alertpipe::core {

std::uint64_t BarrierTable::Add(const std::vector<Peer>& peers, std::uint64_t deadline,
                                BarrierCallback callback) {
  Entry entry;
  entry.id = ++last_id_;
  entry.deadline = deadline;
  entry.callback = std::move(callback);
  entry.waiting.resize(slots_);
  for (const Peer& peer : peers) entry.waiting[static_cast<std::size_t>(peer.slot)] = peer;
  entry.left = peers.size();
  EndIfDone(&entry);
  open_.push_back(std::move(entry));
  Sweep();
  return last_id_;
}

bool BarrierTable::IsOpen(std::uint64_t id) const {
  return std::any_of(open_.begin(), open_.end(),
                     [&](const Entry& entry) { return entry.id == id; });
}

bool BarrierTable::WaitsFor(int slot) const {
  return std::any_of(open_.begin(), open_.end(), [&](const Entry& entry) {
    return entry.waiting[static_cast<std::size_t>(slot)].generation != 0;
  });
}

void BarrierTable::Acknowledged(const Peer& peer, std::uint64_t id) {
  for (Entry& entry : open_) {
    if (entry.id > id) break;
    Peer& waiting = entry.waiting[static_cast<std::size_t>(peer.slot)];
    if (waiting.generation != peer.generation) continue;
    waiting = Peer();
    --entry.left;
    EndIfDone(&entry);
  }
  Sweep();
}

void BarrierTable::PeerDied(int slot, std::uint32_t generation) {
  for (Entry& entry : open_) {
    Peer& waiting = entry.waiting[static_cast<std::size_t>(slot)];
    if (waiting.generation == 0 || waiting.generation > generation) continue;
    entry.died.push_back(std::exchange(waiting, Peer()));
    --entry.left;
    EndIfDone(&entry);
  }
  Sweep();
}

void BarrierTable::DecideExpired(std::uint64_t now) {
  for (Entry& entry : open_) {
    if (entry.deadline > now) continue;
    End(&entry, absl::DeadlineExceededError(absl::StrCat(
                    entry.left, " of those that the barrier asked have not acknowledged it")));
  }
  Sweep();
}

void BarrierTable::DecideAll() {
  for (Entry& entry : open_)
    End(&entry, absl::CancelledError("the endpoint was closed before the barrier ended"));
  open_.clear();
}

std::uint64_t BarrierTable::next_deadline() const {
  std::uint64_t next = kNever;
  for (const Entry& entry : open_) next = std::min(next, entry.deadline);
  return next;
}

void BarrierTable::Sweep() {
  open_.erase(
      std::remove_if(open_.begin(), open_.end(), [](const Entry& entry) { return entry.ended; }),
      open_.end());
}

void BarrierTable::EndIfDone(Entry* entry) {
  if (entry->left == 0) End(entry, absl::OkStatus());
}

void BarrierTable::End(Entry* entry, absl::Status status) {
  EndedBarrier ended;
  ended.callback = std::exchange(entry->callback, nullptr);
  ended.report.status = std::move(status);
  for (const Peer& peer : entry->waiting) {
    if (peer.generation != 0) ended.report.missing.push_back(peer);
  }
  ended.report.died = std::move(entry->died);
  entry->ended = true;
  if (ended.callback) ended_.push_back(std::move(ended));
}

bool BarrierTable::NextEnded(EndedBarrier* ended) {
  if (ended_.empty()) return false;
  *ended = std::move(ended_.front());
  ended_.pop_front();
  return true;
}

}  // namespace alertpipe::core
