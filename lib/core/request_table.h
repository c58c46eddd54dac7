// SPDX-License-Identifier: Apache-2.0
//
// The requests of this endpoint that have not ended yet, found by their id in constant time, and in
// the order of their deadlines. An id names a place and how often that place has been used, so that
// a late or forged response to an earlier request finds nothing.
//
// A request ends in two steps. First it is decided how (Decide; from then on no response is taken),
// later, when the application may be called, it is taken out (Take). A response does both at once.
#ifndef ALERTPIPE_CORE_REQUEST_TABLE_H_
#define ALERTPIPE_CORE_REQUEST_TABLE_H_

#include <alertpipe/request.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace alertpipe::core {

// No deadline.
inline constexpr std::uint64_t kNever = ~std::uint64_t{0};

// A request that has ended without a response.
struct EndedRequest {
  std::uint64_t id = 0;
  Peer peer;
  ResponseOutcome outcome = ResponseOutcome::kClosed;
  ResponseCallback callback;
};

class RequestTable {
 public:
  // Makes room; returns the id, never 0. Until Open or Take nothing can end it.
  std::uint64_t Add(const Peer& peer, std::uint64_t deadline, ResponseCallback callback);
  // The request was accepted, as the alert `alert_id` for its peer.
  void Open(std::uint64_t id, std::uint64_t alert_id);
  // Whether the request has not ended and was made to this incarnation.
  bool IsOpen(std::uint64_t id, const Peer& peer) const;
  // Whether it is that alert as well.
  bool IsOpen(std::uint64_t id, const Peer& peer, std::uint64_t alert_id) const;
  // Takes one out that is open, or not yet.
  ResponseCallback Take(std::uint64_t id);

  // Ends an open one; false if it is not open.
  bool Decide(std::uint64_t id, ResponseOutcome outcome);
  // All of those to the incarnations of `slot` up to `generation`.
  void DecidePeer(int slot, std::uint32_t generation, ResponseOutcome outcome);
  void DecideAll(ResponseOutcome outcome);
  // Those whose deadline is at `now` or before.
  void DecideExpired(std::uint64_t now);
  // The next one that has ended. False when there is none.
  bool NextEnded(EndedRequest* ended);
  bool has_ended() const { return !decided_.empty(); }

  // The earliest deadline, or kNever.
  std::uint64_t next_deadline() const;
  // Whether all have been taken out.
  bool empty() const { return free_.size() == entries_.size(); }
  // Requests to a slot that have not been taken out.
  std::size_t count(int slot) const;

 private:
  struct Entry {
    Peer peer;
    std::uint64_t alert_id = 0;
    std::uint64_t deadline = kNever;
    ResponseCallback callback;
    std::uint32_t serial = 1;
    std::uint32_t heap_at = 0;  // place in by_deadline_, if it has a deadline
    bool used = false;
    bool open = false;
  };
  struct Decided {
    std::uint32_t at = 0;
    ResponseOutcome outcome = ResponseOutcome::kClosed;
  };

  const Entry* Find(std::uint64_t id) const;
  void DecideAt(std::uint32_t at, ResponseOutcome outcome);
  ResponseCallback Release(std::uint32_t at);
  bool Earlier(std::uint32_t a, std::uint32_t b) const {
    return entries_[a].deadline < entries_[b].deadline;
  }
  void Place(std::size_t heap_at, std::uint32_t at);
  void SiftUp(std::size_t heap_at, std::uint32_t at);
  void SiftDown(std::size_t heap_at, std::uint32_t at);
  void HeapRemove(std::uint32_t at);

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> by_deadline_;  // a binary heap, the earliest first
  std::vector<std::size_t> counts_;         // by slot
  std::deque<Decided> decided_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_REQUEST_TABLE_H_
