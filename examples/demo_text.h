// SPDX-License-Identifier: Apache-2.0
//
// What the demo's master and workers agree on: who plays which part, how they are named, and how
// numbers travel.
#ifndef ALERTPIPE_EXAMPLES_DEMO_TEXT_H_
#define ALERTPIPE_EXAMPLES_DEMO_TEXT_H_

#include <alertpipe/alertpipe.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

namespace demo {

inline constexpr int kWorkers = 4;
inline constexpr int kSpeaker = 1;   // the slot of the worker that does most of the sending
inline constexpr int kListener = 2;  // the slot that the stream goes to
inline constexpr int kVictim = 3;    // the slot whose worker is killed
inline constexpr std::uint64_t kJobs = 600;

inline std::string Name(const alertpipe::Peer& peer) {
  if (peer.is_master()) return "the master";
  return "worker " + std::to_string(peer.slot) + "." + std::to_string(peer.generation);
}

inline std::string WithCommas(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

// Numbers travel as eight bytes in this machine's order: sender and receiver are one program.
inline std::string Encode(std::initializer_list<std::uint64_t> numbers) {
  std::string bytes;
  for (const std::uint64_t number : numbers) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  return bytes;
}

inline std::uint64_t Decode(std::string_view bytes, std::size_t index = 0) {
  std::uint64_t number = 0;
  if (bytes.size() >= (index + 1) * sizeof(number)) {
    std::memcpy(&number, bytes.data() + index * sizeof(number), sizeof(number));
  }
  return number;
}

}  // namespace demo

#endif  // ALERTPIPE_EXAMPLES_DEMO_TEXT_H_
