// SPDX-License-Identifier: Apache-2.0
#include "sim/hub.h"

#include <algorithm>
#include <utility>

#include <absl/strings/str_cat.h>

#include "sim/contents.h"
#include "sim/process.h"
#include "sim/world.h"

namespace alertpipe::sim {
namespace {

std::uint64_t StartOf(World* world, const Peer& self) {
  // The master gets what it publishes itself, and that is still to come.
  if (self.is_master()) return world->ring().Settle();
  // Canary: a newcomer starts where the others are when it comes.
  return world->breaks(Canary::kLateStart) ? world->ring().Settle() : world->StartOf(self.slot);
}

}  // namespace

Hub::Hub(World* world, Process* process)
    : world_(world),
      process_(process),
      publisher_(world->ring(), process->self(), world->slots()),
      book_(world->ring(), process->self(), world->slots(), StartOf(world, process->self())),
      backlogs_(Index(world->slots())),
      receivers_(Index(world->slots())) {
  process->core().WantDeaths();
}

Incarnation Hub::self() const { return process_->who(); }
core::Endpoint& Hub::core() { return process_->core(); }

void Hub::Step() {
  switch (stage_) {
    case Stage::kIdle:
      return;
    case Stage::kPublishNext:
      return StepPublishNext();
    case Stage::kPublishOwn:
      return StepPublishOwn();
    case Stage::kBacklogs:
      return StepBacklogs();
    case Stage::kOrder:
      return StepOrder();
    case Stage::kClaim:
      return StepClaim();
    case Stage::kTell:
      return StepTell();
    case Stage::kHasRead:
      return StepHasRead();
    case Stage::kLook:
      return StepLook();
    case Stage::kNext:
      return StepNext();
    case Stage::kClaimRest:
      return StepClaimRest();
  }
}

// ---- Turns

bool Hub::HasWork() const {
  return WantsTurn() || publisher_.pending() || book_.held() > 0 || book_.wants_read() ||
         retry_at_ != core::kNever;
}

bool Hub::WantsTurn() const {
  return look_ || flush_backlogs_ || owes_claims_ || (publisher_.pending() && !waiting_);
}

void Hub::BeginTurn() {
  at_ = 0;
  if (retry_at_ <= world_->now()) {
    retry_at_ = core::kNever;
    flush_backlogs_ = true;
    if (publisher_.claimed() > 0) owes_claims_ = true;
  }
  stage_ = std::exchange(flush_backlogs_, false) ? Stage::kBacklogs : Stage::kOrder;
}

void Hub::StepHasRead() {
  look_ = false;
  stage_ = Stage::kLook;
  const core::Inbox& inbox = core().inbox();
  if (world_->breaks(Canary::kNoRead)) {
    // Canary: a read that began before the look proves what it saw.
    book_.Look(inbox.reads() - 1);
    book_.HasRead(inbox.reads());
  }
  // Canary: what a read has brought need not have been handed out.
  const bool read = inbox.found_empty() && !inbox.pending();
  if (read || world_->breaks(Canary::kHalfRead)) book_.HasRead(inbox.reads());
}

void Hub::StepLook() {
  stage_ = Stage::kNext;
  book_.Look(core().inbox().reads());
}

void Hub::StepNext() {
  core::OrderBook::Item item;
  const core::OrderBook::Release release = book_.Next(&item);
  world_->census().overruns += book_.overruns() - std::exchange(overruns_counted_, overruns());
  if (release == core::OrderBook::Release::kNothing) {
    stage_ = Stage::kIdle;
    // One that is stopped, or dies, after it has claimed a place tells nobody to look.
    const std::uint64_t next = world_->now() + world_->plan().patience + 1;
    look_at_ = book_.held() == 0 ? core::kNever : next;
    return;
  }
  const Incarnation publisher = Of(item.publisher);
  core::EventRecord record;
  const bool whole = record.Decode(item.data.view());
  const std::uint64_t serial =
      whole ? Contents::SerialOf(core::kEventAlertName, item.data.view()) : kNoSerial;
  world_->Note(serial + static_cast<std::uint64_t>(release));
  if (world_->tracing()) {
    world_->Trace(absl::StrCat(ToString(self()), " hands out event ", item.sequence, " of ",
                               ToString(publisher), " as ", static_cast<int>(release), ", place ",
                               item.place));
  }
  OrderLedger& orders = world_->orders();
  switch (release) {
    case core::OrderBook::Release::kNothing:
      return;
    case core::OrderBook::Release::kEvent:
      if (item.sequence == 0) return TellGap(publisher, record.count);
      return orders.Deliver(self(), publisher, item.sequence, serial);
    case core::OrderBook::Release::kLate:
      return orders.Miss(self(), publisher, item.sequence, OrderLedger::Gap::kLate, overruns() > 0);
    case core::OrderBook::Release::kWithdrawn:
      return orders.Withdraw(self(), publisher, item.sequence);
  }
}

void Hub::Died(const Peer& last) {
  look_ = true;
  Backlog& backlog = backlogs_[Index(last.slot)];
  if (backlog.generation <= last.generation) backlog.count = 0;
  // Canary: events are not told of deaths.
  if (!world_->breaks(Canary::kNoBurial)) book_.PublisherDied(last.slot, last.generation);
}

// ---- Arrivals

bool Hub::MayHold(std::size_t bytes) const {
  return book_.held_bytes() + bytes <= world_->plan().held_bytes_max;
}

void Hub::TellGap(const Incarnation& publisher, std::uint64_t count) {
  world_->orders().TellGap(self(), publisher, count);
}

// Behind all that has come from `publisher` before.
void Hub::PushGap(const Peer& publisher, std::uint64_t count) {
  core::EventRecord record;
  record.kind = core::EventKind::kGap;
  record.count = count;
  absl::StatusOr<Buffer> copy = Buffer::Copy(Compose(record, kNoSerial, 0));
  // Without memory it is only counted.
  if (!copy.ok() || !book_.Holds(publisher)) return TellGap(Of(publisher), count);
  book_.Hold({0, 0, publisher, *std::move(copy)});
}

void Hub::Handle(const Peer& sender, std::string_view data) {
  const Incarnation from = Of(sender);
  core::EventRecord record;
  if (!record.Decode(data)) return;  // forged: the account of alerts has seen to it
  if (record.kind == core::EventKind::kClaimed) {
    book_.Claimed(sender, record.number);
    look_ = true;
    return;
  }
  const bool gap = record.kind == core::EventKind::kGap;
  if (!record.ordered && !book_.Holds(sender)) {
    if (gap) TellGap(from, record.count);
    return;
  }
  absl::StatusOr<Buffer> copy = absl::ResourceExhaustedError("held_bytes_max");
  if (MayHold(data.size())) copy = Buffer::Copy(data);
  if (!copy.ok()) {
    if (gap) return TellGap(from, record.count);
    return world_->orders().Miss(self(), from, record.number, OrderLedger::Gap::kNoRoom, false);
  }
  look_ = true;
  if (record.ordered) world_->orders().Arrive(self(), from, record.number);
  book_.Hold({record.ordered ? record.number : 0, 0, sender, *std::move(copy)});
}

// ---- At rest

std::string Hub::Business() const {
  if (busy()) return "is in the middle of events";
  if (publisher_.pending()) return "has events to claim a place for";
  if (WantsTurn()) return "has something to do about events";
  if (retry_at_ != core::kNever) return "has something about events to try again";
  if (book_.wants_read()) return "waits for a read to pass an event over";
  for (int slot = 0; slot < world_->slots(); ++slot) {
    if (Waits(slot, world_->word(slot).generation) && world_->word(slot).lives())
      return absl::StrCat("has gaps to tell slot ", slot);
  }
  // What the dead have not claimed: only a master tells of deaths, for sure.
  if (book_.held() > 0 && world_->MasterLives() && !world_->tainted())
    return absl::StrCat("holds ", book_.held(), " events");
  return {};
}

}  // namespace alertpipe::sim
