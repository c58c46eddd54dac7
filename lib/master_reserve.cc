// SPDX-License-Identifier: Apache-2.0
//
// Slots in the hands of the program: how a process that was forked for one, by Spawn or by the
// program itself, becomes its worker; and the part of a slot's life that a program which forks on
// its own drives by Reserve, Confirm or Cancel, and ReportExit.
//
// After the program's fork both processes have the Slot. Who may do what with it is decided in two
// places: the fork guard tells parent and child apart, and the claim in the slot's counter page
// (core/claim.h) lets either one child attach or the master take the slot back, never both.
#include <cerrno>
#include <string>
#include <utility>

#include <absl/strings/str_cat.h>

#include "child_side.h"
#include "core/claim.h"
#include "master_state.h"
#include "os/calls.h"

namespace alertpipe {

// The copy of a master that a forked process has is never destroyed there, so in the child the
// state is found unless there was no master any more at the fork.
Slot Master::State::MakeSlot(int slot) {
  auto side = std::make_unique<internal::ChildSide>();
  const std::uint32_t generation = places[static_cast<std::size_t>(slot)].life.word().generation;
  side->slot = slot;
  side->generation = generation;
  const std::weak_ptr<State> weak = weak_from_this();
  side->enter = [weak, slot, generation](uv_loop_t* loop) -> absl::StatusOr<internal::Family*> {
    if (const std::shared_ptr<State> state = weak.lock())
      return state->Enter(slot, generation, loop);
    return absl::FailedPreconditionError(
        absl::StrCat("the master of slot ", slot, " is destroyed"));
  };
  side->give_up = [weak, slot, generation] {
    if (const std::shared_ptr<State> state = weak.lock()) state->GiveUp(slot, generation);
  };
  return Slot(std::move(side));
}

absl::StatusOr<internal::Family*> Master::State::Enter(int slot, std::uint32_t generation,
                                                       uv_loop_t* loop) {
  if (absl::Status status = CheckEntry(slot, generation); !status.ok()) return status;
  if (loop != nullptr && loop == impl->loop()) {
    // Before the descriptors go: the loop knows them by number.
    CloseHandles();
    impl->CloseHandles();
  }
  if (own_slot_ != slot) EnterChild(slot);
  return family;
}

// Asked in a forked process. Without a pidfd a master that is a zombie counts as alive.
bool Master::State::MasterLives() const {
  if (family->lifeline().by_pidfd()) return !family->lifeline().MasterGone();
  // One that belongs to another user lives.
  return os::calls().kill(impl->core().self().pid, 0) == 0 || errno != ESRCH;
}

// Whether the calling process can become the worker of that incarnation; if so it alone can.
absl::Status Master::State::CheckEntry(int slot, std::uint32_t generation) {
  const std::string which = absl::StrCat("slot ", slot, " (generation ", generation, ")");
  const pid_t self = os::calls().getpid();
  if (impl->in_owner()) {
    return absl::FailedPreconditionError(absl::StrCat(
        which, " was reserved by this process: it is for a child that is forked afterwards"));
  }
  if (own_pid_ != 0 && own_pid_ != self) {
    return absl::FailedPreconditionError(absl::StrCat(which, " belongs to the process ", own_pid_));
  }
  if (own_slot_ != kMasterSlot && own_slot_ != slot) {
    return absl::FailedPreconditionError(
        absl::StrCat(which, " cannot be attached: this process has slot ", own_slot_));
  }
  const core::RosterWord word = family->roster().Get(slot);
  if (word.generation != generation || !word.lives()) {
    return absl::FailedPreconditionError(absl::StrCat(which, " has been given up by the master"));
  }
  if (word.pid != 0 && static_cast<pid_t>(word.pid) != self) {
    return absl::FailedPreconditionError(absl::StrCat(which, " belongs to the process ", word.pid));
  }
  // Asked in this order: a parent that is not the master proves nothing once that is dead.
  const pid_t parent = os::calls().getppid();
  if (const pid_t master = impl->core().self().pid; parent != master && MasterLives()) {
    return absl::FailedPreconditionError(absl::StrCat(which, " is for a child of the process ",
                                                      master, ", not for one of ", parent));
  }
  core::Claim& claim = family->counters(slot)->claim;
  const std::uint32_t holder = claim.Take(generation, static_cast<std::uint32_t>(self));
  if (holder == static_cast<std::uint32_t>(self)) return absl::OkStatus();
  if (holder == core::Claim::kWithdrawn) {
    return absl::FailedPreconditionError(absl::StrCat(which, " has been given up by the master"));
  }
  return absl::FailedPreconditionError(absl::StrCat(which, " belongs to the process ", holder));
}

// ---- Forks of the program's own ----

Slot Master::State::Reserve(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  place.main = nullptr;
  place.Reset();
  place.life.Reserve();
  (void)Drive(slot);
  impl->Wake();
  return MakeSlot(slot);
}

absl::StatusOr<Peer> Master::State::Confirm(int slot, pid_t pid) {
  Place& place = places[static_cast<std::size_t>(slot)];
  if (absl::Status status = CheckReserved(slot); !status.ok()) return status;
  const absl::StatusOr<bool> child = os::IsChild(pid);
  if (!child.ok()) return child.status();
  if (!*child) {
    return absl::FailedPreconditionError(absl::StrCat(
        "process ", pid, " is no child of this process, or has been reaped: if it was the worker ",
        "of slot ", slot, ", cancel that"));
  }
  if (const int other = SlotOf(pid); other != kMasterSlot) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", pid, " is the worker of slot ", other, " already"));
  }
  const std::uint32_t holder = family->counters(slot)->claim.holder(place.life.word().generation);
  if (holder != core::Claim::kNobody && holder != static_cast<std::uint32_t>(pid)) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", holder, " has attached to slot ", slot, ", not process ", pid));
  }
  place.life.Forked(static_cast<std::uint32_t>(pid));
  (void)Drive(slot);
  impl->Wake();
  return PeerIn(slot);
}

absl::Status Master::State::CheckReserved(int slot) const {
  const core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
  if (life.reserved()) return absl::OkStatus();
  if (life.idle()) {
    return absl::FailedPreconditionError(absl::StrCat("slot ", slot, " is not reserved"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("slot ", slot, " is not reserved: process ", life.word().pid, " is its worker"));
}

absl::Status Master::State::Cancel(int slot) {
  if (absl::Status status = CheckReserved(slot); !status.ok()) return status;
  return Withdraw(slot);
}

// Takes a reserved slot down, unless a process that lives has attached to it: two would read one
// pipe if the slot were given to another one.
absl::Status Master::State::Withdraw(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  const std::uint32_t holder = family->counters(slot)->claim.Withdraw(place.life.word().generation);
  if (holder != core::Claim::kWithdrawn) {
    const absl::StatusOr<bool> exited = os::HasExited(static_cast<pid_t>(holder));
    if (exited.ok() && !*exited) {
      return absl::FailedPreconditionError(absl::StrCat("process ", holder,
                                                        " lives and has attached to slot ", slot,
                                                        ": confirm it, or end it first"));
    }
  }
  place.life.ForkFailed();
  (void)Drive(slot);
  impl->Wake();
  return absl::OkStatus();
}

// A Slot is destroyed.
void Master::State::GiveUp(int slot, std::uint32_t generation) {
  if (!impl->in_owner()) return;
  const core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
  if (life.reserved() && life.word().generation == generation) (void)Withdraw(slot);
}

// kMasterSlot if none.
int Master::State::SlotOf(pid_t pid) const {
  for (std::size_t slot = 1; slot < places.size(); ++slot) {
    const core::SlotLife& life = places[slot].life;
    if (life.running() && life.word().pid == static_cast<std::uint32_t>(pid))
      return static_cast<int>(slot);
  }
  return kMasterSlot;
}

absl::StatusOr<WorkerExit> Master::State::ReportExit(pid_t pid, int wait_status) {
  const os::ExitStatus reported = os::DecodeWaitStatus(wait_status);
  if (!reported.known) {
    return absl::InvalidArgumentError(absl::StrCat("wait status ", wait_status, " of process ", pid,
                                                   " does not say that it has ended"));
  }
  const int slot = pid > 0 ? SlotOf(pid) : kMasterSlot;
  if (slot == kMasterSlot) {
    return absl::NotFoundError(absl::StrCat("no live worker of this family has pid ", pid,
                                            ", or it was not confirmed: then cancel its slot"));
  }
  if (const absl::StatusOr<bool> exited = os::HasExited(pid); exited.ok() && !*exited) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", pid, ", the worker of slot ", slot, ", has not ended"));
  }
  places[static_cast<std::size_t>(slot)].reported = reported;
  TakeOut(slot);
  impl->Wake();
  return exits_.back();
}

}  // namespace alertpipe
