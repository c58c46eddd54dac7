// SPDX-License-Identifier: Apache-2.0
//
// Takes the place of core::memory_calls() for the life of one scope: counts what is held, and lets
// allocations fail. One at a time.
#ifndef ALERTPIPE_TEST_CORE_MEMORY_FAULTS_H_
#define ALERTPIPE_TEST_CORE_MEMORY_FAULTS_H_

#include <malloc.h>

#include <algorithm>
#include <cstddef>

#include "core/memory.h"

namespace alertpipe::core {
namespace memory_faults {

struct State {
  MemoryCalls real{};
  int requests = 0;
  int remaps = 0;
  int fail_from = 0;
  int fail_to = 0;
  long blocks = 0;
  std::size_t live = 0;
  std::size_t peak = 0;
};
inline State state;

}  // namespace memory_faults

class MemoryFaults {
 public:
  MemoryFaults() : before_(memory_calls()) {
    state_ = {};
    state_.real = before_;
    memory_calls() = {Allocate, Free, Map, Remap, Unmap};
  }
  MemoryFaults(const MemoryFaults&) = delete;
  MemoryFaults& operator=(const MemoryFaults&) = delete;
  ~MemoryFaults() { memory_calls() = before_; }

  // The nth request from now on (from 1) and all after it fail, `count` in all.
  void Fail(int nth, int count = 1) {
    state_.requests = 0;
    state_.fail_from = nth;
    state_.fail_to = nth + count;
  }
  void FailNone() { state_.fail_from = state_.fail_to = 0; }
  bool fired() const { return state_.fail_from > 0 && state_.requests >= state_.fail_from; }

  int requests() const { return state_.requests; }  // allocate, map and remap
  int remaps() const { return state_.remaps; }
  std::size_t live_bytes() const { return state_.live; }
  std::size_t peak_bytes() const { return state_.peak; }
  long live_blocks() const { return state_.blocks; }

 private:
  static bool Refuse() {
    ++state_.requests;
    return state_.requests >= state_.fail_from && state_.requests < state_.fail_to;
  }
  static void Note(std::size_t bytes) {
    state_.live += bytes;
    state_.peak = std::max(state_.peak, state_.live);
  }
  static void* Allocate(std::size_t bytes) {
    if (Refuse()) return nullptr;
    void* memory = state_.real.allocate(bytes);
    ++state_.blocks;
    Note(malloc_usable_size(memory));
    return memory;
  }
  static void Free(void* memory) {
    if (memory != nullptr) --state_.blocks;
    state_.live -= malloc_usable_size(memory);
    state_.real.free(memory);
  }
  static void* Map(std::size_t bytes) {
    if (Refuse()) return nullptr;
    ++state_.blocks;
    Note(bytes);
    return state_.real.map(bytes);
  }
  static void* Remap(void* memory, std::size_t from, std::size_t to) {
    if (Refuse()) return nullptr;
    ++state_.remaps;
    state_.live -= from;
    Note(to);
    return state_.real.remap(memory, from, to);
  }
  static void Unmap(void* memory, std::size_t bytes) {
    --state_.blocks;
    state_.live -= bytes;
    state_.real.unmap(memory, bytes);
  }

  static constexpr memory_faults::State& state_ = memory_faults::state;
  const MemoryCalls before_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_MEMORY_FAULTS_H_
