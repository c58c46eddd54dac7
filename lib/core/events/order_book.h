// SPDX-License-Identifier: Apache-2.0
//
// The receiving half of the one order: events are held here from their arrival until their place in
// the ring is known, and come out place by place. The book of each process is its own; what all of
// them have in common is only the ring.
//
// How long to wait for an event that stands in a place and has not arrived? Not at all. Publishers
// write before they claim. So what is not in the pipe once the place has been seen taken was
// refused, or is still queued at its publisher, and is passed over here: one read of the inbox that
// begins after the look decides it. What arrives later than its place is late, and comes out as
// such, for a gap to be reported.
//
// Events of one publisher stay in their order, ordered or not: what is not ordered waits behind
// what is.
#ifndef ALERTPIPE_CORE_EVENTS_ORDER_BOOK_H_
#define ALERTPIPE_CORE_EVENTS_ORDER_BOOK_H_

#include <alertpipe/buffer.h>
#include <alertpipe/peer.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/events/order_ring.h"

namespace alertpipe::core {

// Counts reads of the inbox, for a book: that a read has ended with an empty pipe, and all that it
// brought has been handed out.
using ReadCount = std::uint64_t;

class OrderBook {
 public:
  enum class Release : std::uint8_t {
    kNothing,
    kEvent,     // its time has come
    kLate,      // its place was passed without it: a gap
    kWithdrawn  // its publisher died before it had claimed a place: nobody gets it
  };
  struct Item {
    std::uint64_t sequence = 0;  // 0: not ordered
    std::uint64_t place = 0;     // of kEvent, if it is ordered: counted from 1
    Peer publisher;
    Buffer data;
  };

  // `start`: the tail when this incarnation's slot was announced. What was claimed before was not
  // for it.
  OrderBook(OrderRing ring, const Peer& self, int slots, std::uint64_t start);
  ~OrderBook();

  // Whether something of `publisher` is held: all that follows has to wait behind it.
  bool Holds(const Peer& publisher) const;
  // Whether something is held of one in `slot` that is not known to be dead.
  bool HoldsFrom(int slot) const;
  // Holds an event. One's own is held without having been in any pipe.
  void Hold(Item item);
  // `publisher` says that its events up to `sequence` have places, all of which were claimed before
  // it said so.
  void Claimed(const Peer& publisher, std::uint64_t sequence);
  // Nothing of the incarnations of `slot` up to `generation` follows.
  void PublisherDied(int slot, std::uint32_t generation);

  // Looks at the ring. `reads`: how many reads of the inbox have begun so far.
  void Look(ReadCount reads);
  // Read number `reads` (counted from 1) has ended with an empty pipe, and its arrivals have been
  // handed out.
  void HasRead(ReadCount reads);
  // The next event to come out.
  Release Next(Item* item);
  // Whether only a read can tell whether to go on.
  bool wants_read() const { return blocked_ || losing_; }

  // What is held, with what it takes to hold it.
  std::size_t held_bytes() const { return held_bytes_; }
  std::size_t held() const { return held_; }
  // How often the ring has run over.
  std::uint64_t overruns() const { return overruns_; }

 private:
  struct Context {
    Peer publisher;
    std::deque<Item> items;
    std::uint64_t last = 0;  // the number of the last one that was ordered
    // What `Claimed` has said, and the tail then.
    std::uint64_t claimed = 0;
    std::uint64_t claimed_before = 0;
    bool dead = false;
    std::uint64_t dead_before = 0;  // the tail at its death
    std::size_t losing = 0;         // of its first items, whose places are not known any more
    bool watched = false;           // in unsettled_
  };

  static std::size_t BytesOf(const Item& item) {
    return item.data.size() + sizeof(Item) + kBlockBytes;
  }
  void Lose(Context* context);
  bool MayHavePassed(const Peer& publisher, std::uint64_t sequence) const;
  Context* Find(int slot, std::uint32_t generation) const;
  Context* FindFor(const OrderWord& word) const;
  Context& Enter(const Peer& publisher);
  std::size_t Present(const Context& context, const OrderWord& word) const;
  Release Take(Context* context, Release release, Item* item);
  bool OpenPlace();
  Release NextOfPlace(Item* item);
  Release NextSettled(Item* item);
  Release Settle(Context* context, Item* item);
  void Watch(Context* context);
  void Pass(const OrderWord& word);
  void RunOver();
  void Erase(Context* context);

  static constexpr std::size_t kPassedMax = 4;
  static constexpr std::size_t kBlockBytes = 32;  // what an allocation takes beside its bytes

  OrderRing ring_;
  Peer self_;
  std::vector<std::vector<std::unique_ptr<Context>>> contexts_;  // by slot
  std::size_t held_ = 0;
  std::size_t held_bytes_ = 0;
  std::uint64_t overruns_ = 0;

  std::uint64_t next_;        // the next place to look at
  std::uint64_t end_;         // the tail, when it was last looked at
  std::uint64_t proven_;      // events of places before this one have arrived, or do not come
  std::uint64_t seen_;        // the tail that a read will prove
  ReadCount seen_reads_ = 0;  // reads begun when it was looked at
  ReadCount reads_ = 0;
  bool blocked_ = false;
  // By slot: the last place that was passed of each of its last incarnations that had one.
  std::vector<std::vector<OrderWord>> passed_;

  // The place that is being handed out.
  Context* open_ = nullptr;
  OrderWord word_;
  std::uint64_t place_ = 0;
  // Since the ring ran over: of what was in the pipe then it is not known whether it was passed.
  bool losing_ = false;
  ReadCount losing_reads_ = 0;
  // To look after beside places: dead, losing, or with claims that may have been passed.
  std::vector<Context*> unsettled_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_ORDER_BOOK_H_
