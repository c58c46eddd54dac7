// SPDX-License-Identifier: Apache-2.0
//
// Whether there is one order that all logs agree with, though each of them may miss any events: an
// exact proof, which knows nothing of the library's places.
//
// Every log says that each of its events comes before the next one. Such an order exists if and
// only if these statements together make no circle. So the logs are merged: an event may come out
// when it is first in all logs that have it. If at last nothing can come out, there is a circle.
// That is more than what any two logs say of the events that both have (a circle of two): with gaps
// it takes three logs to go round, none of which contradicts another.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_ORDER_CHECK_H_
#define ALERTPIPE_TEST_EVENT_SOAK_ORDER_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "books.h"

namespace alertpipe::event_soak {

class OrderCheck {
 public:
  // The next log, of a receiver of that name; no event is in it twice.
  void Begin(std::string name);
  void Add(const Entry& event);
  // Empty, or a circle: "A has x before y, B has y before x".
  std::string Verdict();

  std::size_t logs() const { return logs_.size(); }
  std::size_t events() const { return different_; }  // different ones, after Verdict

 private:
  using Index = std::uint32_t;  // of an event
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  struct OneLog {
    std::string name;
    std::vector<std::uint64_t> entries;  // packed
    std::size_t at = 0;                  // the first that has not come out
    std::uint32_t next = kNone;          // another log with the same event at its head
  };
  struct Event {
    std::uint32_t logs = 0;       // that have it
    std::uint32_t heads = 0;      // of these, where it is first
    std::uint32_t first = kNone;  // one of those
  };

  // Numbers of one publisher, which are close together.
  struct Range {
    std::uint32_t first = kNone;
    std::uint32_t last = 0;
    Index base = 0;  // index of the first
  };

  static std::uint64_t PublisherOf(std::uint64_t packed) { return packed >> 32; }
  Index IndexOf(std::uint64_t packed) const {
    const Range& range = ranges_.at(PublisherOf(packed));
    return range.base + static_cast<std::uint32_t>(packed) - range.first;
  }
  void NumberEvents();
  void Arrive(std::uint32_t log, std::vector<Index>* ready);
  std::string Circle() const;

  std::vector<OneLog> logs_;
  std::unordered_map<std::uint64_t, Range> ranges_;
  std::vector<Event> events_;  // with holes
  std::size_t different_ = 0;
};

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_ORDER_CHECK_H_
