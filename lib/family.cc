// SPDX-License-Identifier: Apache-2.0
#include "family.h"

#include <fcntl.h>

#include <algorithm>
#include <new>

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "core/packet.h"
#include "os/limits.h"

namespace alertpipe::internal {
namespace {

// Descriptors besides the pipes: lifeline, exit watch, the memory files, a pidfd per worker is
// counted by the caller.
constexpr std::size_t kOtherDescriptors = 8;
// More than any kernel grants; fcntl takes an int.
constexpr std::size_t kPipeCapacityMax = std::size_t{1} << 30;
constexpr std::uint32_t kUniqueKeysMax = 65536;
constexpr absl::Duration kUniqueTimeoutMax = absl::Hours(24 * 365);

absl::Status OutOfRange(const char* option, std::uint64_t low, std::uint64_t high,
                        absl::string_view value) {
  return absl::InvalidArgumentError(
      absl::StrCat("MasterOptions::", option, " must be ", low, " to ", high, ", was ", value));
}

// A queue that cannot hold one packet.
absl::Status TooSmall(const char* option, std::uint64_t value) {
  return absl::InvalidArgumentError(absl::StrCat("MasterOptions::", option, " must be at least ",
                                                 core::kPacketBytesMax, ", was ", value));
}

// The status of a system call, with what it was made for in front.
absl::Status About(absl::string_view what, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

absl::Status CheckEvents(const EventSettings& events, int workers_max) {
  if (events.unique_timeout <= absl::ZeroDuration() || events.unique_timeout > kUniqueTimeoutMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("EventSettings::unique_timeout must be above zero and at most ",
                     absl::FormatDuration(kUniqueTimeoutMax), ", was ",
                     absl::FormatDuration(events.unique_timeout)));
  }
  const auto slots = static_cast<std::uint32_t>(workers_max) + 1;
  const std::uint32_t most = std::min(kUniqueKeysMax, core::UniqueTable::kCellsMax / slots);
  if (events.unique_keys_max >= 1 && events.unique_keys_max <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("EventSettings::unique_keys_max must be 1 to ",
                                                 most, " with ", workers_max, " workers, was ",
                                                 events.unique_keys_max));
}

absl::Status CheckOptions(const MasterOptions& options) {
  if (options.workers_max < 1 || options.workers_max > kWorkersMax) {
    return OutOfRange("workers_max", 1, kWorkersMax, absl::StrCat(options.workers_max));
  }
  if (options.pipe_capacity != 0 &&
      (options.pipe_capacity < core::kPacketBytesMax || options.pipe_capacity > kPipeCapacityMax)) {
    return absl::InvalidArgumentError(absl::StrCat("MasterOptions::pipe_capacity must be 0 or ",
                                                   core::kPacketBytesMax, " to ", kPipeCapacityMax,
                                                   ", was ", options.pipe_capacity));
  }
  if (options.alert_bytes_max > kDataBytesMax) {
    return OutOfRange("alert_bytes_max", 0, kDataBytesMax, absl::StrCat(options.alert_bytes_max));
  }
  if (options.reassembly_bytes_max < options.alert_bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("MasterOptions::reassembly_bytes_max must be at least alert_bytes_max (",
                     options.alert_bytes_max, "), was ", options.reassembly_bytes_max));
  }
  if (options.queued_bytes_per_peer_max < core::kPacketBytesMax) {
    return TooSmall("queued_bytes_per_peer_max", options.queued_bytes_per_peer_max);
  }
  if (options.queued_bytes_max < core::kPacketBytesMax) {
    return TooSmall("queued_bytes_max", options.queued_bytes_max);
  }
  return options.events.has_value() ? CheckEvents(*options.events, options.workers_max)
                                    : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Family>> Family::Create(const MasterOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  if (absl::Status status = os::CheckStandardDescriptors(); !status.ok()) return status;
  const auto slots = static_cast<std::uint32_t>(options.workers_max) + 1;
  // Two for each pipe, and a pidfd for each worker.
  if (absl::Status status =
          os::CheckDescriptors(3 * static_cast<std::size_t>(slots) + kOtherDescriptors);
      !status.ok()) {
    return status;
  }
  if (const std::size_t most = os::PacketBytesMax(); most < core::kPacketBytesMax) {
    return absl::UnimplementedError(absl::StrCat("this system writes at most ", most,
                                                 " bytes to a pipe in one piece; packets need ",
                                                 core::kPacketBytesMax));
  }
  absl::StatusOr<os::Kernel> kernel = os::ProbeKernel();
  if (!kernel.ok()) return About("measuring what the kernel can do", kernel.status());
  absl::StatusOr<os::SealedRegion> roster =
      os::SealedRegion::Create("alertpipe-roster", core::RosterMemory::Bytes(slots));
  if (!roster.ok()) return roster.status();
  absl::StatusOr<os::SharedRegion> counters =
      os::SharedRegion::Create("alertpipe-counters", slots * sizeof(core::CounterPage));
  if (!counters.ok()) return counters.status();
  absl::StatusOr<os::Lifeline> lifeline = os::Lifeline::Create(*kernel);
  if (!lifeline.ok()) return lifeline.status();

  std::unique_ptr<Family> family(
      new Family(*kernel, *std::move(roster), *std::move(counters), *std::move(lifeline)));
  std::size_t capacity_max = 0;
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    absl::StatusOr<os::Pipe> pipe = os::CreatePipe(options.pipe_capacity);
    if (!pipe.ok()) return About(absl::StrCat("pipe of slot ", slot), pipe.status());
    family->capacity_min_ =
        slot == 0 ? pipe->capacity : std::min(family->capacity_min_, pipe->capacity);
    capacity_max = std::max(capacity_max, pipe->capacity);
    family->pipes_.push_back(*std::move(pipe));
    new (family->counters(static_cast<int>(slot))) core::CounterPage;
  }
  if (options.events.has_value()) {
    const std::size_t bytes =
        core::EventsMemory::Bytes(static_cast<int>(slots), options.events->unique_keys_max);
    absl::StatusOr<os::SharedRegion> events = os::SharedRegion::Create("alertpipe-events", bytes);
    if (!events.ok()) return events.status();
    family->events_.emplace(*std::move(events));
  }
  core::FamilySettings settings;
  if (options.events.has_value()) {
    settings.events = 1;
    settings.unique_keys_max = options.events->unique_keys_max;
    settings.unique_timeout_ns =
        static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(options.events->unique_timeout));
  }
  settings.slots = slots;
  settings.runs = kernel->runs ? 1 : 0;
  settings.pipe_capacity = capacity_max;
  settings.alert_bytes_max = options.alert_bytes_max;
  settings.latency_histograms = options.latency_histograms ? 1 : 0;
  settings.reassembly_bytes_max = options.reassembly_bytes_max;
  settings.queued_bytes_per_peer_max = options.queued_bytes_per_peer_max;
  settings.queued_bytes_max = options.queued_bytes_max;
  family->roster_writer().Settle(settings, family->counters_.inode());
  return family;
}

std::vector<int> Family::outbox_fds() const {
  std::vector<int> fds;
  fds.reserve(pipes_.size());
  for (const os::Pipe& pipe : pipes_) fds.push_back(pipe.write.get());
  return fds;
}

core::EventsMemory Family::events() {
  if (!events_.has_value()) return core::EventsMemory();
  return core::EventsMemory(events_->At(0), slots(), roster().settings().unique_keys_max);
}

void Family::ResetCounters(int slot, std::uint32_t generation) {
  core::CounterPage* page = counters(slot);
  page->Reset(generation);
  page->pipe_capacity.Set(pipes_[static_cast<std::size_t>(slot)].capacity);
}

void Family::EnterChild(int slot, bool keep_master_inbox) {
  roster_.ForgetWritable();
  roster_.CloseFd();
  for (int other = 0; other < slots(); ++other) {
    if (other != slot && !(other == kMasterSlot && keep_master_inbox))
      pipes_[static_cast<std::size_t>(other)].read.reset();
  }
  // A page that cannot be unmapped is only a courtesy that failed.
  (void)counters_.KeepOnly(static_cast<std::size_t>(slot) * sizeof(core::CounterPage),
                           sizeof(core::CounterPage));
  counters_.CloseFd();
  if (events_.has_value()) events_->CloseFd();
  lifeline_.EnterChild(os::Lifeline::Descent::kDirect);
}

void Family::MakePrivate(int slot) {
  if (kernel_.nowait) return;
  (void)os::MakePrivate(pipes_[static_cast<std::size_t>(slot)].read, O_RDONLY);
  for (os::Pipe& pipe : pipes_) (void)os::MakePrivate(pipe.write, O_WRONLY);
}

}  // namespace alertpipe::internal
