// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_book.h"

#include <algorithm>
#include <utility>

namespace alertpipe::core {

OrderBook::OrderBook(OrderRing ring, const Peer& self, int slots, std::uint64_t start)
    : ring_(ring),
      self_(self),
      contexts_(static_cast<std::size_t>(slots)),
      next_(start),
      end_(start),
      proven_(start),
      seen_(start),
      passed_(static_cast<std::size_t>(slots)) {}

OrderBook::~OrderBook() = default;

// ---- Publishers ----

OrderBook::Context* OrderBook::Find(int slot, std::uint32_t generation) const {
  for (const auto& context : contexts_[static_cast<std::size_t>(slot)]) {
    if (context->publisher.generation == generation) return context.get();
  }
  return nullptr;
}

OrderBook::Context* OrderBook::FindFor(const OrderWord& word) const {
  if (word.slot >= contexts_.size()) return nullptr;
  for (const auto& context : contexts_[word.slot]) {
    if (word.IsOf(context->publisher.generation)) return context.get();
  }
  return nullptr;
}

OrderBook::Context& OrderBook::Enter(const Peer& publisher) {
  if (Context* known = Find(publisher.slot, publisher.generation)) return *known;
  // Whoever follows in a slot shows that its predecessors are dead.
  PublisherDied(publisher.slot, publisher.generation - 1);
  auto& contexts = contexts_[static_cast<std::size_t>(publisher.slot)];
  contexts.push_back(std::make_unique<Context>());
  contexts.back()->publisher = publisher;
  return *contexts.back();
}

void OrderBook::Erase(Context* context) {
  auto& contexts = contexts_[static_cast<std::size_t>(context->publisher.slot)];
  contexts.erase(std::find_if(contexts.begin(), contexts.end(),
                              [&](const auto& one) { return one.get() == context; }));
}

void OrderBook::Watch(Context* context) {
  if (!std::exchange(context->watched, true)) unsettled_.push_back(context);
}

// ---- In ----

bool OrderBook::Holds(const Peer& publisher) const {
  const Context* context = Find(publisher.slot, publisher.generation);
  return context != nullptr && !context->items.empty();
}

// It is not known any more whether the places of what is held of one publisher have been passed.
void OrderBook::Lose(Context* context) {
  context->losing = context->items.size();
  if (context->losing > 0) Watch(context);
  if (open_ == context) open_ = nullptr;
}

bool OrderBook::HoldsFrom(int slot) const {
  const auto& contexts = contexts_[static_cast<std::size_t>(slot)];
  return std::any_of(contexts.begin(), contexts.end(),
                     [](const auto& context) { return !context->dead && !context->items.empty(); });
}

void OrderBook::Hold(Item item) {
  // One's own has been in no pipe, and has no place yet.
  const bool own = item.publisher == self_;
  if (own && ring_.HasPassed(next_)) RunOver();
  Context& context = Enter(item.publisher);
  if (item.sequence != 0) {
    // Numbers go up. If not, somebody has forged what is held already.
    if (item.sequence <= context.last) Lose(&context);
    context.last = item.sequence;
  }
  ++held_;
  held_bytes_ += BytesOf(item);
  context.items.push_back(std::move(item));
  if (losing_ && !own) Lose(&context);
}

void OrderBook::Claimed(const Peer& publisher, std::uint64_t sequence) {
  Context* context = Find(publisher.slot, publisher.generation);
  if (context == nullptr || context->items.empty()) return;
  context->claimed = sequence;
  context->claimed_before = ring_.tail();
  Watch(context);
}

void OrderBook::PublisherDied(int slot, std::uint32_t generation) {
  auto& contexts = contexts_[static_cast<std::size_t>(slot)];
  for (std::size_t at = contexts.size(); at > 0; --at) {
    Context* context = contexts[at - 1].get();
    if (context->publisher.generation > generation || context->dead) continue;
    if (context->items.empty() && !context->watched && context != open_) {
      Erase(context);
      continue;
    }
    context->dead = true;
    context->dead_before = ring_.Settle();
    Watch(context);
  }
}

// ---- Places ----

void OrderBook::Look(ReadCount reads) {
  reads_ = reads;
  // Also what somebody has taken who has not moved the tail, and may be stopped.
  const std::uint64_t end = ring_.Settle();
  if (end < end_) {
    RunOver();
  } else {
    end_ = end;
  }
  // Where a tail was believed that made no sense.
  for (Context* context : unsettled_) {
    context->claimed_before = std::min(context->claimed_before, end_);
    context->dead_before = std::min(context->dead_before, end_);
  }
  if (seen_ > proven_) return;  // a read that proves it is awaited
  seen_ = end_;
  seen_reads_ = reads;
}

void OrderBook::HasRead(ReadCount reads) {
  reads_ = reads;
  if (reads > seen_reads_) proven_ = std::max(proven_, seen_);
  if (losing_ && reads > losing_reads_) losing_ = false;
}

// The places that come next have been overwritten: it is not known any more what of all that is
// held, or in the pipe, has been passed.
void OrderBook::RunOver() {
  ++overruns_;
  next_ = end_ = proven_ = seen_ = ring_.Settle();
  open_ = nullptr;
  for (auto& words : passed_) words.clear();
  losing_ = true;
  losing_reads_ = reads_;
  for (const auto& contexts : contexts_) {
    for (const auto& context : contexts) {
      Lose(context.get());
    }
  }
}

// How many of the events that stand in a place are here.
std::size_t OrderBook::Present(const Context& context, const OrderWord& word) const {
  std::size_t present = 0;
  for (const Item& item : context.items) {
    if (item.sequence == 0) continue;
    const std::int64_t behind = word.Behind(item.sequence);
    if (behind < 0) break;
    if (behind < word.count) ++present;
  }
  return present;
}

// A publisher may be late with events that have places when its successor has places, too.
void OrderBook::Pass(const OrderWord& word) {
  if (word.slot >= passed_.size()) return;
  auto& words = passed_[word.slot];
  if (words.empty() || words.back().generation != word.generation) {
    if (words.size() == kPassedMax) words.erase(words.begin());
    words.emplace_back();
  }
  words.back() = word;
}

// Goes on to the next place that has something to hand out. False when there is none, or it is not
// known yet.
bool OrderBook::OpenPlace() {
  blocked_ = false;
  while (next_ < end_) {
    OrderWord word;
    const OrderRing::Place place = ring_.Look(next_, &word);
    if (place == OrderRing::Place::kFree) return false;
    if (place == OrderRing::Place::kOverrun) {
      RunOver();
      return false;
    }
    Context* context = FindFor(word);
    const bool whole = context != nullptr && Present(*context, word) == word.count;
    // One's own events have been in no pipe.
    const bool own = static_cast<int>(word.slot) == self_.slot;
    if (!whole && !own && next_ >= proven_) {
      blocked_ = true;
      return false;
    }
    ++next_;
    Pass(word);
    if (context == nullptr || context->items.empty()) continue;
    open_ = context;
    word_ = word;
    place_ = next_;
    return true;
  }
  return false;
}

// ---- Out ----

OrderBook::Release OrderBook::Take(Context* context, Release release, Item* item) {
  *item = std::move(context->items.front());
  context->items.pop_front();
  --held_;
  held_bytes_ -= BytesOf(*item);
  return release;
}

OrderBook::Release OrderBook::NextOfPlace(Item* item) {
  while (open_ != nullptr && !open_->items.empty()) {
    const std::uint64_t sequence = open_->items.front().sequence;
    if (sequence == 0) return Take(open_, Release::kEvent, item);
    const std::int64_t behind = word_.Behind(sequence);
    if (behind < 0) break;
    if (behind >= word_.count) return Take(open_, Release::kLate, item);
    Take(open_, Release::kEvent, item);
    item->place = place_;
    return Release::kEvent;
  }
  open_ = nullptr;
  return Release::kNothing;
}

// Whether others may have got an event of a dead publisher: then it is missing here.
bool OrderBook::MayHavePassed(const Peer& publisher, std::uint64_t sequence) const {
  const auto& words = passed_[static_cast<std::size_t>(publisher.slot)];
  for (const OrderWord& passed : words) {
    if (passed.IsOf(publisher.generation)) return passed.Behind(sequence) >= 0;
  }
  if (overruns_ > 0) return true;
  if (words.size() < kPassedMax) return false;
  // It had no place, or so many have come after it that this is not known any more.
  const auto behind = static_cast<std::uint8_t>(words.front().generation - publisher.generation);
  return behind < 128;
}

// What comes out of a publisher's events beside its places, if anything.
OrderBook::Release OrderBook::Settle(Context* context, Item* item) {
  if (context->items.empty()) return Release::kNothing;
  const std::uint64_t sequence = context->items.front().sequence;
  const bool lost = context->losing > 0;
  const bool passed =
      context->claimed != 0 && next_ >= context->claimed_before && sequence <= context->claimed;
  const bool withdrawn = context->dead && next_ >= context->dead_before;
  if (!lost && !passed && !withdrawn) return Release::kNothing;
  if (lost) --context->losing;
  if (sequence == 0) return Take(context, Release::kEvent, item);
  const bool late = lost || passed || MayHavePassed(context->publisher, sequence);
  return Take(context, late ? Release::kLate : Release::kWithdrawn, item);
}

OrderBook::Release OrderBook::NextSettled(Item* item) {
  for (std::size_t at = 0; at < unsettled_.size();) {
    Context* context = unsettled_[at];
    const Release release = Settle(context, item);
    if (release != Release::kNothing) return release;
    if (context->claimed != 0 && next_ >= context->claimed_before) context->claimed = 0;
    const bool gone = context->dead && next_ >= context->dead_before;  // nothing is left of it
    if (!gone && (context->dead || context->claimed != 0)) {
      ++at;
      continue;
    }
    context->watched = false;
    unsettled_[at] = unsettled_.back();
    unsettled_.pop_back();
    if (gone) Erase(context);
  }
  return Release::kNothing;
}

OrderBook::Release OrderBook::Next(Item* item) {
  for (;;) {
    const std::uint64_t runs = overruns_;
    Release release = NextOfPlace(item);
    if (release == Release::kNothing) release = NextSettled(item);
    if (release != Release::kNothing) return release;
    if (!OpenPlace() && runs == overruns_) break;
  }
  // The last places may have been what the rest waited for.
  return NextSettled(item);
}

}  // namespace alertpipe::core
