// SPDX-License-Identifier: Apache-2.0
//
// Which unique keys are taken, for all workers at once: a hash table in shared memory whose chains
// grow at their heads only, by compare-and-swap. Of several processes that claim the same key at
// the same moment all but one find another head than the one they have searched from, search again,
// and find the key. Nothing is locked: who dies in the middle of a claim has used up one cell until
// that would have expired, and nothing else.
//
//   head: [cell 7] -> [cell 2] -> [cell 9]      newest first
//
// Claims read the clock after the head, so what is further behind expires no later: a search ends
// at the first cell that has expired, or that is in use again for another key, as its version
// shows. Each slot takes from its own cells, so that needs nobody else.
//
// A relative gone wild can write here. Then keys are taken or free that should not be, and nothing
// else: lengths and indices are bounded where they are used, and so are searches.
#ifndef ALERTPIPE_CORE_EVENTS_UNIQUE_TABLE_H_
#define ALERTPIPE_CORE_EVENTS_UNIQUE_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace alertpipe::core {

// In shared memory, zeroed.
struct UniqueCell {
  static constexpr std::size_t kKeyWords = 32;
  static constexpr std::size_t kKeyBytesMax = kKeyWords * 8 - 1;

  std::atomic<std::uint64_t> version;   // odd while it is being written
  std::atomic<std::uint64_t> next;      // a link
  std::atomic<std::uint64_t> expires;   // by the clock of the claims
  std::atomic<std::uint64_t> released;  // 1: it was given back
  std::atomic<std::uint64_t> bytes;
  std::atomic<std::uint64_t> key[kKeyWords];
};

class UniqueTable {
 public:
  // Of all slots together.
  static constexpr std::uint32_t kCellsMax = (1U << 24) - 2;

  enum class Verdict : std::uint8_t {
    kClaimed,  // by this call
    kTaken,    // by an earlier claim, which has not expired
    kFull,     // none of this slot's cells is free
    kAgain,    // somebody else has claimed a key meanwhile: Open again
  };
  // A claim under way.
  struct Claim {
    std::string_view key;  // 1 to kKeyBytesMax bytes
    std::uint64_t head = 0;
    std::uint64_t link = 0;  // kClaimed: what Release takes
  };

  // How many bytes of shared memory it takes, for `slots` slots with `cells` keys each.
  static std::size_t Bytes(int slots, std::uint32_t cells);

  UniqueTable() = default;
  // The calling process uses the cells of `slot`; nobody else does.
  UniqueTable(void* memory, int slots, std::uint32_t cells, int slot);

  // Where the claim of a key begins. The clock must be read after this call.
  void Open(Claim* claim) const;
  // Claims it until `now` + `timeout`: all processes read the same clock, and use one timeout.
  Verdict Try(Claim* claim, std::uint64_t now, std::uint64_t timeout);
  // Gives a key back that was claimed by this process.
  void Release(const Claim& claim);

 private:
  bool Finds(const Claim& claim, std::uint64_t now) const;
  UniqueCell* Resolve(std::uint64_t link) const;
  bool TakeCell(std::uint64_t now, std::uint32_t* index);
  static void Write(UniqueCell* cell, const Claim& claim, std::uint64_t expires);
  static bool IsKey(const UniqueCell& cell, std::string_view key);
  std::atomic<std::uint64_t>& Head(std::string_view key) const;

  std::atomic<std::uint64_t>* heads_ = nullptr;
  UniqueCell* all_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint32_t count_ = 0;  // of all cells
  std::uint32_t cells_ = 0;  // of each slot
  std::uint32_t first_ = 0;  // of this slot
  std::uint32_t hand_ = 0;   // where to look for a free one
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_UNIQUE_TABLE_H_
