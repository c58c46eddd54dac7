// SPDX-License-Identifier: Apache-2.0
//
// The barriers of this endpoint that have not ended yet: whom each still waits for. Ids count up,
// and an acknowledgement of one covers all before it, since whoever handles this endpoint's records
// in order has passed those too.
#ifndef ALERTPIPE_CORE_BARRIER_TABLE_H_
#define ALERTPIPE_CORE_BARRIER_TABLE_H_

#include <alertpipe/barrier.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace alertpipe::core {

// A barrier that has ended, with what to tell.
struct EndedBarrier {
  BarrierCallback callback;
  BarrierReport report;
};

class BarrierTable {
 public:
  explicit BarrierTable(int slots) : slots_(static_cast<std::size_t>(slots)) {}

  // Waits for `peers`; returns the id, counted from 1. One with a null callback ends without being
  // told: IsOpen shows it.
  std::uint64_t Add(const std::vector<Peer>& peers, std::uint64_t deadline,
                    BarrierCallback callback);
  bool IsOpen(std::uint64_t id) const;
  // The newest id, 0 if there was none.
  std::uint64_t last_id() const { return last_id_; }
  std::size_t open() const { return open_.size(); }
  bool WaitsFor(int slot) const;

  // This incarnation has handled everything up to barrier `id`.
  void Acknowledged(const Peer& peer, std::uint64_t id);
  // The incarnations of `slot` up to `generation` are dead.
  void PeerDied(int slot, std::uint32_t generation);
  // Those whose deadline is at `now` or before end.
  void DecideExpired(std::uint64_t now);
  // The endpoint is closed.
  void DecideAll();
  std::uint64_t next_deadline() const;

  // The next one to tell of. False when there is none.
  bool NextEnded(EndedBarrier* ended);
  bool has_ended() const { return !ended_.empty(); }

 private:
  struct Entry {
    std::uint64_t id = 0;
    std::uint64_t deadline = 0;
    BarrierCallback callback;
    std::vector<Peer> waiting;  // by slot; generation 0: not, or not any more
    std::size_t left = 0;       // those
    std::vector<Peer> died;
    bool ended = false;
  };

  // Takes out those that have ended.
  void Sweep();
  void EndIfDone(Entry* entry);
  void End(Entry* entry, absl::Status status);

  std::size_t slots_;
  std::uint64_t last_id_ = 0;
  std::deque<Entry> open_;
  std::deque<EndedBarrier> ended_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_BARRIER_TABLE_H_
