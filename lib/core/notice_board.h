// SPDX-License-Identifier: Apache-2.0
//
// What the master still has to tell each worker about the others, and that it is being replaced. A
// notice is state, not a message: per slot the newest death, the newest start and the newest
// retirement, with the time (a count) of the change. A worker that reads slowly, or not at all,
// costs one cursor, and its notices merge ("slot s is dead up to generation g") instead of piling
// up. A retirement is told to the one that it is about, all else to everybody but that one.
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
  // `successor_slot` is 0 if there is no successor.
  void Draining(int slot, std::uint32_t generation, int successor_slot);
  // A new incarnation in `slot` needs to hear nothing of what was before it.
  void StartReader(int slot) { told_[static_cast<std::size_t>(slot)] = now_; }

  bool Pending(int reader) const { return told_[static_cast<std::size_t>(reader)] < now_; }

  // Writes the records for `reader` to `to`, as many as fit into `room`, and returns
  // their bytes. What they cover is in *cursor: hand it to Told once they are written.
  std::size_t Encode(int reader, char* to, std::size_t room, std::uint64_t* cursor) const;
  void Told(int reader, std::uint64_t cursor) { told_[static_cast<std::size_t>(reader)] = cursor; }

 private:
  struct Notice;

  // The time of a change about `about`, who need not be told of it.
  std::uint64_t Tick(int about);
  // The time of a change that nobody else need be told of.
  std::uint64_t TickFor(int reader);
  // What `reader` has not been told, in the order of events.
  std::vector<Notice> NewsFor(int reader) const;

  struct Change {
    std::uint64_t died_at = 0;
    std::uint32_t died_generation = 0;
    std::uint64_t joined_at = 0;
    std::uint32_t joined_generation = 0;
    std::uint32_t joined_pid = 0;
    std::uint64_t draining_at = 0;
    std::uint32_t draining_generation = 0;
    int successor_slot = 0;
  };

  std::vector<Change> changes_;
  std::vector<std::uint64_t> told_;
  std::uint64_t now_ = 0;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_NOTICE_BOARD_H_
