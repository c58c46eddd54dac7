// SPDX-License-Identifier: Apache-2.0
//
// What the master still has to tell each worker about the others. A notice is state, not a message:
// per slot the newest death and the newest start, with the time (a count) of the change. A worker
// that reads slowly, or not at all, costs one cursor, and its notices merge ("slot s is dead up to
// generation g") instead of piling up.
#ifndef ALERTPIPE_CORE_NOTICE_BOARD_H_
#define ALERTPIPE_CORE_NOTICE_BOARD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace alertpipe::core {

class NoticeBoard {
 public:
  explicit NoticeBoard(int slots)
      : changes_(static_cast<std::size_t>(slots)), told_(static_cast<std::size_t>(slots)) {}

  void Died(int slot, std::uint32_t generation);
  void Joined(int slot, std::uint32_t generation, std::uint32_t pid);
  // A new incarnation in `slot` needs to hear nothing of what was before it.
  void StartReader(int slot) { told_[static_cast<std::size_t>(slot)] = now_; }

  bool Pending(int reader) const { return told_[static_cast<std::size_t>(reader)] < now_; }

  // Writes died and joined records for `reader` to `to`, as many as fit into `room`, and returns
  // their bytes. What they cover is in *cursor: hand it to Told once they are written.
  std::size_t Encode(int reader, char* to, std::size_t room, std::uint64_t* cursor) const;
  void Told(int reader, std::uint64_t cursor) { told_[static_cast<std::size_t>(reader)] = cursor; }

 private:
  // The time of a change about `about`, who need not be told of it.
  std::uint64_t Tick(int about);

  struct Change {
    std::uint64_t died_at = 0;
    std::uint32_t died_generation = 0;
    std::uint64_t joined_at = 0;
    std::uint32_t joined_generation = 0;
    std::uint32_t joined_pid = 0;
  };

  std::vector<Change> changes_;
  std::vector<std::uint64_t> told_;
  std::uint64_t now_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_NOTICE_BOARD_H_
