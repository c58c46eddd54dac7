// SPDX-License-Identifier: Apache-2.0
//
// What every event of the soak says about itself: who published it, its number among all that this
// incarnation has published (from 1, of all kinds), the round, when, and a hash of all of that and
// of the bytes behind it.
#ifndef ALERTPIPE_TEST_EVENT_SOAK_STAMP_H_
#define ALERTPIPE_TEST_EVENT_SOAK_STAMP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "books.h"
#include "soak/stamp.h"

namespace alertpipe::event_soak {

struct Stamp {
  std::uint32_t hash = 0;  // of all that follows
  std::uint32_t number = 0;
  std::uint32_t generation = 0;
  std::uint32_t bytes = 0;  // of the whole data, this included
  std::uint64_t time_ns = 0;
  std::uint32_t round = 0;
  std::uint8_t slot = 0;
  Kind kind = Kind::kOrdered;
  std::uint8_t key = 0;  // of kValue
  std::uint8_t spare = 0;

  bool from(const Peer& peer) const { return slot == peer.slot && generation == peer.generation; }
};
static_assert(sizeof(Stamp) == 32);

// Puts `stamp` at the start of data that is there already, with its length and hash.
inline void Seal(Stamp stamp, char* data, std::size_t bytes) {
  stamp.bytes = static_cast<std::uint32_t>(bytes);
  std::memcpy(data, &stamp, sizeof stamp);
  stamp.hash = soak::HashOf(std::string_view(data, bytes).substr(sizeof stamp.hash));
  std::memcpy(data, &stamp.hash, sizeof stamp.hash);
}

// False when the data is not what was sealed.
inline bool Unseal(std::string_view data, Stamp* stamp) {
  if (data.size() < sizeof *stamp) return false;
  std::memcpy(stamp, data.data(), sizeof *stamp);
  return stamp->bytes == data.size() &&
         stamp->hash == soak::HashOf(data.substr(sizeof stamp->hash));
}

}  // namespace alertpipe::event_soak

#endif  // ALERTPIPE_TEST_EVENT_SOAK_STAMP_H_
