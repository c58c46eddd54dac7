// SPDX-License-Identifier: Apache-2.0
#include "core/slot_stats.h"

#include <alertpipe/limits.h>

#include <optional>

namespace alertpipe::core {
namespace {

// A slot changes hands at most once for a fork, and reading takes a microsecond. What keeps
// changing even so is left out.
constexpr int kAttemptsMax = 8;

Peer PeerOf(int slot, std::uint32_t generation, std::uint32_t pid) {
  return {static_cast<pid_t>(pid), slot, generation};
}

// The master has its figures whether it is attached to a loop or not.
bool HasLive(const RosterWord& word, int slot) {
  return word.generation != 0 && (word.lives() || slot == kMasterSlot);
}

std::optional<IncarnationStats> ReadArchived(const ArchivedCounters& archived, int slot) {
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const std::uint32_t generation = archived.generation.load(std::memory_order_acquire);
    const std::uint32_t pid = archived.pid.load(std::memory_order_acquire);
    const Stats stats = archived.Snapshot();
    if (generation != archived.generation.load(std::memory_order_acquire)) continue;
    if (generation == 0) return std::nullopt;
    return IncarnationStats{PeerOf(slot, generation, pid), stats};
  }
  return std::nullopt;
}

}  // namespace

SlotStats ReadSlot(const Roster& roster, const CounterPage& page, const ArchivedCounters& archived,
                   int slot) {
  SlotStats result;
  result.slot = slot;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const RosterWord word = roster.Get(slot);
    result.state = word.state;
    result.live.reset();
    if (!HasLive(word, slot)) break;
    const Stats stats = page.Snapshot();
    const std::uint32_t tag = page.generation.load(std::memory_order_acquire);
    const RosterWord after = roster.Get(slot);
    if (after.generation != word.generation || !HasLive(after, slot)) continue;
    // A worker can scribble over its own tag: its figures are then nobody's.
    if (tag != word.generation) break;
    result.state = after.state;
    result.live = IncarnationStats{PeerOf(slot, after.generation, after.pid), stats};
    break;
  }
  result.last = ReadArchived(archived, slot);
  return result;
}

}  // namespace alertpipe::core
