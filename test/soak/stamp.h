// SPDX-License-Identifier: Apache-2.0
//
// What every alert of the soak says about itself: who sent it, which incarnation it is for, its
// number between the two (from 1, and the library's alert id), how long it is, and a hash of all
// of that and of the bytes behind it.
#ifndef ALERTPIPE_TEST_SOAK_STAMP_H_
#define ALERTPIPE_TEST_SOAK_STAMP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <alertpipe/alertpipe.h>

namespace alertpipe::soak {

enum class StampKind : std::uint8_t { kLoad = 1, kQuiet = 2 };

struct Stamp {
  std::uint32_t hash = 0;  // of all that follows
  std::uint32_t number = 0;
  std::uint32_t from_generation = 0;
  std::uint32_t to_generation = 0;
  std::uint32_t bytes = 0;  // of the whole data, this included
  std::uint8_t from_slot = 0;
  std::uint8_t to_slot = 0;
  StampKind kind = StampKind::kLoad;
  std::uint8_t spare = 0;

  bool from(const Peer& peer) const {
    return from_slot == peer.slot && from_generation == peer.generation;
  }
  bool to(const Peer& peer) const {
    return to_slot == peer.slot && to_generation == peer.generation;
  }
};
static_assert(sizeof(Stamp) == 24);

// Any changed bit of the data changes it. Four lanes: what is long is hashed as fast as it is read.
inline std::uint32_t HashOf(std::string_view data) {
  constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15;
  std::uint64_t lanes[4] = {data.size(), 1, 2, 3};
  const char* at = data.data();
  std::size_t left = data.size();
  const auto mix = [&at](std::uint64_t* lane) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    *lane = (*lane ^ word) * kOdd;
    *lane ^= *lane >> 32;
    at += sizeof word;
  };
  for (; left >= 32; left -= 32) {
    for (std::uint64_t& lane : lanes) mix(&lane);
  }
  for (; left >= 8; left -= 8) mix(lanes);
  std::uint64_t word = 0;
  std::memcpy(&word, at, left);
  lanes[0] = (lanes[0] ^ word) * kOdd;
  for (int i = 1; i < 4; ++i) lanes[0] = ((lanes[0] ^ (lanes[0] >> 29)) + lanes[i]) * kOdd;
  return static_cast<std::uint32_t>(lanes[0] >> 32);
}

// Puts `stamp` at the start of data that is there already, with its length and hash.
inline void Seal(Stamp stamp, char* data, std::size_t bytes) {
  stamp.bytes = static_cast<std::uint32_t>(bytes);
  std::memcpy(data, &stamp, sizeof stamp);
  stamp.hash = HashOf(std::string_view(data, bytes).substr(sizeof stamp.hash));
  std::memcpy(data, &stamp.hash, sizeof stamp.hash);
}

// False when the data is not what was sealed.
inline bool Unseal(std::string_view data, Stamp* stamp) {
  if (data.size() < sizeof *stamp) return false;
  std::memcpy(stamp, data.data(), sizeof *stamp);
  return stamp->bytes == data.size() && stamp->hash == HashOf(data.substr(sizeof stamp->hash));
}

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_STAMP_H_
