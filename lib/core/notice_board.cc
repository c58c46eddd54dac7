// SPDX-License-Identifier: Apache-2.0
#include "core/notice_board.h"

#include <algorithm>

#include "core/packet.h"

namespace alertpipe::core {

struct NoticeBoard::Notice {
  std::uint64_t at;
  int slot;
  RecordKind kind;
};

std::uint64_t NoticeBoard::Tick(int about) {
  std::uint64_t& told = told_[static_cast<std::size_t>(about)];
  if (told == now_) ++told;
  return ++now_;
}

std::uint64_t NoticeBoard::TickFor(int reader) {
  // Who is waiting for something else has its own place before it, and finds nothing here.
  for (std::size_t other = 0; other < told_.size(); ++other) {
    if (static_cast<int>(other) != reader && told_[other] == now_) ++told_[other];
  }
  return ++now_;
}

void NoticeBoard::Died(int slot, std::uint32_t generation) {
  Change& change = changes_[static_cast<std::size_t>(slot)];
  change.died_at = Tick(slot);
  change.died_generation = generation;
}

void NoticeBoard::Joined(int slot, std::uint32_t generation, std::uint32_t pid) {
  Change& change = changes_[static_cast<std::size_t>(slot)];
  change.joined_at = Tick(slot);
  change.joined_generation = generation;
  change.joined_pid = pid;
}

void NoticeBoard::Draining(int slot, std::uint32_t generation, int successor_slot) {
  Change& change = changes_[static_cast<std::size_t>(slot)];
  change.draining_at = TickFor(slot);
  change.draining_generation = generation;
  change.successor_slot = successor_slot;
}

std::vector<NoticeBoard::Notice> NoticeBoard::NewsFor(int reader) const {
  const std::uint64_t told = told_[static_cast<std::size_t>(reader)];
  std::vector<Notice> news;
  const auto add = [&](std::uint64_t at, int slot, RecordKind kind) {
    if (at > told) news.push_back({at, slot, kind});
  };
  for (int slot = 0; slot < static_cast<int>(changes_.size()); ++slot) {
    const Change& change = changes_[static_cast<std::size_t>(slot)];
    if (slot == reader) {
      add(change.draining_at, slot, RecordKind::kDraining);
    } else {
      add(change.died_at, slot, RecordKind::kDied);
      add(change.joined_at, slot, RecordKind::kJoined);
    }
  }
  std::sort(news.begin(), news.end(), [](const Notice& a, const Notice& b) { return a.at < b.at; });
  return news;
}

std::size_t NoticeBoard::Encode(int reader, char* to, std::size_t room,
                                std::uint64_t* cursor) const {
  std::size_t used = 0;
  *cursor = now_;
  for (const Notice& notice : NewsFor(reader)) {
    const Change& change = changes_[static_cast<std::size_t>(notice.slot)];
    const auto slot = static_cast<std::uint16_t>(notice.slot);
    char body[JoinedBody::kBytes];
    Record record;
    record.kind = notice.kind;
    if (notice.kind == RecordKind::kDied) {
      DiedBody{slot, change.died_generation}.Encode(body);
      record.data = std::string_view(body, DiedBody::kBytes);
    } else if (notice.kind == RecordKind::kJoined) {
      JoinedBody{slot, change.joined_generation, change.joined_pid}.Encode(body);
      record.data = std::string_view(body, JoinedBody::kBytes);
    } else {
      DrainingBody{slot, change.draining_generation,
                   static_cast<std::uint16_t>(change.successor_slot)}
          .Encode(body);
      record.data = std::string_view(body, DrainingBody::kBytes);
    }
    if (used + RecordSize(record.kind, 0, 0, record.data.size()) > room) {
      *cursor = notice.at - 1;
      break;
    }
    used += EncodeRecord(record, to + used);
  }
  return used;
}

}  // namespace alertpipe::core
