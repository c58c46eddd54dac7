// SPDX-License-Identifier: Apache-2.0
#include "sim/heap.h"

#include <malloc.h>

#include <cstdlib>
#include <cstring>

namespace alertpipe::sim {
namespace {

struct State {
  Random* random = nullptr;
  std::uint32_t one_in = 0;
  std::uint64_t refused = 0;
  std::size_t bytes = 0;
  long blocks = 0;
};
State state;

// The size stands in front of each block: malloc's own answer may vary.
constexpr std::size_t kHeadBytes = 16;

void* Allocate(std::size_t bytes) {
  if (state.one_in != 0 && state.random->Chance(state.one_in)) {
    ++state.refused;
    return nullptr;
  }
  auto* block = static_cast<char*>(std::malloc(kHeadBytes + bytes));
  if (block == nullptr) return nullptr;
  std::memcpy(block, &bytes, sizeof bytes);
  state.bytes += bytes;
  ++state.blocks;
  return block + kHeadBytes;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  char* block = static_cast<char*>(memory) - kHeadBytes;
  std::size_t bytes;
  std::memcpy(&bytes, block, sizeof bytes);
  state.bytes -= bytes;
  --state.blocks;
  std::free(block);
}

void* Remap(void* memory, std::size_t from, std::size_t to) {
  void* larger = Allocate(to);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, memory, from);
  Free(memory);
  return larger;
}

void Unmap(void* memory, std::size_t) { Free(memory); }

}  // namespace

Heap::Heap() : before_(core::memory_calls()) {
  // Blocks of a megabyte come and go with each process: the system need not hear of them.
  mallopt(M_MMAP_THRESHOLD, 1 << 28);
  mallopt(M_TRIM_THRESHOLD, 1 << 28);
  state = State();
  core::memory_calls() = {Allocate, Free, Allocate, Remap, Unmap};
}

Heap::~Heap() { core::memory_calls() = before_; }

void Heap::Refuse(std::uint32_t one_in, Random* random) {
  state.one_in = one_in;
  state.random = random;
}

bool Heap::refusing() const { return state.one_in != 0; }
std::uint64_t Heap::refused() const { return state.refused; }
std::size_t Heap::live_bytes() const { return state.bytes; }
long Heap::live_blocks() const { return state.blocks; }

}  // namespace alertpipe::sim
