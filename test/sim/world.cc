// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <absl/strings/str_cat.h>

#include "core/inbox.h"
#include "sim/real_pipe.h"

namespace alertpipe::sim {
namespace {

constexpr std::uint32_t kMasterPid = 100;

// How often it may take time, and not only steps.
constexpr int kTimersMax = 1000;

// How many steps it may take until everything is at rest: some for each packet that is under way,
// and what a family does anyway.
std::uint64_t RestBound(std::size_t queued_bytes, int slots) {
  return 20000 + static_cast<std::uint64_t>(slots) * slots * 1000 + queued_bytes / 4096 * 200;
}

std::unique_ptr<AnyPipe> MakePipe(const Plan& plan) {
  const auto capacity = static_cast<std::size_t>(plan.settings.pipe_capacity);
  if (plan.real_pipes) return std::make_unique<RealPipe>(capacity);
  return std::make_unique<Pipe>(capacity);
}

}  // namespace

World::World(const Plan& plan, Census* census, bool trace)
    : plan_(plan),
      census_(census),
      trace_(trace),
      random_(plan.seed),
      roster_(plan.settings),
      board_(static_cast<int>(plan.settings.slots)),
      ledger_(static_cast<int>(plan.settings.slots), census),
      ring_(plan.publish == 0 ? 1 : plan.places),
      starts_(plan.settings.slots),
      orders_(&ledger_, &ring_.memory(), plan.places, census),
      lives_(this, static_cast<int>(plan.settings.slots)) {
  for (std::uint32_t slot = 0; slot < plan.settings.slots; ++slot)
    seats_.emplace_back(MakePipe(plan));
  pids_used_.assign(seats_.size(), 0);
  pids_ever_.assign(seats_.size() * 4, false);
  seat(kMasterSlot).page->Reset(1);
  roster_.Publish(kMasterSlot, 1, plan.attached ? SlotState::kUp : SlotState::kFree, kMasterPid);
  Fate& fate = ledger_.fate({kMasterSlot, 1});
  fate.state = Fate::State::kAlive;
  fate.pid = kMasterPid;
  Peer self;
  self.slot = kMasterSlot;
  self.generation = 1;
  self.pid = static_cast<pid_t>(kMasterPid);
  seat(kMasterSlot).process = std::make_unique<Process>(this, self, plan.attached);
  seat(kMasterSlot).process->Boot();
  heap_.Refuse(plan.refuse_memory, &random_);
}

World::~World() = default;

void World::Trace(const std::string& line) {
  if (trace_) std::printf("%8llu  %s\n", static_cast<unsigned long long>(steps_), line.c_str());
}

// ---- The run

std::uint64_t World::Run() {
  while (ticks_ < plan_.steps) StepOnce();
  CalmDown();
  RunToRest("after the last fault");
  orders_.CheckHandedOut();
  for (Seat& at : seats_) {
    if (at.process == nullptr) continue;
    at.process->Probe();
    at.process->Wake();
  }
  RunToRest("after everybody has sent to everybody");
  Verify();
  census_->steps += steps_;
  ++census_->seeds;
  census_->memory_refused += heap_.refused();
  seats_.clear();
  if (heap_.live_blocks() != 0 || heap_.live_bytes() != 0)
    throw Violation(absl::StrCat(heap_.live_blocks(), " blocks of ", heap_.live_bytes(),
                                 " bytes are left when nobody lives any more"));
  return digest_;
}

Process* World::PickProcess() {
  // Somebody who sleeps is woken now and then, as by a timer.
  for (int tries = 0; tries < 8; ++tries) {
    Process* process =
        seats_[random_.Below(static_cast<std::uint32_t>(seats_.size()))].process.get();
    if (process == nullptr || process->stopped()) continue;
    if (active_ && process->self().slot == plan_.slow_slot && !random_.Chance(32)) continue;
    if (!process->asleep()) return process;
    if (random_.Chance(active_ ? 4 : 0)) {
      process->Wake();
      return process;
    }
  }
  if (active_) return nullptr;
  for (Seat& at : seats_) {
    if (at.process != nullptr && !at.process->asleep()) return at.process.get();
  }
  return nullptr;
}

void World::StepOnce() {
  ++ticks_;
  now_ += random_.Chance(4) ? 1 : 0;
  if (active_) Misfortune();
  Process* process = PickProcess();
  if (process == nullptr) return;
  ++steps_;
  Note(static_cast<std::uint64_t>(process->self().slot));
  process->Step();
  if (exiting_ < 0) return;
  const int slot = exiting_;
  exiting_ = -1;
  if (slot == kMasterSlot) return;
  ledger_.fate(process->who()).state = Fate::State::kDead;
  seat(slot).process.reset();
  lives_.Ended(slot);
  if (MasterLives()) Wake(seats_[0].process.get());
}

// ---- What goes wrong between two steps

void World::Misfortune() {
  if (random_.Chance(plan_.crash)) Crash(random_.Pick(1, slots() - 1));
  if (random_.Chance(plan_.stop)) StopOrContinue();
  if (random_.Chance(plan_.garbage)) Garbage();
  if (random_.Chance(plan_.master_crash)) CrashMaster();
}

void World::Crash(int slot, bool retired) {
  std::unique_ptr<Process>& process = seat(slot).process;
  if (process == nullptr) return;
  ++census_->crashes;
  if (process->stopped()) ++census_->crashes_stopped;
  if (!process->booted()) {
    ++census_->crashes_booting;
  } else {
    if (process->mid_send()) ++census_->crashes_mid_send;
    if (process->mid_publish()) ++census_->crashes_mid_publish;
    if (process->mid_claim()) ++census_->crashes_mid_claim;
    if (process->mid_write()) ++census_->crashes_mid_write;
    if (process->core().meter().reassembly_bytes() > 0) ++census_->crashes_mid_reassembly;
    if (process->HalfWritten()) ++census_->crashes_mid_alert;
  }
  if (!pipe(slot).empty()) ++census_->crashes_nonempty_pipe;
  if (word(slot).state == SlotState::kDraining && !retired) ++census_->retired_crashed;
  if (trace_) Trace(absl::StrCat(ToString(process->who()), " is killed"));
  ledger_.fate(process->who()).state = Fate::State::kDead;
  process.reset();
  lives_.Ended(slot);
  if (MasterLives() && !Fault(plan_.lost_wakeup)) Wake(seats_[0].process.get());
}

void World::CrashMaster() {
  if (!MasterLives()) return;
  ++census_->master_crashes;
  if (lives_.busy()) ++census_->master_crashes_mid_life;
  if (trace_) Trace("the master is killed");
  ledger_.fate({kMasterSlot, 1}).state = Fate::State::kDead;
  seats_[0].process.reset();
  for (Seat& at : seats_) {
    if (at.process != nullptr) Wake(at.process.get());
  }
}

void World::StopOrContinue() {
  Process* process = seats_[random_.Below(static_cast<std::uint32_t>(seats_.size()))].process.get();
  if (process == nullptr) return;
  if (process->stopped()) return process->Continue();
  ++census_->stops;
  if (process->mid_claim()) ++census_->stops_mid_claim;
  process->Stop();
}

// ---- System calls

bool World::HasReader(int slot) const {
  return seats_[0].process != nullptr || seats_[static_cast<std::size_t>(slot)].process != nullptr;
}

void World::Wake(Process* process) {
  if (Fault(plan_.lost_wakeup)) {
    ++census_->wakeups_lost;
    return;
  }
  process->Wake();
}

void World::WakeWriters(int slot) {
  for (Seat& at : seats_) {
    if (at.process != nullptr && at.process->waits_for(slot)) Wake(at.process.get());
  }
}

Outcome World::Write(Process* writer, int slot, const iovec* parts, int count) {
  (void)writer;
  if (!HasReader(slot)) {
    ++census_->epipe;
    return {0, EPIPE};
  }
  if (Fault(plan_.eagain)) {
    ++census_->eagain_spurious;
    return {0, EAGAIN};
  }
  if (Fault(plan_.enomem)) {
    ++census_->enomem_kernel;
    return {0, ENOMEM};
  }
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) total += parts[i].iov_len;
  const std::size_t taken = pipe(slot).Write(parts, count);
  seat(slot).written += taken;
  Note((taken << 8) + static_cast<std::uint64_t>(slot));
  if (trace_) {
    Trace(absl::StrCat(ToString(writer->who()), " writes ", taken, " of ", total, " bytes to slot ",
                       slot));
  }
  if (taken == 0) {
    ++census_->eagain_full;
    return {0, EAGAIN};
  }
  if (taken < total) ++census_->torn_runs;
  Process* reader = seat(slot).process.get();
  if (reader != nullptr) Wake(reader);
  return {taken, 0};
}

namespace {

// Canary: every packet is for whoever reads it.
void ForgetDestinations(char* bytes, std::size_t size, std::uint32_t generation) {
  for (std::size_t at = 0; at < size;) {
    core::PacketHeader header;
    const std::string_view rest(bytes + at, size - at);
    if (core::DecodePacket(rest, &header) != core::Framing::kPacket) return;
    header.destination_generation = generation;
    core::EncodeHeader(header, bytes + at);
    at += header.bytes;
  }
}

}  // namespace

std::size_t World::Read(Process* reader) {
  const int slot = reader->self().slot;
  Seat& at = seat(slot);
  core::Inbox& inbox = reader->core().inbox();
  const bool was_full = !at.pipe->writable();
  if (at.read < at.garbage_until) ledger_.fate(reader->who()).tainted = tainted_ = true;
  if (at.read < at.drained_until)
    throw Violation(absl::StrCat(ToString(reader->who()), " finds ", at.drained_until - at.read,
                                 " bytes in its pipe that were there when it had to be drained"));
  char* to = inbox.space();
  const std::size_t bytes = at.pipe->Read(to, inbox.space_bytes());
  at.read += bytes;
  Note((bytes << 8) + static_cast<std::uint64_t>(slot) + 1);
  if (trace_) Trace(absl::StrCat(ToString(reader->who()), " reads ", bytes, " bytes"));
  if (breaks(Canary::kNoDestinationGeneration))
    ForgetDestinations(to, bytes, reader->self().generation);
  if (was_full && at.pipe->writable()) WakeWriters(slot);
  return bytes;
}

// ---- The life of processes, for the master

std::uint32_t World::NewPid() {
  for (;;) {
    const std::uint32_t at = random_.Below(static_cast<std::uint32_t>(pids_ever_.size()));
    const std::uint32_t pid = kMasterPid + 1 + at;
    if (std::find(pids_used_.begin(), pids_used_.end(), pid) != pids_used_.end()) continue;
    if (pids_ever_[at]) ++census_->pids_reused;
    pids_ever_[at] = true;
    return pid;
  }
}

std::uint32_t World::StartProcess(int slot, std::uint32_t generation) {
  ++census_->forks;
  Peer self;
  self.slot = slot;
  self.generation = generation;
  const std::uint32_t pid = NewPid();
  self.pid = static_cast<pid_t>(pid);
  pids_used_[static_cast<std::size_t>(slot)] = pid;
  Fate& fate = ledger_.fate({slot, generation});
  fate.state = Fate::State::kAlive;
  fate.pid = pid;
  if (trace_) Trace(absl::StrCat(slot, ".", generation, " is forked, pid ", pid));
  seat(slot).process = std::make_unique<Process>(this, self, true);
  return pid;
}

void World::Kill(int slot) {
  const Process* process = seat(slot).process.get();
  if (process == nullptr) return;
  ++census_->retired_killed;
  if (process->stopped()) ++census_->retired_killed_stopped;
  Crash(slot, true);
}

void World::Reaped(std::uint32_t pid) {
  std::replace(pids_used_.begin(), pids_used_.end(), pid, std::uint32_t{0});
}

void World::Drain(int slot, std::uint32_t generation) {
  Seat& at = seat(slot);
  at.drained_until = at.written;
  if (breaks(Canary::kNoDrain)) return;
  static thread_local std::vector<char> buffer;
  buffer.resize(static_cast<std::size_t>(plan_.settings.pipe_capacity) + core::kPacketBytesMax);
  const bool was_full = !at.pipe->writable();
  const std::size_t bytes = at.pipe->Read(buffer.data(), buffer.size());
  at.read += bytes;
  if (bytes == buffer.size())
    throw Violation(absl::StrCat("the pipe of slot ", slot, " held more than it can"));
  const core::DrainCount count =
      core::CountDrained(std::string_view(buffer.data(), bytes), generation);
  census_->drained += count.alerts;
  census_->drained_stale += count.stale;
  if (count.damaged_bytes > 0 && at.read - bytes >= at.garbage_until)
    throw Violation(
        absl::StrCat("the pipe of slot ", slot, " was out of step when it was drained"));
  if (was_full) WakeWriters(slot);
}

// ---- The end

void World::CalmDown() {
  active_ = false;
  heap_.Refuse(0, nullptr);
  if (trace_) Trace("no more faults");
  for (Seat& at : seats_) {
    if (at.process == nullptr) continue;
    at.process->Continue();
    at.process->Wake();
  }
}

bool World::AllQuiet() {
  if (MasterLives() && !lives_.Quiet()) return false;
  for (Seat& at : seats_) {
    if (at.process != nullptr && !at.process->Quiet()) return false;
  }
  return true;
}

void World::RunToRest(const char* what) {
  std::size_t queued = 0;
  for (Seat& at : seats_) {
    if (at.process == nullptr || !at.process->booted()) continue;
    queued += at.process->core().meter().queued_bytes() + (at.written - at.read);
  }
  int timers = 0;
  const std::uint64_t bound = steps_ + RestBound(queued, slots());
  for (;;) {
    if (steps_ >= bound) FailAtRest(absl::StrCat("no rest ", what, " within the bound of steps"));
    bool all_asleep = true;
    for (Seat& at : seats_) {
      if (at.process != nullptr && !at.process->asleep()) all_asleep = false;
    }
    if (!all_asleep) {
      StepOnce();
      continue;
    }
    if (AllQuiet()) return;
    // Only time may be left to wait for.
    std::uint64_t next = core::kNever;
    bool asks = tainted_ && MasterLives();
    for (Seat& at : seats_) {
      if (at.process == nullptr) continue;
      next = std::min(next, at.process->next_deadline());
      asks = asks || at.process->Asks();
    }
    if ((next == core::kNever && !asks) || ++timers > kTimersMax)
      FailAtRest(absl::StrCat("everybody sleeps ", what));
    if (next == core::kNever) next = now_;
    now_ = std::max(now_, next);
    for (Seat& at : seats_) {
      if (at.process != nullptr) at.process->Wake();
    }
    ++steps_;
  }
}

void World::FailAtRest(const std::string& why) {
  std::string text = why;
  if (MasterLives() && !lives_.Quiet())
    absl::StrAppend(&text, "; the life of a slot has not ended");
  for (Seat& at : seats_) {
    if (at.process == nullptr) continue;
    const std::string business = at.process->Business();
    if (!business.empty()) absl::StrAppend(&text, "; ", ToString(at.process->who()), " ", business);
  }
  throw Violation(text);
}

void World::Verify() {
  for (Seat& at : seats_) {
    if (at.process == nullptr) continue;
    at.process->CheckRest();
    at.process->CheckAgreement();
  }
  ledger_.Settle();
  orders_.Settle();
}

}  // namespace alertpipe::sim
