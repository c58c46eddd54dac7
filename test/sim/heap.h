// SPDX-License-Identifier: Apache-2.0
//
// The memory seam (core/memory.h) of a simulation: counts what is held, and refuses when the
// simulation says so. What the seam maps comes from malloc here, so that a million processes can be
// started. Everything of one process is returned when that process ends, so the count is zero when
// a simulation is over.
#ifndef ALERTPIPE_TEST_SIM_HEAP_H_
#define ALERTPIPE_TEST_SIM_HEAP_H_

#include <cstddef>
#include <cstdint>

#include "core/memory.h"
#include "sim/random.h"

namespace alertpipe::sim {

// One at a time.
class Heap {
 public:
  Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  ~Heap();

  // From now on one request in `one_in` is refused, as `random` decides; none if 0.
  void Refuse(std::uint32_t one_in, Random* random);
  bool refusing() const;
  std::uint64_t refused() const;
  std::size_t live_bytes() const;
  long live_blocks() const;

 private:
  const core::MemoryCalls before_;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_HEAP_H_
