// SPDX-License-Identifier: Apache-2.0
//
// What one receiver's queue had no room for, by the rules of the events: numbers of those that are
// missing, which it is told, and the last values of those that coalesce. Both leave before anything
// that is published later.
#ifndef ALERTPIPE_EVENT_BACKLOG_H_
#define ALERTPIPE_EVENT_BACKLOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace alertpipe::internal {

class EventBacklog {
 public:
  struct Entry {
    bool is_gap = false;
    std::string source;
    std::string name;
    std::uint64_t missed = 0;  // of a gap
    std::string key;           // of a value
    std::string record;        // of a value
  };

  bool empty() const { return entries_.empty(); }
  // Bytes of values.
  std::size_t bytes() const { return bytes_; }

  void AddGap(std::string_view source, std::string_view name, std::uint64_t missed);
  // Whether it has replaced an earlier one.
  bool PutValue(std::string_view source, std::string_view name, std::string_view key,
                std::string record);
  // The first to leave.
  const Entry& front() const { return entries_.front(); }
  void PopFront();

 private:
  std::deque<Entry> entries_;
  std::size_t bytes_ = 0;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_EVENT_BACKLOG_H_
