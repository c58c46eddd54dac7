// SPDX-License-Identifier: Apache-2.0
//
// What one receiver's queue had no room for, by the rules of the events: numbers of those that are
// missing, which it is told, and the last values of those that coalesce. Both leave before anything
// that is published later.
#ifndef ALERTPIPE_EVENT_BACKLOG_H_
#define ALERTPIPE_EVENT_BACKLOG_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>

#include <absl/container/flat_hash_map.h>

namespace alertpipe::internal {

class EventBacklog {
 public:
  struct Entry {
    bool is_gap = false;
    std::string source;
    std::string name;
    std::uint64_t missed = 0;  // of a gap
    std::string record;        // of a value
    std::string index;         // what it is found by
  };

  bool empty() const { return entries_.empty(); }
  // Bytes of values, with what it takes to keep them.
  std::size_t bytes() const { return bytes_; }

  // Gaps of more names than kGapsMax are one of no name.
  void AddGap(std::string_view source, std::string_view name, std::uint64_t missed);
  // Whether it has replaced an earlier one. It does not come before what was published in between.
  bool PutValue(std::string_view source, std::string_view name, std::string_view key,
                std::string record);
  // The first to leave.
  const Entry& front() const { return entries_.front(); }
  void PopFront();

 private:
  using Entries = std::list<Entry>;
  static constexpr std::size_t kGapsMax = 1024;

  static std::size_t BytesOf(const Entry& entry);
  void Append(Entry entry);
  void Erase(Entries::iterator at);

  Entries entries_;
  absl::flat_hash_map<std::string, Entries::iterator> by_index_;
  std::size_t gaps_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_EVENT_BACKLOG_H_
