// SPDX-License-Identifier: Apache-2.0
//
// What alerts carry in a simulation. Each has a number of its own, its serial; name and data follow
// from it, so that whoever gets an alert can tell which one it must be and whether each byte is
// right. The serial stands at the start of the name, or of the data where there is no name. Of
// alerts that carry events it is the source of the event.
#ifndef ALERTPIPE_TEST_SIM_CONTENTS_H_
#define ALERTPIPE_TEST_SIM_CONTENTS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/events/event_record.h"
#include "sim/random.h"

namespace alertpipe::sim {

inline constexpr std::uint64_t kNoSerial = 0;

class Contents {
 public:
  static constexpr std::size_t kSerialBytes = 8;
  static constexpr std::size_t kDataBytesMax = 262144;

  // The serial is in the data: a response, and an alert of the empty name.
  static bool IsNameless(std::uint64_t serial, bool is_response) {
    return is_response || Mix(serial) % 16 == 0;
  }

  // Writes a name to `to`, which has room for 254 bytes, and returns its length.
  static std::size_t Name(std::uint64_t serial, bool is_response, char* to) {
    if (IsNameless(serial, is_response)) return 0;
    const std::size_t bytes = NameBytes(serial);
    std::memcpy(to, Pattern(serial + 1, bytes), bytes);
    std::memcpy(to, &serial, kSerialBytes);
    return bytes;
  }
  // Data of less than kSerialBytes has a name.
  static void Data(std::uint64_t serial, bool nameless, char* to, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, Pattern(serial, bytes), bytes);
    if (nameless) std::memcpy(to, &serial, kSerialBytes);
  }

  // The serial that name and data give; kNoSerial if they are too short for one.
  static std::uint64_t SerialOf(std::string_view name, std::string_view data) {
    core::EventRecord record;
    std::string_view from = name.empty() ? data : name;
    if (name == core::kEventAlertName)
      from = record.Decode(data) ? record.source : data.substr(0, 0);
    std::uint64_t serial = kNoSerial;
    if (from.size() >= kSerialBytes) std::memcpy(&serial, from.data(), kSerialBytes);
    return serial;
  }
  // Of alerts whose bytes do not follow from the serial alone.
  static std::uint64_t SumOf(std::string_view data) {
    std::uint64_t sum = data.size();
    for (; data.size() >= sizeof sum; data.remove_prefix(sizeof sum)) {
      std::uint64_t word = 0;
      std::memcpy(&word, data.data(), sizeof word);
      sum = Mix(sum ^ word);
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, data.data(), data.size());
    return Mix(sum ^ rest);
  }
  static bool IsName(std::uint64_t serial, bool is_response, std::string_view name) {
    char expected[256];
    const std::size_t bytes = Name(serial, is_response, expected);
    return name == std::string_view(expected, bytes);
  }
  static bool IsData(std::uint64_t serial, bool nameless, std::string_view data) {
    const std::size_t skip = nameless ? kSerialBytes : 0;
    if (data.size() < skip) return false;
    if (skip > 0 && std::memcmp(data.data(), &serial, skip) != 0) return false;
    if (data.size() == skip) return true;
    return std::memcmp(data.data() + skip, Pattern(serial, data.size()) + skip,
                       data.size() - skip) == 0;
  }

 private:
  static constexpr std::size_t kPatternBytes = 1U << 20;

  static std::size_t NameBytes(std::uint64_t serial) {
    const std::uint64_t mixed = Mix(serial ^ 0x5bd1e995);
    return mixed % 8 == 0 ? kSerialBytes + (mixed >> 8) % (254 - kSerialBytes + 1)
                          : kSerialBytes + (mixed >> 8) % 8;
  }
  static const char* Pattern(std::uint64_t serial, std::size_t bytes) {
    static const std::vector<char> pattern = [] {
      std::vector<char> made(kPatternBytes);
      Random random(1);
      for (std::size_t at = 0; at < made.size(); at += 8) {
        const std::uint64_t word = random.Next();
        std::memcpy(made.data() + at, &word, 8);
      }
      return made;
    }();
    return pattern.data() + Mix(serial) % (kPatternBytes - bytes);
  }
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_CONTENTS_H_
