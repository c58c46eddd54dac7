// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/family_stats.h>
#include <alertpipe/limits.h>

#include <algorithm>

#include <absl/strings/str_cat.h>

#include "core/roster.h"
#include "core/slot_stats.h"
#include "os/foreign_memory.h"

namespace alertpipe {
namespace {

// A family as an outsider sees it. The memory belongs to another process and can hold anything; its
// size is what the kernel vouches for.
class ForeignFamily {
 public:
  enum class Form { kGood, kUnfinished, kForeign };

  ForeignFamily(const os::ForeignMemory& roster, const std::vector<os::ForeignMemory>& files) {
    if (roster.memory.bytes() < sizeof(core::RosterMemory)) return;
    const auto* memory = static_cast<const core::RosterMemory*>(roster.memory.data());
    const core::RosterLabel& label = memory->label;
    const std::uint64_t magic = label.magic.load(std::memory_order_acquire);
    if (magic == 0) form_ = Form::kUnfinished;
    if (magic != core::RosterLabel::kMagic || label.version != core::RosterLabel::kVersion ||
        label.counter_layout != core::kCounterLayout) {
      return;
    }
    slots_ = memory->settings.slots;
    const auto counters = std::find_if(
        files.begin(), files.end(),
        [&label](const os::ForeignMemory& file) { return file.inode == label.counters_inode; });
    if (counters == files.end()) {
      form_ = Form::kUnfinished;  // on its way out
      return;
    }
    if (slots_ == 0 || slots_ > static_cast<std::uint32_t>(kWorkersMax) + 1 ||
        roster.memory.bytes() < core::RosterMemory::Bytes(slots_) ||
        counters->memory.bytes() < slots_ * sizeof(core::CounterPage)) {
      return;
    }
    form_ = Form::kGood;
    roster_ = core::Roster(memory);
    archive_ = memory->Archive(slots_);
    pages_ = static_cast<const core::CounterPage*>(counters->memory.data());
  }

  Form form() const { return form_; }

  FamilyStats Read() const {
    FamilyStats family;
    const core::RosterWord master = roster_.Get(kMasterSlot);
    family.master = {static_cast<pid_t>(master.pid), kMasterSlot, master.generation};
    family.slots.reserve(slots_);
    for (std::uint32_t slot = 0; slot < slots_; ++slot) {
      family.slots.push_back(
          core::ReadSlot(roster_, pages_[slot], archive_[slot], static_cast<int>(slot)));
    }
    return family;
  }

 private:
  Form form_ = Form::kForeign;
  std::uint32_t slots_ = 0;  // as checked: what is there now may be anything
  core::Roster roster_;
  const core::ArchivedCounters* archive_ = nullptr;
  const core::CounterPage* pages_ = nullptr;
};

}  // namespace

std::string_view ToString(SlotState state) {
  switch (state) {
    case SlotState::kFree:
      return "free";
    case SlotState::kStarting:
      return "starting";
    case SlotState::kUp:
      return "up";
    case SlotState::kDraining:
      return "draining";
    case SlotState::kDown:
      return "down";
  }
  return "unknown";
}

absl::StatusOr<std::vector<FamilyStats>> ReadFamilyStats(pid_t master) {
  absl::StatusOr<std::vector<os::ForeignMemory>> files =
      os::OpenForeignMemory(master, "alertpipe-");
  if (absl::IsNotFound(files.status()))
    return absl::NotFoundError(absl::StrCat("there is no process ", master, " (or no /proc)"));
  if (absl::IsPermissionDenied(files.status())) {
    return absl::PermissionDeniedError(absl::StrCat(
        "process ", master, " belongs to another user, or does not let itself be looked at: ",
        files.status().message()));
  }
  if (!files.ok()) return files.status();
  std::vector<FamilyStats> families;
  bool foreign = false;
  for (const os::ForeignMemory& file : *files) {
    if (file.name != "alertpipe-roster") continue;
    const ForeignFamily family(file, *files);
    foreign = foreign || family.form() == ForeignFamily::Form::kForeign;
    if (family.form() == ForeignFamily::Form::kGood) families.push_back(family.Read());
  }
  if (!families.empty()) return families;
  if (foreign) {
    return absl::FailedPreconditionError(
        absl::StrCat("the family of process ", master, " uses another version of alertpipe"));
  }
  return absl::NotFoundError(absl::StrCat("process ", master, " is the master of no family"));
}

}  // namespace alertpipe
