// SPDX-License-Identifier: Apache-2.0
//
// Fixed-width little-endian fields at any alignment. The wire is made of nothing else: no struct is
// ever copied to it.
#ifndef ALERTPIPE_CORE_BYTES_H_
#define ALERTPIPE_CORE_BYTES_H_

#include <cstdint>
#include <cstring>

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

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_BYTES_H_
