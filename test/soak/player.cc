// SPDX-License-Identifier: Apache-2.0
#include "player.h"

#include <unistd.h>

#include <string>
#include <utility>

#include "holdings.h"

namespace alertpipe::soak {
namespace {

constexpr std::uint64_t kTickMs = 2;
constexpr int kPacedShares = 2;
// Alerts arrive meanwhile.
constexpr unsigned kHastyUs = 20000;
// Turns of the loop after which the library has given back what it keeps for reuse.
constexpr int kSpins = 2200;
// Ticks for which a worker that is being replaced goes on sending before it drains.
constexpr std::uint64_t kLingersMax = 8;

}  // namespace

Player::Player(Endpoint* endpoint, uv_loop_t* loop, Ledger* ledger, Material* material,
               std::uint64_t seed, Canary canary)
    : endpoint_(endpoint),
      self_(endpoint->self()),
      ledger_(ledger),
      place_(&ledger->places[self_.slot]),
      sender_(endpoint, ledger, material, seed),
      listener_(self_, ledger),
      bird_(canary),
      eager_(!self_.is_master()) {
  uv_timer_init(loop, &timer_);
  uv_idle_init(loop, &idle_);
  timer_.data = idle_.data = this;
  if (canary == Canary::kForget) sender_.ForgetOne();
  SetHooks();
}

void Player::SetHooks() {
  endpoint_->Receive("soak", [this](Alert& alert) {
    ++handled_;
    bird_.Hear(alert.sender(), alert.data(), &listener_);
  });
  endpoint_->OnUndelivered(
      [this](const Undelivered& undelivered) { sender_.CameBack(undelivered); });
  endpoint_->OnDrained([this](const Peer& peer) {
    sender_.Drained(peer);
    Wake();
  });
  endpoint_->OnDamage([this](const Damage& damage) {
    ledger_->Complain(Violation::kDamaged, std::to_string(self_.slot) + "." +
                                               std::to_string(self_.generation) + ": " +
                                               std::to_string(damage.bytes_discarded) + " bytes");
  });
}

void Player::LeaveWhenTold(Worker* worker) {
  worker->OnDraining([this, worker](const Peer&) {
    sender_.Leaving();
    leaving_ = worker;
    lingers_ = self_.generation % kLingersMax;
    if (bird_.hasty()) {
      usleep(kHastyUs);
      _exit(0);
    }
  });
}

// What is left for the books when the endpoint is closed.
void Player::Left() {
  sender_.CheckCounters(handled_);
  CloseHandles();
}

void Player::Start() {
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<Player*>(timer->data)->Tick(); }, 0, kTickMs);
}

void Player::CloseHandles() {
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), nullptr);
}

void Player::Wake() {
  const Mode mode = ledger_->mode_now();
  if (!eager_ || (mode != Mode::kMixed && mode != Mode::kPacked)) return;
  uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Player*>(idle->data)->Work(); });
}

// After a pause the books of those who died before it are closed: look again who is there.
Mode Player::LookAtMode() {
  const Mode mode = ledger_->mode_now();
  if (mode != mode_) {
    mode_ = mode;
    sender_.Refresh();
  }
  return mode;
}

void Player::Work() {
  const Mode mode = LookAtMode();
  if (mode == Mode::kPaced || !sender_.Feed(mode)) uv_idle_stop(&idle_);
}

void Player::Tick() {
  place_->ticks.Add();
  if (leaving_ != nullptr && lingers_-- == 0) {
    Worker* worker = std::exchange(leaving_, nullptr);
    const absl::Status status = worker->Drain([this](const CloseReport&) { Left(); });
    if (!status.ok()) ledger_->Complain(Violation::kBroken, "Drain: " + status.ToString());
  }
  if (LookAtMode() == Mode::kPause) {
    if (ledger_->quiet.Get() != reported_) Rest();
    return;
  }
  sender_.Refresh();
  if (!eager_ || mode_ == Mode::kPaced) {
    for (int i = 0; i < (eager_ ? kPacedShares : 1); ++i) sender_.FeedLittle();
  } else {
    Wake();
  }
}

// The master's alert came behind its notices of all deaths, so nothing of the dead follows. What
// was queued for them has come back, or some is still to be told: what nobody holds any more has
// been told in the turn before this one.
void Player::Rest() {
  if (listener_.quiet() != ledger_->quiet.Get() || !sender_.AtRest()) {
    rests_ = 0;
    return;
  }
  if (++rests_ != 2) return;
  if (LivesLong(self_.slot)) {
    spins_ = 0;
    uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Player*>(idle->data)->Spin(); });
  } else {
    ReportQuiet();
  }
}

void Player::Spin() {
  if (++spins_ < kSpins) return;
  uv_idle_stop(&idle_);
  bird_.Keep();
  const Holdings own = MeasureOwn();
  place_->heap_bytes.Set(own.heap_bytes);
  place_->rss_bytes.Set(own.rss_bytes);
  place_->descriptors.Set(own.descriptors);
  ReportQuiet();
}

void Player::ReportQuiet() {
  rests_ = 0;
  reported_ = ledger_->quiet.Get();
  sender_.CheckCounters(handled_);
  place_->quiet.Set(std::uint64_t{self_.generation} << 32 | reported_);
}

}  // namespace alertpipe::soak
