// SPDX-License-Identifier: Apache-2.0
#include "core/packet.h"

#include <cstring>

namespace alertpipe::core {
void RejectBody::Encode(char* to) const {
  Store<std::uint64_t>(to, alert_id);
  Store<std::uint64_t>(to + 8, request_id);
  Store<std::uint8_t>(to + 16, reason);
}

bool RejectBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  alert_id = Load<std::uint64_t>(from.data());
  request_id = Load<std::uint64_t>(from.data() + 8);
  reason = Load<std::uint8_t>(from.data() + 16);
  return true;
}

void JoinedBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
  Store<std::uint32_t>(to + 6, pid);
}

bool JoinedBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  pid = Load<std::uint32_t>(from.data() + 6);
  return true;
}

void DiedBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
}

bool DiedBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  return true;
}

void DrainingBody::Encode(char* to) const {
  Store<std::uint16_t>(to, slot);
  Store<std::uint32_t>(to + 2, generation);
  Store<std::uint16_t>(to + 6, successor_slot);
}

bool DrainingBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  slot = Load<std::uint16_t>(from.data());
  generation = Load<std::uint32_t>(from.data() + 2);
  successor_slot = Load<std::uint16_t>(from.data() + 6);
  return true;
}

void UnhandledBody::Encode(char* to) const { Store<std::uint64_t>(to, request_id); }

bool UnhandledBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  request_id = Load<std::uint64_t>(from.data());
  return true;
}

void BarrierBody::Encode(char* to) const { Store<std::uint64_t>(to, id); }

bool BarrierBody::Decode(std::string_view from) {
  if (from.size() != kBytes) return false;
  id = Load<std::uint64_t>(from.data());
  return true;
}

}  // namespace alertpipe::core
