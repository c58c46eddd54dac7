// SPDX-License-Identifier: Apache-2.0
//
// Fixed-width little-endian fields at any alignment. The wire is made of nothing else: no struct is
// ever copied to it.
#ifndef ALERTPIPE_CORE_BYTES_H_
#define ALERTPIPE_CORE_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace alertpipe::core {

template <typename T>
inline T FromLittleEndian(T value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
#endif
  return value;
}

template <typename T>
inline T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return FromLittleEndian(value);
}

template <typename T>
inline void Store(char* to, T value) {
  value = FromLittleEndian(value);
  std::memcpy(to, &value, sizeof value);
}

// Few bytes, as names and small data are, cost less than the call of a function that can do all:
// two overlapping moves of 4 or 8 bytes.
inline void CopyBytes(char* to, std::string_view from) {
  const char* at = from.data();
  const std::size_t bytes = from.size();
  if (bytes > 16) {
    std::memcpy(to, at, bytes);
  } else if (bytes >= 8) {
    std::uint64_t ends[2];
    std::memcpy(&ends[0], at, 8);
    std::memcpy(&ends[1], at + bytes - 8, 8);
    std::memcpy(to, &ends[0], 8);
    std::memcpy(to + bytes - 8, &ends[1], 8);
  } else if (bytes >= 4) {
    std::uint32_t ends[2];
    std::memcpy(&ends[0], at, 4);
    std::memcpy(&ends[1], at + bytes - 4, 4);
    std::memcpy(to, &ends[0], 4);
    std::memcpy(to + bytes - 4, &ends[1], 4);
  } else {
    for (std::size_t i = 0; i < bytes; ++i) to[i] = at[i];
  }
}

// The same for the comparison of two names.
inline bool SameBytes(std::string_view a, std::string_view b) {
  const std::size_t bytes = a.size();
  if (bytes != b.size()) return false;
  const auto differ = [&](std::size_t at, auto part) {
    auto other = part;
    std::memcpy(&part, a.data() + at, sizeof part);
    std::memcpy(&other, b.data() + at, sizeof other);
    return part ^ other;
  };
  if (bytes > 16) return std::memcmp(a.data(), b.data(), bytes) == 0;
  if (bytes >= 8) return (differ(0, std::uint64_t{0}) | differ(bytes - 8, std::uint64_t{0})) == 0;
  if (bytes >= 4) return (differ(0, std::uint32_t{0}) | differ(bytes - 4, std::uint32_t{0})) == 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_BYTES_H_
