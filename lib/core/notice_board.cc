// SPDX-License-Identifier: Apache-2.0
#include "core/notice_board.h"

#include <algorithm>

#include "core/packet.h"

namespace alertpipe::core {
namespace {

struct Notice {
  std::uint64_t at;
  int slot;
  bool died;
};

}  // namespace

std::uint64_t NoticeBoard::Tick(int about) {
  std::uint64_t& told = told_[static_cast<std::size_t>(about)];
  if (told == now_) ++told;
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

std::size_t NoticeBoard::Encode(int reader, char* to, std::size_t room,
                                std::uint64_t* cursor) const {
  const std::uint64_t told = told_[static_cast<std::size_t>(reader)];
  std::vector<Notice> notices;
  for (std::size_t slot = 0; slot < changes_.size(); ++slot) {
    if (static_cast<int>(slot) == reader) continue;
    const Change& change = changes_[slot];
    if (change.died_at > told) notices.push_back({change.died_at, static_cast<int>(slot), true});
    if (change.joined_at > told)
      notices.push_back({change.joined_at, static_cast<int>(slot), false});
  }
  std::sort(notices.begin(), notices.end(),
            [](const Notice& a, const Notice& b) { return a.at < b.at; });
  std::size_t used = 0;
  *cursor = now_;
  for (const Notice& notice : notices) {
    const Change& change = changes_[static_cast<std::size_t>(notice.slot)];
    char body[JoinedBody::kBytes];
    Record record;
    if (notice.died) {
      DiedBody{static_cast<std::uint16_t>(notice.slot), change.died_generation}.Encode(body);
      record.kind = RecordKind::kDied;
      record.data = std::string_view(body, DiedBody::kBytes);
    } else {
      JoinedBody{static_cast<std::uint16_t>(notice.slot), change.joined_generation,
                 change.joined_pid}
          .Encode(body);
      record.kind = RecordKind::kJoined;
      record.data = std::string_view(body, JoinedBody::kBytes);
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
