// SPDX-License-Identifier: Apache-2.0
#include "core/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace alertpipe::core {
namespace {

void* Map(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

void* Remap(void* memory, std::size_t from, std::size_t to) {
  void* moved = ::mremap(memory, from, to, MREMAP_MAYMOVE);
  return moved == MAP_FAILED ? nullptr : moved;
}

void Unmap(void* memory, std::size_t bytes) { ::munmap(memory, bytes); }

MemoryCalls table = {std::malloc, std::free, Map, Remap, Unmap};

}  // namespace

MemoryCalls& memory_calls() { return table; }

char* AllocateBlock(std::size_t bytes) {
  void* block = bytes < kMappedBytesMin ? table.allocate(bytes == 0 ? 1 : bytes) : table.map(bytes);
  return static_cast<char*>(block);
}

void FreeBlock(char* block, std::size_t bytes) {
  if (block == nullptr) return;
  if (bytes < kMappedBytesMin) {
    table.free(block);
  } else {
    table.unmap(block, bytes);
  }
}

char* GrowBlock(char* block, std::size_t from, std::size_t to, std::size_t keep) {
  if (from >= kMappedBytesMin) return static_cast<char*>(table.remap(block, from, to));
  char* larger = AllocateBlock(to);
  if (larger == nullptr) return nullptr;
  if (keep > 0) std::memcpy(larger, block, keep);
  FreeBlock(block, from);
  return larger;
}

}  // namespace alertpipe::core
