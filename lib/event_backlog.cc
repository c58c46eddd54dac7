// SPDX-License-Identifier: Apache-2.0
#include "event_backlog.h"

#include <utility>

#include <absl/strings/str_cat.h>

namespace alertpipe::internal {
namespace {

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

std::string IndexOf(char kind, std::string_view source, std::string_view name,
                    std::string_view key) {
  return absl::StrCat(absl::string_view(&kind, 1), source.size(), ".", name.size(), ".",
                      View(source), View(name), View(key));
}

}  // namespace

std::size_t EventBacklog::BytesOf(const Entry& entry) {
  return entry.is_gap ? 0 : entry.record.size() + 2 * entry.index.size() + sizeof(Entry);
}

void EventBacklog::Append(Entry entry) {
  bytes_ += BytesOf(entry);
  gaps_ += entry.is_gap ? 1 : 0;
  entries_.push_back(std::move(entry));
  by_index_[entries_.back().index] = std::prev(entries_.end());
}

void EventBacklog::Erase(Entries::iterator at) {
  bytes_ -= BytesOf(*at);
  gaps_ -= at->is_gap ? 1 : 0;
  by_index_.erase(at->index);
  entries_.erase(at);
}

void EventBacklog::AddGap(std::string_view source, std::string_view name, std::uint64_t missed) {
  Entry entry;
  entry.is_gap = true;
  entry.index = IndexOf('g', source, name, {});
  auto found = by_index_.find(entry.index);
  if (found == by_index_.end() && gaps_ >= kGapsMax) {
    source = name = {};
    entry.index = IndexOf('g', source, name, {});
    found = by_index_.find(entry.index);
  }
  if (found != by_index_.end()) {
    found->second->missed += missed;
    return;
  }
  entry.source = std::string(source);
  entry.name = std::string(name);
  entry.missed = missed;
  Append(std::move(entry));
}

bool EventBacklog::PutValue(std::string_view source, std::string_view name, std::string_view key,
                            std::string record) {
  Entry entry;
  entry.source = std::string(source);
  entry.name = std::string(name);
  entry.record = std::move(record);
  entry.index = IndexOf('v', source, name, key);
  const auto found = by_index_.find(entry.index);
  const bool replaces = found != by_index_.end();
  if (replaces) Erase(found->second);
  Append(std::move(entry));
  return replaces;
}

void EventBacklog::PopFront() { Erase(entries_.begin()); }

}  // namespace alertpipe::internal
