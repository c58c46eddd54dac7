// SPDX-License-Identifier: Apache-2.0
//
// Who wants to hear which events. Callbacks are called from the general to the particular: those
// for everything, then those for all events of the source, then those for that event; and of each
// of these in the order in which they subscribed.
//
// A callback may subscribe and unsubscribe, itself included: who comes during a dispatch is not
// called in it, who goes is not called any more, and what is running is kept until it has returned.
#ifndef ALERTPIPE_CORE_EVENTS_SUBSCRIPTION_TABLE_H_
#define ALERTPIPE_CORE_EVENTS_SUBSCRIPTION_TABLE_H_

#include <alertpipe/events.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

namespace alertpipe::core {

class SubscriptionTable {
 public:
  struct Subscription {
    SubscriptionId id = 0;
    std::string source;
    std::string name;
    EventCallback on_event;
    GapCallback on_gap;
    bool removed = false;
  };

  // kAny for `source` or `name` means all.
  SubscriptionId Add(std::string_view source, std::string_view name, EventCallback on_event,
                     GapCallback on_gap);
  bool Remove(SubscriptionId id);
  void Clear();
  std::size_t size() const { return places_.size(); }
  // Sources that anything is kept for.
  std::size_t names() const { return by_source_.size(); }

  // Calls `call` with each Subscription for an event. Returns how many there were.
  template <typename Call>
  std::size_t ForEach(std::string_view source, std::string_view name, Call call) {
    Level* levels[3];
    const int count = Find(source, name, levels);
    std::size_t called = 0;
    ++depth_;
    // Whoever is added meanwhile is behind the end.
    std::size_t ends[3];
    for (int i = 0; i < count; ++i) ends[i] = levels[i]->size();
    for (int i = 0; i < count; ++i) {
      for (std::size_t at = 0; at < ends[i]; ++at) {
        Subscription& one = *(*levels[i])[at];
        if (one.removed) continue;
        ++called;
        call(one);
      }
    }
    if (--depth_ == 0 && !swept_.empty()) Sweep();
    return called;
  }
  // The same for every Subscription there is.
  template <typename Call>
  void ForAll(Call call) {
    std::vector<SubscriptionId> ids;
    for (const auto& [id, level] : places_) ids.push_back(id);
    ++depth_;
    for (const SubscriptionId id : ids) {
      const auto found = places_.find(id);
      if (found == places_.end()) continue;
      call(Get(*found->second, id));
    }
    if (--depth_ == 0 && !swept_.empty()) Sweep();
  }

 private:
  using Level = std::vector<std::unique_ptr<Subscription>>;
  struct Source {
    Level any;
    absl::flat_hash_map<std::string, std::unique_ptr<Level>> by_name;
  };

  Level* LevelFor(std::string_view source, std::string_view name);
  int Find(std::string_view source, std::string_view name, Level** levels);
  void Sweep();
  static Subscription& Get(const Level& level, SubscriptionId id);
  void Erase(Level* level, SubscriptionId id);
  void ForgetIfEmpty(const Subscription& last);

  Level any_;
  absl::flat_hash_map<std::string, std::unique_ptr<Source>> by_source_;
  absl::flat_hash_map<SubscriptionId, Level*> places_;
  SubscriptionId last_id_ = 0;
  int depth_ = 0;
  std::vector<std::pair<Level*, SubscriptionId>> swept_;  // removed during a dispatch
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_EVENTS_SUBSCRIPTION_TABLE_H_
