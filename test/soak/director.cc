// SPDX-License-Identifier: Apache-2.0
//
// Rounds and quiet points. What happens to single workers is in lives.cc.
#include "director.h"

#include <signal.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>

namespace alertpipe::soak {
namespace {

// Between two quiet points: enough for load to build up, few enough for the ledger's rings.
constexpr std::uint64_t kKillsPerRound = 250;
constexpr std::uint64_t kAlertsPerRound = 2000000;
constexpr std::uint64_t kProgressNs = 5000000000;

double Seconds(std::uint64_t since) { return static_cast<double>(uv_hrtime() - since) / 1e9; }

}  // namespace

Director::Director(const Settings& settings)
    : settings_(settings),
      material_(settings.capacity, settings.seed),
      random_(static_cast<unsigned>(settings.seed)) {
  std::fill(std::begin(pipes_), std::end(pipes_), -1);
}

Director::~Director() = default;

std::string Director::Begin() {
  ledger_ = MapLedger();
  if (ledger_ == nullptr || uv_loop_init(&loop_) != 0) return "no memory for the ledger";
  account_ = std::make_unique<Account>(ledger_);
  MasterOptions options;
  options.workers_max = kSlots - 1;
  options.pipe_capacity = settings_.capacity;
  options.queued_bytes_per_peer_max = 1 << 20;
  const std::set<std::uint64_t> before = OpenPipes(false);
  absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(options);
  if (!master.ok()) return master.status().ToString();
  master_ = *std::move(master);
  household_ = {settings_, ledger_, &material_, OpenPipes(false)};
  for (const std::uint64_t inode : before) household_.pipes.erase(inode);
  if (absl::Status status = master_->Attach(&loop_); !status.ok()) return status.ToString();
  master_->OnExit([this](const WorkerExit& exit) { NoteExit(exit); });
  player_.emplace(master_.get(), &loop_, ledger_, &material_, settings_.seed, Canary::kNone);
  player_->Start();
  uv_timer_init(&loop_, &tick_);
  uv_timer_start(
      &tick_, [](uv_timer_t*) {}, 1, 1);
  account_->Started(master_->self());
  began_ = told_ = uv_hrtime();
  for (int i = 0; i < settings_.workers; ++i) {
    if (!Spawn(-1)) return "cannot start the workers";
  }
  return std::string();
}

// ---- Turns ----

void Director::Turn() {
  uv_run(&loop_, UV_RUN_ONCE);
  AdoptNew();
  EndStops(false);
  WatchProgress();
  while (missing_ > 0 && Spawn(-1)) --missing_;
  if (uv_hrtime() - told_ > kProgressNs) Progress();
}

bool Director::Until(const std::function<bool()>& done, double seconds) {
  const std::uint64_t since = uv_hrtime();
  while (!done()) {
    if (Seconds(since) > seconds) return false;
    Turn();
  }
  return true;
}

bool Director::TimeIsOver() const { return Seconds(began_) > settings_.seconds || !sound(); }

// With targets a phase goes on until its own is reached. Without any all go on until the time is
// over, the last quarter of which is for replacements.
bool Director::Wants(bool phase, std::uint64_t done, std::uint64_t target) const {
  const bool any_target = settings_.kills + settings_.alerts + settings_.replacements > 0;
  if (!phase || TimeIsOver()) return false;
  return target > 0 ? done < target : !any_target;
}

// How much of it to do in the next round.
std::uint64_t Director::Portion(std::uint64_t done, std::uint64_t target, std::uint64_t most) {
  return target > done ? std::min(target - done, most) : most;
}

bool Director::LeaveTheRestToReplacements() const {
  const bool timed = settings_.kills + settings_.alerts + settings_.replacements == 0;
  return timed && settings_.replace && (settings_.kill || settings_.stream) &&
         Seconds(began_) > 0.75 * settings_.seconds;
}

void Director::Run() {
  if (!Until([this] { return AllAlive(); }, settings_.patience_seconds))
    ledger_->Complain(Violation::kHung, "the workers do not begin");
  for (bool more = true; more && !LeaveTheRestToReplacements();) {
    more = false;
    if (Wants(settings_.kill, deeds_.kills, settings_.kills)) {
      KillRound();
      more = true;
    }
    if (Wants(settings_.stream, account_->totals().lived_alerts, settings_.alerts)) {
      StreamRound();
      more = true;
    }
  }
  // The worker that lives long ends here.
  while (Wants(settings_.replace, deeds_.replacements, settings_.replacements)) ReplaceRound();
  JudgeGrowth();
}

// ---- Rounds ----

void Director::KillRound() {
  doing_ = "killing";
  const std::uint64_t until = deeds_.kills + Portion(deeds_.kills, settings_.kills, kKillsPerRound);
  ledger_->mode.Set(static_cast<std::uint64_t>(Mode::kMixed));
  Until(
      [this, until] {
        KillSome();
        StopSome(20);
        return deeds_.kills >= until || TimeIsOver();
      },
      settings_.round_seconds);
  Quiet();
}

void Director::StreamRound() {
  doing_ = "streaming";
  const std::uint64_t until =
      Delivered() + Portion(account_->totals().lived_alerts, settings_.alerts, kAlertsPerRound);
  ledger_->mode.Set(static_cast<std::uint64_t>(Mode::kPacked));
  Until(
      [this, until] {
        StopSome(2);
        return Delivered() >= until || TimeIsOver();
      },
      settings_.round_seconds);
  Quiet();
}

// ---- Quiet points ----

void Director::Quiet() {
  const char* before = std::exchange(doing_, "coming to rest");
  EndStops(true);
  ledger_->mode.Set(static_cast<std::uint64_t>(Mode::kPause));
  const auto soon = [this](const std::function<bool()>& done) {
    return Until([&] { return CannotSettle() || done(); }, settings_.patience_seconds) &&
           !CannotSettle();
  };
  bool quiet = soon([this] { return AllAlive(); });
  if (!quiet && !CannotSettle()) ledger_->Complain(Violation::kHung, "the dead are not replaced");
  ledger_->quiet.Set(++deeds_.quiets);
  Sender& sender = player_->sender();
  sender.Refresh();
  quiet = quiet && soon([&] { return sender.SendQuiet(master_->self(), deeds_.quiets); });
  for (const Life& life : lives_) {
    if (life.peer.slot < 0) continue;
    quiet = quiet && soon([&] { return sender.SendQuiet(life.peer, deeds_.quiets); });
  }
  quiet = quiet && soon([this] { return AllQuiet(); });
  if (!quiet) return NameTheRestless();
  // Who agrees late has what is still in a pipe; who never does has lost it.
  soon([this] { return account_->Agrees(); });
  if (CannotSettle()) return;
  account_->Settle();
  TakeSamples();
  doing_ = before;
}

bool Director::AllQuiet() const {
  const auto rests = [this](const Peer& peer) {
    return ledger_->places[peer.slot].quiet.Get() ==
           (std::uint64_t{peer.generation} << 32 | deeds_.quiets);
  };
  return rests(master_->self()) &&
         std::all_of(std::begin(lives_), std::end(lives_),
                     [&](const Life& life) { return life.peer.slot < 0 || rests(life.peer); });
}

// Somebody hangs, or has ended without being told to: that has been counted, and the rest follows.
bool Director::CannotSettle() const {
  if (ledger_->violations[static_cast<int>(Violation::kDied)].Get() > 0) return true;
  return std::any_of(std::begin(lives_), std::end(lives_),
                     [](const Life& life) { return life.hangs; });
}

// Nothing can be settled: alerts may just be waiting for those who hang.
void Director::NameTheRestless() {
  if (CannotSettle()) return;
  for (const Life& life : lives_) {
    if (life.peer.slot < 0) continue;
    const std::uint64_t at = ledger_->places[life.peer.slot].quiet.Get();
    if (at != (std::uint64_t{life.peer.generation} << 32 | deeds_.quiets))
      ledger_->Complain(Violation::kHung, ToString(life.peer) + " does not come to rest");
  }
  if (sound()) ledger_->Complain(Violation::kHung, "the master does not come to rest");
}

void Director::TakeSamples() {
  const auto sample = [this](int slot) {
    const Place& place = ledger_->places[slot];
    return Holdings{place.heap_bytes.Get(), place.rss_bytes.Get(), place.descriptors.Get()};
  };
  own_growth_.Add(sample(kMasterSlot));
  if (lives_[kKeeper].peer.generation == 1) keeper_growth_.Add(sample(kKeeper));
}

void Director::JudgeGrowth() {
  const std::string own = own_growth_.Verdict();
  if (!own.empty()) ledger_->Complain(Violation::kGrown, "the master: " + own);
  const std::string kept = keeper_growth_.Verdict();
  if (!kept.empty())
    ledger_->Complain(Violation::kGrown, "the worker that was never killed: " + kept);
}

// ---- The end, and reports ----

void Director::Finish() {
  doing_ = "ending";
  ended_ = uv_hrtime();
  granted_ = master_->pipe_capacity();
  ending_ = true;
  for (Life& life : lives_) {
    if (life.peer.slot >= 0) kill(life.peer.pid, SIGKILL);
  }
  Until(
      [this] {
        return std::all_of(std::begin(lives_), std::end(lives_),
                           [](const Life& life) { return life.peer.slot < 0; });
      },
      settings_.patience_seconds);
  CheckLast(master_->stats(), master_->self());
  player_->CloseHandles();
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
  master_.reset();
  uv_run(&loop_, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop_) != 0) ledger_->Complain(Violation::kBroken, "the loop is not empty");
}

void Director::Progress() {
  told_ = uv_hrtime();
  const Totals& totals = account_->totals();
  std::fprintf(stderr,
               "soak: %6.1f s, pipes of %zu, %s: %" PRIu64 " kills (%" PRIu64
               " with alerts in the pipe, "
               "%" PRIu64 " with half an alert), %" PRIu64
               " replaced, %.1f M alerts heard, %.1f M "
               "settled, %" PRIu64 " violations\n",
               Seconds(began_), settings_.capacity, doing_, deeds_.kills, deeds_.kills_nonempty,
               deeds_.kills_half, deeds_.replacements, static_cast<double>(Delivered()) / 1e6,
               static_cast<double>(totals.lived_alerts) / 1e6, ledger_->Violations());
}

}  // namespace alertpipe::soak
