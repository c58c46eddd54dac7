// SPDX-License-Identifier: Apache-2.0
//
// What one measurement is: one workload over one transport, once.
#ifndef ALERTPIPE_BENCH_SETTINGS_H_
#define ALERTPIPE_BENCH_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <absl/status/status.h>

namespace alertpipe::bench {

enum class Workload : std::uint8_t { kStream, kPingAll, kPingPong, kFanOut, kFanIn };

std::string_view ToString(Workload workload);
bool FromString(std::string_view text, Workload* workload);

// A fault that a sender commits once, so that the harness can show that it notices.
enum class Fault : std::uint8_t { kNone, kDrop, kCorrupt };

bool FromString(std::string_view text, Fault* fault);

// The data of an alert starts with its number.
inline constexpr std::size_t kBytesMin = 8;
inline constexpr std::size_t kBytesMax = std::size_t{1} << 30;
inline constexpr int kWorkersMax = 256;
inline constexpr int kLingerMax = 1000;
inline constexpr int kRunMax = 16;
inline constexpr double kSecondsMin = 0.05;
inline constexpr double kSecondsMax = 600;

struct Settings {
  Workload workload = Workload::kStream;
  std::string transport;
  int round = 1;
  int workers = 2;  // all processes; in a fan-out its receivers, in a fan-in its senders
  std::size_t bytes = 10;
  double seconds = 1;
  std::size_t capacity = 0;
  // How often an empty inbox is tried again before the process sleeps, where a transport can.
  int linger = 0;
  // Packets that leave with one call, where a transport has runs.
  int run = 2;
  bool checksum = false;
  Fault fault = Fault::kNone;
  double patience = 10;  // seconds that start and end may take

  // kInvalidArgument names option, limit and value.
  absl::Status Check() const;

  int processes() const;
  // A share of the measured time, so that short runs stay short.
  double warm_up_seconds() const;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_SETTINGS_H_
