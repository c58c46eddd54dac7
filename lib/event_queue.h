// SPDX-License-Identifier: Apache-2.0
//
// Events that wait to be handed out in this process: those of Audience::Local() first, then all
// others, each in the order in which they came.
#ifndef ALERTPIPE_EVENT_QUEUE_H_
#define ALERTPIPE_EVENT_QUEUE_H_

#include <alertpipe/buffer.h>
#include <alertpipe/peer.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include <absl/functional/any_invocable.h>

namespace alertpipe::internal {

class EventQueue {
 public:
  struct Item {
    Buffer record;  // as core::EventRecord decodes it
    Peer publisher;
    std::uint64_t place = 0;
    bool replayed = false;
    std::shared_ptr<absl::AnyInvocable<void()>> call;  // in an event's stead
  };

  bool empty() const { return local_.empty() && posted_.empty(); }
  std::size_t bytes() const { return bytes_; }

  void PushLocal(Item item) { Push(&local_, std::move(item)); }
  void PushPosted(Item item) { Push(&posted_, std::move(item)); }
  // False when there is none.
  bool Pop(Item* item) {
    std::deque<Item>& from = local_.empty() ? posted_ : local_;
    if (from.empty()) return false;
    *item = std::move(from.front());
    from.pop_front();
    bytes_ -= BytesOf(*item);
    return true;
  }
  void Clear() {
    local_.clear();
    posted_.clear();
    bytes_ = 0;
  }

 private:
  // With what it takes to hold it.
  static std::size_t BytesOf(const Item& item) { return item.record.size() + sizeof(Item) + 32; }
  void Push(std::deque<Item>* to, Item item) {
    bytes_ += BytesOf(item);
    to->push_back(std::move(item));
  }

  std::deque<Item> local_;
  std::deque<Item> posted_;
  std::size_t bytes_ = 0;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_EVENT_QUEUE_H_
