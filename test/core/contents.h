// SPDX-License-Identifier: Apache-2.0
//
// Data that can be told from any other, and alerts that carry their own proof: the name ends with a
// checksum of the data, so that a torn, mixed or misplaced alert shows wherever it turns up.
#ifndef ALERTPIPE_TEST_CORE_CONTENTS_H_
#define ALERTPIPE_TEST_CORE_CONTENTS_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace alertpipe::core {

inline std::uint64_t Mix(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

// `bytes` bytes without any period.
inline std::string MakeData(std::size_t bytes, std::uint64_t seed = 1) {
  std::string data(bytes, '\0');
  std::size_t at = 0;
  for (std::uint64_t word = Mix(seed); at < bytes; at += sizeof word, word = Mix(word + at)) {
    std::memcpy(data.data() + at, &word, std::min(sizeof word, bytes - at));
  }
  return data;
}

inline std::string Checksum(std::string_view data) {
  std::uint64_t sum = Mix(data.size());
  for (std::size_t at = 0; at < data.size(); at += sizeof sum) {
    std::uint64_t word = 0;
    std::memcpy(&word, data.data() + at, std::min(sizeof word, data.size() - at));
    sum = Mix(sum ^ word);
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum));
  return std::string(text, 16);
}

// A name for `data`: `label` and its checksum.
inline std::string ProvenName(std::string_view label, std::string_view data) {
  return std::string(label) + "|" + Checksum(data);
}
inline bool IsProven(std::string_view name, std::string_view data) {
  const std::string sum = "|" + Checksum(data);
  return name.size() >= sum.size() && name.substr(name.size() - sum.size()) == sum;
}

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_CONTENTS_H_
