// SPDX-License-Identifier: Apache-2.0
//
// Who an alert comes from, and whom it is for.
#ifndef ALERTPIPE_PEER_H_
#define ALERTPIPE_PEER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include <alertpipe/export.h>
#include <alertpipe/limits.h>

namespace alertpipe {

// One incarnation of a process of the family. (slot, generation) is its identity: a slot whose
// worker died and was replaced has a new generation, so a Peer never means the successor by
// accident. The pid is informational; it is 0 while a worker is being started and its pid is not
// known yet.
struct Peer {
  pid_t pid = 0;
  int slot = -1;
  std::uint32_t generation = 0;

  bool is_master() const { return slot == kMasterSlot; }

  friend bool operator==(const Peer& a, const Peer& b) {
    return a.slot == b.slot && a.generation == b.generation;
  }
  friend bool operator!=(const Peer& a, const Peer& b) { return !(a == b); }
  // For absl's hash containers.
  template <typename Hash>
  friend Hash AbslHashValue(Hash hash, const Peer& peer) {
    return Hash::combine(std::move(hash), peer.slot, peer.generation);
  }
};

// "the worker in slot 3 (pid 4711, generation 2)": for logs and messages.
ALERTPIPE_EXPORT std::string ToString(const Peer& peer);

// The receiver of an alert. A pid converts to To, and so does a Peer:
//
//   worker->Send(pid, "hello", "by pid");
//   worker->Send(alert.sender(), "hello", "to exactly the incarnation that sent");
//   worker->Send(To::Slot(3), "hello", "to whatever worker lives in slot 3 now");
//   worker->Send(To::AnyWorker(), "job", "to the other worker with the fewest bytes queued here");
//   worker->Send(To::Master(), "hello", "to the master, if it is attached to a loop");
class To {
 public:
  enum class Kind : std::uint8_t { kPid, kSlot, kPeer, kAnyWorker };

  // Both convert on purpose: a pid is a receiver, and so is a peer.
  // NOLINTNEXTLINE(google-explicit-constructor)
  To(pid_t pid) : pid_(pid), kind_(Kind::kPid) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  To(const Peer& peer)
      : pid_(peer.pid), slot_(peer.slot), generation_(peer.generation), kind_(Kind::kPeer) {}

  static To Pid(pid_t pid) { return To(pid); }
  static To Slot(int slot) { return To(Kind::kSlot, slot); }
  static To Master() { return To(Kind::kSlot, kMasterSlot); }
  // One live worker of the library's choice: the one with the fewest bytes queued in this process,
  // ties in turn. Never the calling worker itself.
  static To AnyWorker() { return To(Kind::kAnyWorker, -1); }

  Kind kind() const { return kind_; }
  pid_t pid() const { return pid_; }
  int slot() const { return slot_; }
  std::uint32_t generation() const { return generation_; }

 private:
  To(Kind kind, int slot) : slot_(slot), kind_(kind) {}

  pid_t pid_ = 0;
  int slot_ = -1;
  std::uint32_t generation_ = 0;
  Kind kind_;
};

// Whom a broadcast reaches.
enum class Scope : std::uint8_t {
  kWorkers,  // every live worker, the sender included if it is one (as ngx.ipc does)
  kOthers,   // every live worker but the sender
  kFamily,   // every live worker, and the master if it is attached to a loop; the sender included
};

}  // namespace alertpipe

#endif  // ALERTPIPE_PEER_H_
