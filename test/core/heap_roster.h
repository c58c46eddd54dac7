// SPDX-License-Identifier: Apache-2.0
//
// A roster in private memory, with generous settings unless a test narrows them.
#ifndef ALERTPIPE_TEST_CORE_HEAP_ROSTER_H_
#define ALERTPIPE_TEST_CORE_HEAP_ROSTER_H_

#include <alertpipe/limits.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/roster.h"

namespace alertpipe::core {

// The suite has to be right at every capacity: ALERTPIPE_TEST_CAPACITY says which.
inline std::size_t SuiteCapacity() {
  const char* text = std::getenv("ALERTPIPE_TEST_CAPACITY");
  return text == nullptr ? 65536 : std::strtoull(text, nullptr, 10);
}

inline FamilySettings GenerousSettings(std::uint32_t slots) {
  FamilySettings settings;
  settings.slots = slots;
  settings.runs = 1;
  settings.pipe_capacity = SuiteCapacity();
  settings.alert_bytes_max = kDataBytesMax;
  settings.reassembly_bytes_max = std::uint64_t{1} << 30;
  settings.queued_bytes_per_peer_max = 4194304;
  settings.queued_bytes_max = 67108864;
  return settings;
}

class HeapRoster {
 public:
  explicit HeapRoster(const FamilySettings& settings)
      : memory_(Allocate(settings.slots), std::free), writer_(memory_.get()) {
    writer_.Settle(settings);
  }

  Roster roster() const { return Roster(memory_.get()); }
  void Publish(int slot, const RosterWord& word) { writer_.Publish(slot, word); }
  void PublishSuccessor(int slot, int successor) { writer_.PublishSuccessor(slot, successor); }
  void Archive(int slot, const RosterWord& word, const Stats& stats) {
    writer_.Archive(slot, word, stats);
  }
  void Publish(int slot, std::uint32_t generation, SlotState state, std::uint32_t pid) {
    writer_.Publish(slot, {generation, pid, state});
  }

 private:
  static RosterMemory* Allocate(std::uint32_t slots) {
    const std::size_t bytes = (RosterMemory::Bytes(slots) + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, bytes);
    std::memset(memory, 0, bytes);
    return static_cast<RosterMemory*>(memory);
  }

  std::unique_ptr<RosterMemory, void (*)(void*)> memory_;
  RosterWriter writer_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_HEAP_ROSTER_H_
