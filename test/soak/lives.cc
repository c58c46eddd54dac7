// SPDX-License-Identifier: Apache-2.0
//
// What the director does to single workers, and what it learns from their ends.
#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "director.h"

namespace alertpipe::soak {
namespace {

// Deaths that the master has not seen yet, at most.
constexpr int kDyingMax = 3;
constexpr unsigned kAlertsOfALife = 250;
constexpr unsigned kStopMsMax = 20;
constexpr std::uint64_t kMs = 1000000;

}  // namespace

// ---- Birth ----

// Slot -1: in the lowest free one; else the successor of the one that died there.
bool Director::Spawn(int slot) {
  absl::StatusOr<Peer> peer = slot > 0 ? master_->Respawn(slot) : master_->Spawn([this](Slot own) {
    return LiveAsWorker(std::move(own), household_);
  });
  if (!peer.ok()) {
    if (peer.status().code() != absl::StatusCode::kResourceExhausted)
      ledger_->Complain(Violation::kBroken, peer.status().ToString());
    return false;
  }
  Adopt(*peer);
  return true;
}

void Director::Adopt(const Peer& peer) {
  Life life;
  life.peer = peer;
  const Place& place = ledger_->places[peer.slot];
  const bool at_once = random_() % 10 == 0;
  life.kill_at = place.delivered.Get() + (at_once ? 0 : random_() % kAlertsOfALife);
  life.ticks = place.ticks.Get();
  life.ticked_at = uv_hrtime();
  lives_[peer.slot] = life;
  account_->Started(peer);
}

// Successors are started by the library.
void Director::AdoptNew() {
  for (const Peer& peer : master_->Workers()) {
    if (peer != lives_[peer.slot].peer) Adopt(peer);
  }
}

bool Director::AllAlive() const {
  return missing_ == 0 && std::all_of(std::begin(lives_), std::end(lives_), [](const Life& life) {
           return life.peer.slot < 0 || !life.killed;
         });
}

// ---- Death ----

void Director::NoteExit(const WorkerExit& exit) {
  if (lives_[exit.worker.slot].peer != exit.worker) Adopt(exit.worker);
  Life& life = lives_[exit.worker.slot];
  account_->Ended(exit.worker, CountExit(life, exit));
  life = Life();
  const bool has_successor = exit.retired || exit.successor != 0 || exit.unproven;
  if (!ending_ && !has_successor && !Spawn(exit.worker.slot)) ++missing_;
}

// How the worker ended, for the account.
End Director::CountExit(const Life& life, const WorkerExit& exit) {
  const std::optional<SlotStats> stats = master_->StatsOf(exit.worker.slot);
  const bool known =
      stats.has_value() && stats->last.has_value() && stats->last->peer == exit.worker;
  if (known) CheckLast(stats->last->stats, exit.worker);
  if (ending_) return End::kKilled;
  if (exit.retired && exit.signal == 0 && exit.exit_code == 0) return End::kLeft;
  if (!life.killed || exit.signal != SIGKILL) {
    const bool late = exit.killed_at_deadline || exit.unproven;
    ledger_->Complain(late ? Violation::kHung : Violation::kDied,
                      ToString(exit.worker) + ": code " + std::to_string(exit.exit_code) +
                          ", signal " + std::to_string(exit.signal) + ", retired " +
                          std::to_string(exit.retired));
    return End::kKilled;
  }
  const bool nonempty = life.had_bytes && exit.alerts_drained > 0;
  const bool half = known && stats->last->stats.reassembly_bytes > 0;
  deeds_.kills_nonempty += nonempty;
  deeds_.kills_half += half;
  deeds_.kills_either += nonempty || half;
  deeds_.drained += exit.alerts_drained;
  return End::kKilled;
}

void Director::CheckLast(const Stats& stats, const Peer& peer) {
  deeds_.partials += stats.partials_dropped;
  const std::uint64_t damage = stats.damaged_framing + stats.damaged_packets +
                               stats.damaged_records + stats.lost_alerts + stats.rejects_dropped;
  if (damage > 0) ledger_->Complain(Violation::kDamaged, ToString(peer), damage);
}

std::uint64_t Director::PipeBytes(int slot) {
  if (pipes_[slot] < 0 && ledger_->places[slot].inode.Get() != 0)
    pipes_[slot] = DescriptorOf(ledger_->places[slot].inode.Get());
  int bytes = 0;
  if (pipes_[slot] < 0 || ioctl(pipes_[slot], FIONREAD, &bytes) != 0) return 0;
  return static_cast<std::uint64_t>(bytes);
}

void Director::Kill(Life* life) {
  life->had_bytes = PipeBytes(life->peer.slot) > 0;
  if (kill(life->peer.pid, SIGKILL) != 0) return;
  life->killed = true;
  deeds_.kills_stopped += life->stopped;
  ++deeds_.kills;
}

// ---- What is done to them ----

Director::Life* Director::RandomLife() {
  Life& life = lives_[1 + random_() % (kSlots - 1)];
  return life.peer.slot < 0 || life.killed ? nullptr : &life;
}

void Director::KillSome() {
  const auto dying = std::count_if(std::begin(lives_), std::end(lives_),
                                   [](const Life& life) { return life.killed || life.doomed; });
  for (auto i = dying; i < kDyingMax; ++i) {
    Life* life = RandomLife();
    if (life == nullptr || life->peer.slot == kKeeper || life->stopped) continue;
    if (!account_->HasRoom(life->peer.slot)) continue;
    if (ledger_->places[life->peer.slot].delivered.Get() < life->kill_at) continue;
    if (random_() % 8 != 0) {
      Kill(life);
    } else if (kill(life->peer.pid, SIGSTOP) == 0) {
      life->stopped = life->doomed = true;
      life->stop_ends = uv_hrtime() + kMs * (1 + random_() % 10);
    }
  }
}

void Director::StopSome(unsigned per_thousand) {
  if (random_() % 1000 >= per_thousand) return;
  Life* life = RandomLife();
  if (life == nullptr || life->stopped || kill(life->peer.pid, SIGSTOP) != 0) return;
  life->stopped = true;
  life->stop_ends = uv_hrtime() + kMs * (1 + random_() % kStopMsMax);
  ++deeds_.stops;
}

void Director::EndStops(bool all) {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot < 0 || !life.stopped || life.killed) continue;
    if (!all && now < life.stop_ends) continue;
    if (life.doomed) {
      Kill(&life);
      continue;
    }
    kill(life.peer.pid, SIGCONT);
    life.stopped = false;
    life.ticked_at = now;
  }
}

// A worker that may run has a timer that runs.
void Director::WatchProgress() {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot < 0 || life.stopped || life.killed || life.hangs) continue;
    const std::uint64_t ticks = ledger_->places[life.peer.slot].ticks.Get();
    if (ticks != life.ticks) {
      life.ticks = ticks;
      life.ticked_at = now;
    } else if (static_cast<double>(now - life.ticked_at) > settings_.patience_seconds * 1e9) {
      ledger_->Complain(Violation::kHung, ToString(life.peer) + " makes no progress");
      life.hangs = true;
    }
  }
}

std::uint64_t Director::Delivered() const {
  std::uint64_t sum = 0;
  for (const Place& place : ledger_->places) sum += place.delivered.Get();
  return sum;
}

}  // namespace alertpipe::soak
