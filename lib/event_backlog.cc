// SPDX-License-Identifier: Apache-2.0
#include "event_backlog.h"

#include <utility>

namespace alertpipe::internal {

void EventBacklog::AddGap(std::string_view source, std::string_view name, std::uint64_t missed) {
  for (Entry& entry : entries_) {
    if (!entry.is_gap || entry.source != source || entry.name != name) continue;
    entry.missed += missed;
    return;
  }
  Entry entry;
  entry.is_gap = true;
  entry.source = std::string(source);
  entry.name = std::string(name);
  entry.missed = missed;
  entries_.push_back(std::move(entry));
}

bool EventBacklog::PutValue(std::string_view source, std::string_view name, std::string_view key,
                            std::string record) {
  bytes_ += record.size();
  for (Entry& entry : entries_) {
    if (entry.is_gap || entry.source != source || entry.name != name || entry.key != key) continue;
    bytes_ -= entry.record.size();
    entry.record = std::move(record);
    return true;
  }
  Entry entry;
  entry.source = std::string(source);
  entry.name = std::string(name);
  entry.key = std::string(key);
  entry.record = std::move(record);
  entries_.push_back(std::move(entry));
  return false;
}

void EventBacklog::PopFront() {
  bytes_ -= entries_.front().record.size();
  entries_.pop_front();
}

}  // namespace alertpipe::internal
