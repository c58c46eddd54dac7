// SPDX-License-Identifier: Apache-2.0
//
// A place for one worker in its family: what Worker::Attach needs. Spawn gives it to the worker's
// main function, Reserve to a program that forks on its own.
#ifndef ALERTPIPE_SLOT_H_
#define ALERTPIPE_SLOT_H_

#include <cstdint>
#include <memory>

#include <alertpipe/export.h>

namespace alertpipe {

namespace internal {
struct ChildSide;
}

// Move-only: a slot can be attached to once. Destroying it in the worker without attaching is fine:
// alerts for the worker then wait until the process exits. Destroying one from Reserve in the
// process that reserved it is Master::Cancel, unless it has been confirmed or cancelled already or
// a child has attached to it; with the child, or after the master, it is nothing.
class ALERTPIPE_EXPORT Slot {
 public:
  Slot(Slot&&) noexcept;
  Slot& operator=(Slot&&) noexcept;
  ~Slot();

  // 1 to MasterOptions::workers_max; -1 once moved from.
  int number() const;
  // Counts the workers that this slot has had, from 1; 0 once moved from.
  std::uint32_t generation() const;

 private:
  friend class Master;
  friend class Worker;
  explicit Slot(std::unique_ptr<internal::ChildSide> side);

  std::unique_ptr<internal::ChildSide> side_;
};

}  // namespace alertpipe

#endif  // ALERTPIPE_SLOT_H_
