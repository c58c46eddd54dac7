// SPDX-License-Identifier: Apache-2.0
#include "core/events/unique_table.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace alertpipe::core {
namespace {

// A link names a cell, from 1, and the version that it had when it was linked.
constexpr int kIndexBits = 24;
constexpr std::uint64_t kIndexMask = (std::uint64_t{1} << kIndexBits) - 1;
static_assert(UniqueTable::kCellsMax < kIndexMask, "each cell has a link");

std::uint64_t HeadCount(int slots, std::uint32_t cells) {
  const std::uint64_t wanted = static_cast<std::uint64_t>(slots) * cells / 2;
  std::uint64_t heads = 64;
  while (heads < wanted) heads *= 2;
  return heads;
}

std::uint64_t HashOf(std::string_view key) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a, then mixed: only its low bits are used
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  hash ^= hash >> 32;
  return hash * 0x9E3779B97F4A7C15U >> 20;
}

// The words that hold a key, the last one filled up with zeroes.
std::uint64_t WordOf(std::string_view key, std::size_t at) {
  std::uint64_t word = 0;
  const std::size_t begin = at * sizeof word;
  std::memcpy(&word, key.data() + begin, std::min(sizeof word, key.size() - begin));
  return word;
}

std::size_t WordsOf(std::string_view key) { return (key.size() + 7) / 8; }

}  // namespace

std::size_t UniqueTable::Bytes(int slots, std::uint32_t cells) {
  return HeadCount(slots, cells) * sizeof(std::atomic<std::uint64_t>) +
         static_cast<std::size_t>(slots) * cells * sizeof(UniqueCell);
}

UniqueTable::UniqueTable(void* memory, int slots, std::uint32_t cells, int slot)
    : heads_(static_cast<std::atomic<std::uint64_t>*>(memory)),
      mask_(HeadCount(slots, cells) - 1),
      count_(static_cast<std::uint32_t>(slots) * cells),
      cells_(cells),
      first_(static_cast<std::uint32_t>(slot) * cells) {
  ALERTPIPE_CHECK(count_ <= kCellsMax, "a table of unique keys has too many cells");
  all_ = reinterpret_cast<UniqueCell*>(heads_ + mask_ + 1);
}

std::atomic<std::uint64_t>& UniqueTable::Head(std::string_view key) const {
  return heads_[HashOf(key) & mask_];
}

void UniqueTable::Open(Claim* claim) const {
  claim->head = Head(claim->key).load(std::memory_order_seq_cst);
}

UniqueCell* UniqueTable::Resolve(std::uint64_t link) const {
  const std::uint64_t index = link & kIndexMask;
  return index == 0 || index > count_ ? nullptr : all_ + (index - 1);
}

bool UniqueTable::IsKey(const UniqueCell& cell, std::string_view key) {
  if (cell.bytes.load(std::memory_order_relaxed) != key.size()) return false;
  for (std::size_t at = 0; at < WordsOf(key); ++at) {
    if (cell.key[at].load(std::memory_order_relaxed) != WordOf(key, at)) return false;
  }
  return true;
}

bool UniqueTable::Finds(const Claim& claim, std::uint64_t now) const {
  std::uint64_t link = claim.head;
  for (std::uint32_t steps = 0; steps < count_; ++steps) {
    const UniqueCell* cell = Resolve(link);
    if (cell == nullptr) return false;
    const std::uint64_t expires = cell->expires.load(std::memory_order_relaxed);
    const std::uint64_t next = cell->next.load(std::memory_order_relaxed);
    const bool released = cell->released.load(std::memory_order_relaxed) != 0;
    const bool same = IsKey(*cell, claim.key);
    std::atomic_thread_fence(std::memory_order_acquire);
    // In use again, or about to be: this one and all behind it have expired.
    if (cell->version.load(std::memory_order_relaxed) != link >> kIndexBits) return false;
    if (expires <= now) return false;
    if (same && !released) return true;
    link = next;
  }
  return false;
}

bool UniqueTable::TakeCell(std::uint64_t now, std::uint32_t* index) {
  for (std::uint32_t tried = 0; tried < cells_; ++tried) {
    const std::uint32_t at = first_ + hand_;
    hand_ = (hand_ + 1) % cells_;
    if (all_[at].expires.load(std::memory_order_relaxed) > now) continue;
    *index = at;
    return true;
  }
  return false;
}

void UniqueTable::Write(UniqueCell* cell, const Claim& claim, std::uint64_t expires) {
  // Odd also if a predecessor died while it wrote.
  const std::uint64_t version = cell->version.load(std::memory_order_relaxed) | 1;
  cell->version.store(version, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  cell->next.store(claim.head, std::memory_order_relaxed);
  cell->expires.store(expires, std::memory_order_relaxed);
  cell->released.store(0, std::memory_order_relaxed);
  cell->bytes.store(claim.key.size(), std::memory_order_relaxed);
  for (std::size_t at = 0; at < WordsOf(claim.key); ++at)
    cell->key[at].store(WordOf(claim.key, at), std::memory_order_relaxed);
  cell->version.store(version + 1, std::memory_order_release);
}

UniqueTable::Verdict UniqueTable::Try(Claim* claim, std::uint64_t now, std::uint64_t timeout) {
  if (Finds(*claim, now)) return Verdict::kTaken;
  std::uint32_t index;
  if (!TakeCell(now, &index)) return Verdict::kFull;
  UniqueCell* cell = all_ + index;
  Write(cell, *claim, now + timeout);
  const std::uint64_t version = cell->version.load(std::memory_order_relaxed);
  const std::uint64_t link = version << kIndexBits | (index + 1);
  std::uint64_t head = claim->head;
  if (Head(claim->key).compare_exchange_strong(head, link, std::memory_order_seq_cst)) {
    claim->link = link;
    return Verdict::kClaimed;
  }
  cell->expires.store(0, std::memory_order_relaxed);
  return Verdict::kAgain;
}

void UniqueTable::Release(const Claim& claim) {
  UniqueCell* cell = Resolve(claim.link);
  std::uint64_t link = claim.link;
  if (Head(claim.key).compare_exchange_strong(link, claim.head, std::memory_order_seq_cst)) {
    // Whoever has begun at it finds another head, and begins anew.
    cell->expires.store(0, std::memory_order_relaxed);
  } else {
    cell->released.store(1, std::memory_order_release);
  }
}

}  // namespace alertpipe::core
