// SPDX-License-Identifier: Apache-2.0
#include "order_check.h"

#include <algorithm>
#include <utility>

namespace alertpipe::event_soak {
namespace {

std::string Text(std::uint64_t packed) {
  const Entry entry = Entry::Unpack(packed);
  return std::to_string(entry.slot) + "." + std::to_string(entry.generation) + "#" +
         std::to_string(entry.number);
}

}  // namespace

void OrderCheck::Begin(std::string name) {
  logs_.emplace_back();
  logs_.back().name = std::move(name);
}

void OrderCheck::Add(const Entry& event) { logs_.back().entries.push_back(event.Pack()); }

void OrderCheck::NumberEvents() {
  for (const OneLog& log : logs_) {
    for (const std::uint64_t packed : log.entries) {
      Range& range = ranges_[PublisherOf(packed)];
      range.first = std::min(range.first, static_cast<std::uint32_t>(packed));
      range.last = std::max(range.last, static_cast<std::uint32_t>(packed));
    }
  }
  Index next = 0;
  for (auto& [publisher, range] : ranges_) {
    range.base = next;
    next += range.last - range.first + 1;
  }
  events_.resize(next);
  for (const OneLog& log : logs_) {
    for (const std::uint64_t packed : log.entries)
      different_ += events_[IndexOf(packed)].logs++ == 0 ? 1 : 0;
  }
}

// The log has come to its next event.
void OrderCheck::Arrive(std::uint32_t log, std::vector<Index>* ready) {
  OneLog& one = logs_[log];
  if (one.at == one.entries.size()) return;
  const Index index = IndexOf(one.entries[one.at]);
  Event& event = events_[index];
  one.next = std::exchange(event.first, log);
  if (++event.heads == event.logs) ready->push_back(index);
}

std::string OrderCheck::Verdict() {
  NumberEvents();
  std::vector<Index> ready;
  for (std::uint32_t log = 0; log < logs_.size(); ++log) Arrive(log, &ready);
  std::size_t out = 0;
  while (!ready.empty()) {
    const Index index = ready.back();
    ready.pop_back();
    ++out;
    for (std::uint32_t log = events_[index].first; log != kNone;) {
      const std::uint32_t next = logs_[log].next;
      ++logs_[log].at;
      Arrive(log, &ready);
      log = next;
    }
  }
  return out == different_ ? std::string() : Circle();
}

// What is at the head of a log that is stuck comes later in another one: so going from log to log
// ends in a circle.
std::string OrderCheck::Circle() const {
  const auto head = [this](std::size_t log) { return logs_[log].entries[logs_[log].at]; };
  const auto stuck = [](const OneLog& log) { return log.at < log.entries.size(); };
  std::vector<std::size_t> way;
  auto log =
      static_cast<std::size_t>(std::find_if(logs_.begin(), logs_.end(), stuck) - logs_.begin());
  auto begin = way.end();
  while ((begin = std::find(way.begin(), way.end(), log)) == way.end()) {
    way.push_back(log);
    const auto has_later = [&](const OneLog& other) {
      if (!stuck(other)) return false;
      const auto first = other.entries.begin() + static_cast<std::ptrdiff_t>(other.at);
      return *first != head(log) &&
             std::find(first, other.entries.end(), head(log)) != other.entries.end();
    };
    const auto next = std::find_if(logs_.begin(), logs_.end(), has_later);
    if (next == logs_.end()) return Text(head(log)) + " is twice in " + logs_[log].name;
    log = static_cast<std::size_t>(next - logs_.begin());
  }
  // Each has its own head before that of the one that led to it.
  std::string text;
  std::size_t before = way.back();
  for (auto at = begin; at != way.end(); before = *at++) {
    text += (text.empty() ? "" : ", ") + logs_[*at].name + " has " + Text(head(*at)) + " before " +
            Text(head(before));
  }
  return text;
}

}  // namespace alertpipe::event_soak
