// SPDX-License-Identifier: Apache-2.0
//
// Phases, rounds and quiet points. What happens to single workers is in lives.cc.
#include "director.h"

#include <signal.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>

#include "worker.h"

namespace alertpipe::event_soak {
namespace {

constexpr std::uint64_t kProgressNs = 5000000000;
constexpr double kRoundSeconds = 30;
// Every third round nobody is killed, so that its sums are exact.
constexpr std::uint64_t kCalmRounds = 3;
constexpr unsigned kRaceKillMs = 10;  // between two kills, on an average
// And one in so many is for stops that last longer than news may take.
constexpr std::uint64_t kStallRounds = 12;
constexpr int kStalled = 3;
constexpr double kStallExtraSeconds = 2;
// Shares of the time at which phases have to end.
constexpr double kOrderShare = 0.65;
constexpr double kSpeedShare = 0.85;
constexpr std::uint64_t kSpeedPart = 10;
// Far above what a race takes: a key is not to be free again before all have published it.
constexpr int kUniqueSeconds = 600;
constexpr std::uint32_t kUniqueKeys = 65536;

double Seconds(std::uint64_t since) { return static_cast<double>(uv_hrtime() - since) / 1e9; }

}  // namespace

Director::Director(const Settings& settings)
    : settings_(settings), random_(static_cast<unsigned>(settings.seed)) {}

Director::~Director() = default;

std::string Director::Begin() {
  books_ = MapBooks();
  if (books_ == nullptr || uv_loop_init(&loop_) != 0) return "no memory for the books";
  account_ = std::make_unique<Account>(books_, settings_.gap_percent);
  MasterOptions options;
  options.workers_max = settings_.workers;
  options.pipe_capacity = settings_.capacity;
  options.queued_bytes_per_peer_max = 131072;
  options.events.emplace();
  options.events->unique_timeout = absl::Seconds(kUniqueSeconds);
  options.events->unique_keys_max = kUniqueKeys;
  absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(options);
  if (!master.ok()) return master.status().ToString();
  master_ = *std::move(master);
  if (absl::Status status = master_->Attach(&loop_); !status.ok()) return status.ToString();
  master_->OnExit([this](const WorkerExit& exit) { NoteExit(exit); });
  uv_timer_init(&loop_, &tick_);
  uv_timer_start(
      &tick_, [](uv_timer_t*) {}, 1, 1);
  books_->round.Set(1);
  began_ = told_ = uv_hrtime();
  for (int i = 0; i < settings_.workers; ++i) {
    if (!Spawn(-1)) return "cannot start the workers";
  }
  return std::string();
}

// ---- Turns ----

void Director::Turn() {
  uv_run(&loop_, UV_RUN_ONCE);
  EndStops(false);
  KillTheDoomed(false);
  WatchProgress();
  if (load_since_ != 0) WatchNews();
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

// A phase ends at its share of the time, or when anything is wrong.
bool Director::TimeIsOver(double share) const {
  return Seconds(began_) > share * settings_.seconds || books_->Violations() > 0;
}

void Director::Run() {
  doing_ = "starting";
  if (!Until([this] { return AllAlive(); }, settings_.patience_seconds))
    books_->Complain(Violation::kHung, "the workers do not begin");
  const bool timed = settings_.events == 0;
  if (settings_.order) {
    const bool last = !settings_.speed && !settings_.unique;
    LoadPhase("order", settings_.publishers, settings_.events, last || !timed ? 1.0 : kOrderShare,
              &deeds_.order_events);
  }
  if (settings_.speed) {
    LoadPhase("speed", settings_.workers, settings_.events / kSpeedPart,
              !settings_.unique || !timed ? 1.0 : kSpeedShare, &deeds_.speed_events);
  }
  if (settings_.unique) {
    RacePhase(0, settings_.races, false);
    RacePhase(settings_.races, settings_.races + settings_.races / 2, true);
  }
  const std::string grown = keeper_growth_.Verdict();
  if (!grown.empty())
    books_->Complain(Violation::kGrown, "the worker that was never killed: " + grown);
}

// ---- Load ----

void Director::LoadPhase(const char* name, int publishers, std::uint64_t target, double share,
                         std::uint64_t* published) {
  doing_ = name;
  books_->publishers.Set(static_cast<std::uint64_t>(publishers));
  const auto ordered = [this] {
    return account_->totals().published[static_cast<int>(Kind::kOrdered)];
  };
  const std::uint64_t before = ordered();
  for (std::uint64_t round = 0; !TimeIsOver(share); ++round) {
    *published = ordered() - before;
    if (target > 0 && *published >= target) return;
    if (round % kStallRounds == 1) {
      StallRound();
      continue;
    }
    const bool calm = round % kCalmRounds == kCalmRounds - 1;
    const std::uint64_t left = target > 0 ? target - *published : settings_.round_events;
    LoadRound(std::min(left, settings_.round_events), !calm, share);
  }
  *published = ordered() - before;
  if (*published < target && books_->Violations() == 0) {
    missed_ += std::string(name) + ": " + std::to_string(*published) + " events, the target is " +
               std::to_string(target) + "\n";
  }
}

void Director::LoadRound(std::uint64_t events, bool kills, double share) {
  // None may publish so much that the logs are too small for what all do.
  books_->share.Set(2 * events / books_->publishers.Get() + 1);
  books_->mode.Set(static_cast<std::uint64_t>(Mode::kLoad));
  load_since_ = uv_hrtime();
  Until(
      [&] {
        if (kills) KillSome(settings_.kill_ms);
        StopSome(settings_.stop_ms);
        return PublishedNow() >= events || TimeIsOver(share);
      },
      kRoundSeconds);
  load_since_ = 0;
  Quiet();
}

// Stops some workers, publishers among them, for longer than the news of the others may take: so
// whoever waits for one that is stopped is found out.
void Director::StallRound() {
  books_->share.Set(kLogMax / 2 / books_->publishers.Get());
  books_->mode.Set(static_cast<std::uint64_t>(Mode::kPaced));
  load_since_ = uv_hrtime();
  const double seconds = settings_.stall_seconds + kStallExtraSeconds;
  for (int i = 0; i < kStalled; ++i) {
    // As many must run as it takes to have news.
    Life* life = i + 3 <= settings_.publishers ? RandomLife() : nullptr;
    if (life != nullptr && Stop(life, static_cast<std::uint64_t>(seconds * 1e9)))
      ++deeds_.stops_watched;
  }
  Until(
      [this] {
        return books_->Violations() > 0 ||
               std::none_of(std::begin(lives_), std::end(lives_),
                            [](const Life& life) { return life.stopped; });
      },
      2 * seconds);
  load_since_ = 0;
  Quiet();
}

// ---- Races for unique keys ----

void Director::RacePhase(std::uint64_t from, std::uint64_t to, bool kills) {
  if (books_->Violations() > 0) return;
  doing_ = kills ? "unique with kills" : "unique";
  books_->publishers.Set(static_cast<std::uint64_t>(settings_.workers));
  books_->racers.Set(kills ? 0 : static_cast<std::uint64_t>(settings_.workers));
  books_->race_now.Set(from);
  books_->race_to.Set(to);
  books_->mode.Set(static_cast<std::uint64_t>(Mode::kRace));
  const std::uint64_t kills_before = deeds_.kills;
  const bool ended = Until(
      [&] {
        if (kills) KillSome(kRaceKillMs);
        return AllRaced(to) || books_->Violations() > 0;
      },
      std::max(settings_.patience_seconds, settings_.seconds));
  if (!ended) books_->Complain(Violation::kHung, "a race does not end");
  const bool quiet = Quiet();
  deeds_.races_kills += deeds_.kills - kills_before;
  if (quiet) JudgeRaces(from, to, kills);
}

bool Director::AllRaced(std::uint64_t to) const {
  return std::all_of(std::begin(lives_), std::end(lives_), [&](const Life& life) {
    return life.peer.slot < 0 || books_->places[life.peer.slot].raced.Get() ==
                                     (std::uint64_t{life.peer.generation} << 32 | to);
  });
}

// Exactly one hears of each key; where publisher or receiver may have died, at most one.
void Director::JudgeRaces(std::uint64_t from, std::uint64_t to, bool kills) {
  for (std::uint64_t key = from; key < to; ++key) {
    const std::uint64_t heard = books_->races[key].heard.Get();
    const std::uint64_t won = books_->races[key].won.Get();
    const auto wrong = [&](Violation violation) {
      books_->Complain(violation, "unique key " + std::to_string(key) + ": accepted " +
                                      std::to_string(won) + ", heard " + std::to_string(heard));
    };
    if (heard > 1 || won > 1) wrong(Violation::kDuplicated);
    if (!kills && (heard == 0 || won == 0)) wrong(Violation::kLost);
    deeds_.races_unheard += heard == 0 ? 1 : 0;
  }
  (kills ? deeds_.races_killed : deeds_.races) += to - from;
}

// ---- Quiet points ----

// False when the account could not be settled.
bool Director::Quiet() {
  const char* before = std::exchange(doing_, "coming to rest");
  const bool roomy = books_->mode_now() == Mode::kPaced;
  kills_ = false;
  EndStops(true);
  KillTheDoomed(true);
  books_->mode.Set(static_cast<std::uint64_t>(Mode::kPause));
  const auto soon = [this](const std::function<bool()>& done) {
    return Until([&] { return CannotSettle() || done(); }, settings_.patience_seconds) &&
           !CannotSettle();
  };
  bool quiet = soon([this] { return AllAlive(); });
  if (!quiet && !CannotSettle()) books_->Complain(Violation::kHung, "the dead are not replaced");
  books_->quiet.Set(++deeds_.quiets);
  for (const Life& life : lives_) {
    if (life.peer.slot >= 0) quiet = quiet && soon([&] { return Announce(life.peer); });
  }
  quiet = quiet && soon([this] { return AllQuiet(); });
  if (!quiet) {
    NameTheRestless();
    return false;
  }
  // Who agrees late has what is still in a pipe; who never does has lost it.
  soon([this] { return account_->Agrees(); });
  if (CannotSettle()) return false;
  account_->Settle(roomy);
  const Place& keeper = books_->places[kKeeper];
  keeper_growth_.Add({keeper.heap_bytes.Get(), keeper.rss_bytes.Get(), keeper.descriptors.Get()});
  books_->round.Add();
  doing_ = before;
  return books_->Violations() == 0;
}

// True when the receiver is full no more.
bool Director::Announce(const Peer& peer) {
  const std::uint64_t quiet = deeds_.quiets;
  const SendResult sent = master_->Send(
      To(peer), kQuietName, std::string_view(reinterpret_cast<const char*>(&quiet), sizeof quiet));
  return sent.ok();
}

bool Director::AllQuiet() const {
  return std::all_of(std::begin(lives_), std::end(lives_), [this](const Life& life) {
    return life.peer.slot < 0 || books_->places[life.peer.slot].quiet.Get() ==
                                     (std::uint64_t{life.peer.generation} << 32 | deeds_.quiets);
  });
}

// Somebody hangs, or has ended without being told to: that has been counted, and the rest follows.
bool Director::CannotSettle() const {
  if (books_->violations[static_cast<int>(Violation::kDied)].Get() > 0) return true;
  return std::any_of(std::begin(lives_), std::end(lives_),
                     [](const Life& life) { return life.hangs; });
}

void Director::NameTheRestless() {
  if (CannotSettle()) return;
  for (const Life& life : lives_) {
    if (life.peer.slot < 0) continue;
    const std::uint64_t at = books_->places[life.peer.slot].quiet.Get();
    if (at != (std::uint64_t{life.peer.generation} << 32 | deeds_.quiets))
      books_->Complain(Violation::kHung, ToString(life.peer) + " does not come to rest");
  }
}

// ---- The end, and progress ----

void Director::Finish() {
  doing_ = "ending";
  ended_ = uv_hrtime();
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
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
  master_.reset();
  uv_run(&loop_, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop_) != 0) books_->Complain(Violation::kBroken, "the loop is not empty");
}

void Director::Progress() {
  told_ = uv_hrtime();
  const Totals& totals = account_->totals();
  const int ordered = static_cast<int>(Kind::kOrdered);
  std::fprintf(stderr,
               "soak-events: %6.1f s, %s: %.2f M ordered events published, %.1f M heard, %.2f M "
               "gaps, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64 " races, %" PRIu64
               " violations\n",
               Seconds(began_), doing_,
               static_cast<double>(totals.published[ordered] + PublishedNow()) / 1e6,
               static_cast<double>(totals.heard[ordered]) / 1e6,
               static_cast<double>(totals.told[ordered]) / 1e6, deeds_.kills, deeds_.stops,
               books_->race_now.Get(), books_->Violations());
}

}  // namespace alertpipe::event_soak
