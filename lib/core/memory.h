// SPDX-License-Identifier: Apache-2.0
//
// The one seam through which memory for payload, packets and reassembly is obtained. Everything
// here reports shortage by returning null, so that callers can refuse an alert whole; nothing
// throws.
#ifndef ALERTPIPE_CORE_MEMORY_H_
#define ALERTPIPE_CORE_MEMORY_H_

#include <cstddef>

namespace alertpipe::core {

// From this size on memory is mapped by itself: it can then grow by mremap, without a copy, and
// pages that were never written cost nothing.
inline constexpr std::size_t kMappedBytesMin = 65536;

struct MemoryCalls {
  void* (*allocate)(std::size_t bytes);  // as malloc
  void (*free)(void* memory);            // as free
  void* (*map)(std::size_t bytes);       // anonymous private memory, or null
  void* (*remap)(void* memory, std::size_t from,
                 std::size_t to);  // may move it; null leaves it as it was
  void (*unmap)(void* memory, std::size_t bytes);
};

// The table in use. Tests replace entries to let the Nth allocation fail.
MemoryCalls& memory_calls();

// A block of at least `bytes` bytes, from the heap or mapped by its size; null when memory is
// short.
char* AllocateBlock(std::size_t bytes);
// `bytes` as it was given to AllocateBlock.
void FreeBlock(char* block, std::size_t bytes);
// Makes a block larger and keeps its first `keep` bytes. On failure returns null and the block is
// as it was.
char* GrowBlock(char* block, std::size_t from, std::size_t to, std::size_t keep);

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_MEMORY_H_
