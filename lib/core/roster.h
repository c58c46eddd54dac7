// SPDX-License-Identifier: Apache-2.0
//
// The roster: the family's settings and one 64-bit word per slot that says which incarnation lives
// there, followed by the slots of successors and the last counters of dead workers. The master is
// the only writer; everybody else sees the same memory read-only and checks the word again before
// every write. A word changes as a whole, so a reader never sees half a replacement, and no lock
// exists that a dead process could hold.
#ifndef ALERTPIPE_CORE_ROSTER_H_
#define ALERTPIPE_CORE_ROSTER_H_

#include <alertpipe/family_stats.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/counters.h"

namespace alertpipe::core {

using alertpipe::SlotState;

// generation (32 bits) | pid (24) | state (8)
struct RosterWord {
  std::uint32_t generation = 0;
  std::uint32_t pid = 0;
  SlotState state = SlotState::kFree;

  bool lives() const {
    return state == SlotState::kStarting || state == SlotState::kUp ||
           state == SlotState::kDraining;
  }
  bool takes_alerts() const { return state == SlotState::kStarting || state == SlotState::kUp; }

  std::uint64_t Pack() const {
    return (static_cast<std::uint64_t>(generation) << 32) |
           (static_cast<std::uint64_t>(pid & 0xffffff) << 8) | static_cast<std::uint64_t>(state);
  }
  static std::uint32_t GenerationOf(std::uint64_t packed) {
    return static_cast<std::uint32_t>(packed >> 32);
  }
  static std::uint32_t PidOf(std::uint64_t packed) {
    return static_cast<std::uint32_t>(packed >> 8) & 0xffffff;
  }
  static RosterWord Unpack(std::uint64_t packed) {
    RosterWord word;
    word.generation = GenerationOf(packed);
    word.pid = PidOf(packed);
    const auto state = static_cast<std::uint8_t>(packed);
    word.state = state <= static_cast<std::uint8_t>(SlotState::kDown)
                     ? static_cast<SlotState>(state)
                     : SlotState::kDown;
    return word;
  }

  friend bool operator==(const RosterWord& a, const RosterWord& b) { return a.Pack() == b.Pack(); }
};

// Family-wide settings, written once before the first fork.
struct FamilySettings {
  std::uint32_t slots = 0;  // workers and the master
  std::uint32_t runs = 0;   // whether packets of exactly 4096 bytes may leave several in one write
  std::uint64_t pipe_capacity = 0;  // the largest that the kernel granted to any pipe
  std::uint64_t alert_bytes_max = 0;
  std::uint64_t reassembly_bytes_max = 0;
  std::uint64_t queued_bytes_per_peer_max = 0;
  std::uint64_t queued_bytes_max = 0;
  std::uint64_t latency_histograms = 0;  // whether alerts carry the time of their sending
  // Of events (core/events/events_memory.h); 0 without them.
  std::uint32_t events = 0;
  std::uint32_t unique_keys_max = 0;
  std::uint64_t unique_timeout_ns = 0;
};

// Tells processes that read the memory without being relatives what is in it.
struct RosterLabel {
  static constexpr std::uint64_t kMagic = 0x726574736f527041;  // "ApRoster"
  // Changes with the layout of this file; that of the counters is in kCounterLayout.
  static constexpr std::uint64_t kVersion = 4;

  std::atomic<std::uint64_t> magic;  // kMagic once everything else has been written
  std::uint64_t version;
  std::uint64_t counter_layout;
  std::uint64_t counters_inode;  // of the memory file with the family's counter pages
};

// How the shared memory is laid out. Words are packed eight to a cache line: they change only when
// workers come and go.
struct alignas(64) RosterMemory {
  RosterLabel label;
  FamilySettings settings;
  alignas(64) std::atomic<std::uint64_t> words[1];  // settings.slots of them
  // settings.slots of std::atomic<std::uint32_t> follow, at SuccessorsAt: the slot of the worker
  // that replaces the draining one, or 0. Then settings.slots of ArchivedCounters, at ArchiveAt.

  static std::size_t SuccessorsAt(std::uint32_t slots) {
    return sizeof(RosterMemory) + slots * sizeof(std::atomic<std::uint64_t>);
  }
  static std::size_t ArchiveAt(std::uint32_t slots) {
    const std::size_t end = SuccessorsAt(slots) + slots * sizeof(std::atomic<std::uint32_t>);
    return (end + alignof(ArchivedCounters) - 1) / alignof(ArchivedCounters) *
           alignof(ArchivedCounters);
  }
  static std::size_t Bytes(std::uint32_t slots) {
    return ArchiveAt(slots) + slots * sizeof(ArchivedCounters);
  }
  const std::atomic<std::uint32_t>* Successors(std::uint32_t slots) const {
    return reinterpret_cast<const std::atomic<std::uint32_t>*>(reinterpret_cast<const char*>(this) +
                                                               SuccessorsAt(slots));
  }
  const ArchivedCounters* Archive(std::uint32_t slots) const {
    return reinterpret_cast<const ArchivedCounters*>(reinterpret_cast<const char*>(this) +
                                                     ArchiveAt(slots));
  }
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free,
              "the roster is shared between processes");

// Read access, for everybody. Copyable; the memory must outlive it.
class Roster {
 public:
  Roster() = default;
  explicit Roster(const RosterMemory* memory) : memory_(memory) {}

  const FamilySettings& settings() const { return memory_->settings; }
  int slots() const { return static_cast<int>(memory_->settings.slots); }
  bool has(int slot) const { return slot >= 0 && slot < slots(); }

  RosterWord Get(int slot) const { return RosterWord::Unpack(GetPacked(slot)); }
  std::uint64_t GetPacked(int slot) const {
    return memory_->words[slot].load(std::memory_order_acquire);
  }
  // The slot of the worker that replaces the one whose word has been read as draining; 0: none.
  int successor(int slot) const {
    return static_cast<int>(
        memory_->Successors(memory_->settings.slots)[slot].load(std::memory_order_relaxed));
  }
  // The counters of the worker that died there last.
  const ArchivedCounters& archived(int slot) const {
    return memory_->Archive(memory_->settings.slots)[slot];
  }
  // Whether (slot, generation) is known to be dead: its successor or its death is in the roster.
  bool IsDead(int slot, std::uint32_t generation) const;

 private:
  const RosterMemory* memory_ = nullptr;
};

// Write access, for the master.
class RosterWriter {
 public:
  RosterWriter() = default;
  explicit RosterWriter(RosterMemory* memory) : memory_(memory) {}

  // Once, before anybody else is there. `counters_inode` may be 0 where nobody outside looks.
  void Settle(const FamilySettings& settings, std::uint64_t counters_inode = 0);
  void Publish(int slot, const RosterWord& word) {
    memory_->words[slot].store(word.Pack(), std::memory_order_release);
  }
  // For the word that is published next; 0 once another worker is started there.
  void PublishSuccessor(int slot, int successor);
  // Keeps the counters of a worker that has died.
  void Archive(int slot, const RosterWord& word, const Stats& stats);

 private:
  RosterMemory* memory_ = nullptr;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_ROSTER_H_
