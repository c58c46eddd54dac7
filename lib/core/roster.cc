// SPDX-License-Identifier: Apache-2.0
#include "core/roster.h"

namespace alertpipe::core {

bool Roster::IsDead(int slot, std::uint32_t generation) const {
  const RosterWord word = Get(slot);
  return generation < word.generation || (generation == word.generation && !word.lives());
}

void RosterWriter::Settle(const FamilySettings& settings, std::uint64_t counters_inode) {
  memory_->settings = settings;
  memory_->label.version = RosterLabel::kVersion;
  memory_->label.counter_layout = kCounterLayout;
  memory_->label.counters_inode = counters_inode;
  memory_->label.magic.store(RosterLabel::kMagic, std::memory_order_release);
}

void RosterWriter::PublishSuccessor(int slot, int successor) {
  const std::atomic<std::uint32_t>* successors = memory_->Successors(memory_->settings.slots);
  // Whoever sees the word that follows sees this as well: the word is released.
  const_cast<std::atomic<std::uint32_t>&>(successors[slot])
      .store(static_cast<std::uint32_t>(successor), std::memory_order_relaxed);
}

void RosterWriter::Archive(int slot, const RosterWord& word, const Stats& stats) {
  const ArchivedCounters& archived = Roster(memory_).archived(slot);
  const_cast<ArchivedCounters&>(archived).Store(word.generation, word.pid, stats);
}

}  // namespace alertpipe::core
