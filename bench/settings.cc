// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include <algorithm>
#include <iterator>

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {
namespace {

constexpr std::string_view kWorkloads[] = {"stream", "pingall", "pingpong", "fanout", "fanin"};
constexpr std::string_view kFaults[] = {"", "drop", "corrupt"};

constexpr double kWarmUpShare = 0.2;
constexpr double kWarmUpSecondsMin = 0.05;
constexpr double kWarmUpSecondsMax = 0.5;

template <typename Enum, typename Names>
bool Find(const Names& names, std::string_view text, Enum* value) {
  const auto* found = std::find(std::begin(names), std::end(names), text);
  if (found == std::end(names)) return false;
  *value = static_cast<Enum>(found - std::begin(names));
  return true;
}

template <typename Value>
absl::Status CheckRange(const char* option, Value value, Value least, Value most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", option, " must be ", least, " to ", most, ", not ", value));
}

}  // namespace

std::string_view ToString(Workload workload) {
  return kWorkloads[static_cast<std::size_t>(workload)];
}

bool FromString(std::string_view text, Workload* workload) {
  return Find(kWorkloads, text, workload);
}

bool FromString(std::string_view text, Fault* fault) { return Find(kFaults, text, fault); }

absl::Status Settings::Check() const {
  absl::Status status = CheckRange("bytes", bytes, kBytesMin, kBytesMax);
  const bool is_pair = workload == Workload::kStream || workload == Workload::kPingPong;
  const int least = is_pair || workload == Workload::kPingAll ? 2 : 1;
  status.Update(CheckRange("workers", workers, least, is_pair ? 2 : kWorkersMax));
  status.Update(CheckRange("linger", linger, 0, kLingerMax));
  status.Update(CheckRange("run", run, 1, kRunMax));
  status.Update(CheckRange("seconds", seconds, kSecondsMin, kSecondsMax));
  status.Update(CheckRange("patience", patience, kSecondsMin, kSecondsMax));
  status.Update(CheckRange("round", round, 1, 1000000));
  if (fault == Fault::kCorrupt && !checksum) {
    status.Update(absl::InvalidArgumentError("--break=corrupt is only noticed with --checksum"));
  }
  return status;
}

int Settings::processes() const {
  const bool has_hub = workload == Workload::kFanOut || workload == Workload::kFanIn;
  return workers + (has_hub ? 1 : 0);
}

double Settings::warm_up_seconds() const {
  return std::clamp(seconds * kWarmUpShare, kWarmUpSecondsMin, kWarmUpSecondsMax);
}

}  // namespace alertpipe::bench
