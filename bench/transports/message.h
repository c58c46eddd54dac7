// SPDX-License-Identifier: Apache-2.0
//
// What lies in front of the data where a transport carries whole messages: the name and the sender.
// Processes on one machine: fields are as the machine has them.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_MESSAGE_H_
#define ALERTPIPE_BENCH_TRANSPORTS_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "link.h"

namespace alertpipe::bench {

struct MessageHead {
  char name[kNameBytes];
  std::uint32_t sender;
};
inline constexpr std::size_t kMessageHeadBytes = sizeof(MessageHead);

inline void PutHead(char* message, Name name, int sender) {
  MessageHead head;
  std::memcpy(head.name, ToString(name).data(), kNameBytes);
  head.sender = static_cast<std::uint32_t>(sender);
  std::memcpy(message, &head, sizeof(head));
}

// A message that has been taken apart; the data is a view of it.
struct Message {
  bool whole = false;  // false: nothing else is known
  int sender = 0;
  Name name = Name::kItem;
  std::string_view data;
};

inline Message TakeApart(std::string_view bytes, int processes) {
  MessageHead head;
  if (bytes.size() < sizeof(head)) return {};
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (head.sender >= static_cast<std::uint32_t>(processes)) return {};
  const std::string_view name(head.name, kNameBytes);
  for (const Name known : {Name::kItem, Name::kPing, Name::kPong, Name::kLast}) {
    if (name != ToString(known)) continue;
    return {true, static_cast<int>(head.sender), known, bytes.substr(sizeof(head))};
  }
  return {};
}

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_MESSAGE_H_
