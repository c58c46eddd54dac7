// SPDX-License-Identifier: Apache-2.0
//
// What the director does to single workers, and what it watches them for.
#include <signal.h>

#include <algorithm>
#include <string>
#include <utility>

#include "director.h"
#include "worker.h"

namespace alertpipe::event_soak {
namespace {

constexpr std::uint64_t kMs = 1000000;
// Deaths that the master has not seen yet, and workers that are stopped, at most.
constexpr int kDyingMax = 3;
constexpr int kStoppedMax = 4;
constexpr unsigned kStopMs = 60;     // between two, on an average
constexpr unsigned kTrapMs = 100;    // after which a trap has not caught anybody
constexpr unsigned kYoungKills = 8;  // one in so many is killed when it has just been started
constexpr unsigned kStoppedMsMax = 300;
constexpr unsigned kStoppedMsLong = 1000;
constexpr unsigned kLongStops = 40;  // one in so many
constexpr std::uint64_t kAimNs = 300000;

}  // namespace

// ---- Birth and death ----

// Slot -1: in the lowest free one; else the successor of the one that died there.
bool Director::Spawn(int slot) {
  absl::StatusOr<Peer> peer = slot > 0 ? master_->Respawn(slot) : master_->Spawn([this](Slot own) {
    return LiveAsWorker(std::move(own), settings_, books_);
  });
  if (!peer.ok()) {
    if (!absl::IsResourceExhausted(peer.status()))
      books_->Complain(Violation::kBroken, peer.status().ToString());
    return false;
  }
  Adopt(*peer);
  return true;
}

void Director::Adopt(const Peer& peer) {
  Life life;
  life.peer = peer;
  life.ticks = books_->places[peer.slot].ticks.Get();
  life.ticked_at = life.runs_since = uv_hrtime();
  // Some do not get far.
  if (kills_ && random_() % kYoungKills == 0 && account_->HasRoom(peer.slot)) Doom(&life, 4);
  lives_[peer.slot] = life;
  account_->Started(peer);
}

void Director::NoteExit(const WorkerExit& exit) {
  const Life life = std::exchange(lives_[exit.worker.slot], Life());
  account_->Ended(exit.worker);
  if (ending_) return;
  if (!(life.killed || life.doomed) || exit.signal != SIGKILL) {
    return books_->Complain(Violation::kDied, ToString(exit.worker) + ": code " +
                                                  std::to_string(exit.exit_code) + ", signal " +
                                                  std::to_string(exit.signal));
  }
  ++deeds_.kills;
  const Place& place = books_->places[exit.worker.slot];
  const bool young = place.ready.Get() != exit.worker.generation;
  ++(young ? deeds_.kills_young : deeds_.kills_doing[place.doing.Get()]);
  if (!Spawn(exit.worker.slot)) ++missing_;
}

bool Director::AllAlive() const {
  return missing_ == 0 &&
         std::all_of(std::begin(lives_), std::end(lives_), [this](const Life& life) {
           return life.peer.slot < 0 ||
                  (!life.killed &&
                   books_->places[life.peer.slot].ready.Get() == life.peer.generation);
         });
}

// ---- Harm ----

Director::Life* Director::RandomLife() {
  Life& life = lives_[1 + random_() % static_cast<unsigned>(settings_.workers)];
  return life.peer.slot < 0 || life.killed || life.doomed || life.stopped ? nullptr : &life;
}

void Director::KillSome(unsigned every_ms) {
  const std::uint64_t now = uv_hrtime();
  kills_ = every_ms != 0;
  if (!kills_ || now < next_kill_) return;
  next_kill_ = now + random_() % (2 * every_ms) * kMs;
  KillOne();
}

void Director::StopSome(unsigned every_ms) {
  const std::uint64_t now = uv_hrtime();
  if (every_ms == 0 || now < next_stop_) return;
  next_stop_ = now + random_() % (2 * every_ms) * kMs;
  StopOne();
}

// Waits a little for one that is to be stopped to be in the midst of publishing, or of a callback.
void Director::Aim(const Life& life) {
  static constexpr Doing kAims[] = {Doing::kLoop, Doing::kPublishing, Doing::kHandling};
  const Doing aim = kAims[random_() % 3];
  if (aim == Doing::kLoop) return;
  const std::uint64_t until = uv_hrtime() + kAimNs;
  const Place& place = books_->places[life.peer.slot];
  while (place.doing.Get() != static_cast<std::uint64_t>(aim) && uv_hrtime() < until) {
  }
}

void Director::Kill(Life* life) {
  if (kill(life->peer.pid, SIGKILL) != 0) return;
  life->killed = true;
  deeds_.kills_stopped += life->stopped ? 1 : 0;
}

// To be killed within so many milliseconds.
void Director::Doom(Life* life, unsigned ms) {
  life->doomed = true;
  life->kill_at = uv_hrtime() + random_() % (ms * kMs);
}

void Director::KillOne() {
  const auto dying = std::count_if(std::begin(lives_), std::end(lives_),
                                   [](const Life& life) { return life.killed || life.doomed; });
  Life* life = RandomLife();
  if (dying >= kDyingMax || life == nullptr || life->peer.slot == kKeeper) return;
  if (!account_->HasRoom(life->peer.slot)) return;
  Place& place = books_->places[life->peer.slot];
  switch (random_() % 8) {
    case 0:
    case 1:
    case 2:
      place.trap.Set(static_cast<std::uint64_t>(Doing::kPublishing));
      return Doom(life, kTrapMs);
    case 3:
    case 4:
      place.trap.Set(static_cast<std::uint64_t>(Doing::kHandling));
      return Doom(life, kTrapMs);
    case 5:
      if (kill(life->peer.pid, SIGSTOP) == 0) life->stopped = true;
      return Doom(life, 10);
    default:
      return Kill(life);
  }
}

void Director::KillTheDoomed(bool all) {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot >= 0 && life.doomed && !life.killed && (all || now >= life.kill_at))
      Kill(&life);
  }
}

void Director::StopOne() {
  const auto stopped = std::count_if(std::begin(lives_), std::end(lives_),
                                     [](const Life& life) { return life.stopped; });
  Life* life = RandomLife();
  if (stopped >= kStoppedMax || life == nullptr) return;
  const bool is_long = random_() % kLongStops == 0;
  if (!Stop(life, kMs * (is_long ? kStoppedMsLong : 1 + random_() % kStoppedMsMax))) return;
  deeds_.stops_long += is_long ? 1 : 0;
}

bool Director::Stop(Life* life, std::uint64_t for_ns) {
  Aim(*life);
  if (kill(life->peer.pid, SIGSTOP) != 0) return false;
  life->stopped = true;
  account_->Stopped(life->peer);
  life->stop_ends = uv_hrtime() + for_ns;
  ++deeds_.stops;
  return true;
}

void Director::EndStops(bool all) {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot < 0 || !life.stopped || life.killed || life.doomed) continue;
    if (!all && now < life.stop_ends) continue;
    ++deeds_.stops_doing[books_->places[life.peer.slot].doing.Get()];
    kill(life.peer.pid, SIGCONT);
    life.stopped = false;
    life.ticked_at = life.runs_since = now;
  }
}

// ---- Progress ----

// A worker that may run has a timer that runs.
void Director::WatchProgress() {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot < 0 || life.stopped || life.killed || life.doomed || life.hangs) continue;
    const std::uint64_t ticks = books_->places[life.peer.slot].ticks.Get();
    if (ticks != life.ticks) {
      life.ticks = ticks;
      life.ticked_at = now;
    } else if (static_cast<double>(now - life.ticked_at) > settings_.patience_seconds * 1e9) {
      books_->Complain(Violation::kHung, ToString(life.peer) + " makes no progress");
      life.hangs = true;
    }
  }
}

// Whether somebody else has run and published all the time that news may take.
bool Director::HasNewsFor(const Life& life, std::uint64_t now) const {
  const auto stall = static_cast<std::uint64_t>(settings_.stall_seconds * 1e9);
  return std::any_of(std::begin(lives_), std::end(lives_), [&](const Life& other) {
    return other.peer.slot > 0 && other.peer.slot != life.peer.slot && !other.stopped &&
           !other.killed && now - other.runs_since > stall &&
           now - books_->places[other.peer.slot].published_ns.Get() < stall;
  });
}

// A worker that may run hears what others publish, whatever becomes of a third.
void Director::WatchNews() {
  const std::uint64_t now = uv_hrtime();
  for (Life& life : lives_) {
    if (life.peer.slot < 0 || life.stopped || life.killed || life.doomed || life.hangs) continue;
    const Place& place = books_->places[life.peer.slot];
    if (place.ready.Get() != life.peer.generation) continue;
    const std::uint64_t since = std::max({load_since_, life.runs_since, place.fresh_ns.Get()});
    const std::uint64_t age = now > since ? now - since : 0;
    deeds_.oldest_news_ns = std::max(deeds_.oldest_news_ns, age);
    if (static_cast<double>(age) <= settings_.stall_seconds * 1e9) continue;
    if (!HasNewsFor(life, now)) continue;
    books_->Complain(Violation::kHung, ToString(life.peer) + " has heard nothing new for " +
                                           std::to_string(age / kMs) + " ms");
    life.hangs = true;
  }
}

std::uint64_t Director::PublishedNow() const {
  std::uint64_t sum = 0;
  for (const Place& place : books_->places) sum += place.published.Get();
  return sum;
}

}  // namespace alertpipe::event_soak
