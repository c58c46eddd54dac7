// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "soak/holdings.h"

namespace alertpipe::event_soak {
namespace {

constexpr int kCannotLive = 4;
constexpr std::uint64_t kTickMs = 2;
// Ticks at rest before that is believed: what is found full is flushed in a later turn.
constexpr int kRests = 3;
// One in so many callbacks publishes.
constexpr unsigned kAnswers = 200;

}  // namespace

LiveWorker::LiveWorker(Worker* worker, Events* events, uv_loop_t* loop, Books* books,
                       const Settings& settings, Canary canary)
    : worker_(worker),
      events_(events),
      books_(books),
      self_(worker->self()),
      place_(&books->places[self_.slot]),
      trap_(place_),
      publisher_(worker, events, books, settings.seed),
      receiver_(self_, books, canary),
      racer_(self_, events, books),
      random_(static_cast<unsigned>(settings.seed + self_.generation)) {
  uv_timer_init(loop, &timer_);
  uv_idle_init(loop, &idle_);
  timer_.data = idle_.data = this;
  place_->Enter(Doing::kLoop);
  place_->trap.Set(0);
  Subscribe();
}

void LiveWorker::Subscribe() {
  for (int kind = 0; kind < kKinds; ++kind) {
    (void)events_->Subscribe(
        kSource, NameOf(static_cast<Kind>(kind)), [this](const Event& event) { Handle(event); },
        [this](const Gap& gap) { receiver_.HearGap(gap); });
  }
  (void)events_->Subscribe(kSource, kRaceName,
                           [this](const Event& event) { receiver_.HearRace(event); });
  worker_->Receive(kQuietName, [this](Alert& alert) {
    std::memcpy(&quiet_, alert.data().data(), sizeof quiet_);
  });
  worker_->OnDamage([this](const Damage& damage) {
    books_->Complain(Violation::kDamaged,
                     Name(self_) + ": " + std::to_string(damage.bytes_discarded) + " bytes");
  });
}

void LiveWorker::Handle(const Event& event) {
  const Doing before = place_->Enter(Doing::kHandling);
  trap_.Enter(Doing::kHandling);
  receiver_.Hear(event);
  if (random_() % kAnswers == 0 && publisher_.wanted()) publisher_.PublishOne();
  place_->Enter(before);
}

void LiveWorker::Start() {
  const Result ready = events_->Ready();
  if (!ready.ok()) books_->Complain(Violation::kBroken, ready.status().ToString());
  place_->ready.Set(self_.generation);
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<LiveWorker*>(timer->data)->Tick(); }, 0,
      kTickMs);
}

void LiveWorker::Work() {
  place_->Enter(Doing::kLoop);
  if (books_->mode_now() == Mode::kLoad && publisher_.wanted() && publisher_.PublishSome()) return;
  if (books_->mode_now() == Mode::kRace && !racer_.done()) return racer_.RaceOnce();
  uv_idle_stop(&idle_);
}

void LiveWorker::Tick() {
  place_->ticks.Add();
  const Mode mode = books_->mode_now();
  if (mode == Mode::kPause) return Rest();
  rests_ = 0;
  if (mode == Mode::kPaced) return publisher_.PublishFew();
  const bool races = mode == Mode::kRace && !racer_.done();
  if (!races && !publisher_.wanted()) return;
  uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<LiveWorker*>(idle->data)->Work(); });
}

void LiveWorker::Rest() {
  receiver_.Release();
  place_->Enter(Doing::kLoop);
  if (books_->quiet.Get() == reported_) return;
  if (quiet_ != books_->quiet.Get() || !publisher_.AtRest()) {
    rests_ = 0;
  } else if (++rests_ == kRests) {
    ReportQuiet();
  }
}

void LiveWorker::ReportQuiet() {
  const EventsStats stats = events_->stats();
  place_->handled.Add(stats.handled - told_.handled);
  place_->gaps.Add(stats.gaps - told_.gaps);
  place_->late.Add(stats.late - told_.late);
  place_->withdrawn.Add(stats.withdrawn - told_.withdrawn);
  place_->coalesced.Set(stats.coalesced);
  told_ = stats;
  if (self_.slot == kKeeper) {
    const soak::Holdings own = soak::MeasureOwn();
    place_->heap_bytes.Set(own.heap_bytes);
    place_->rss_bytes.Set(own.rss_bytes);
    place_->descriptors.Set(own.descriptors);
  }
  rests_ = 0;
  reported_ = books_->quiet.Get();
  place_->quiet.Set(std::uint64_t{self_.generation} << 32 | reported_);
}

int LiveAsWorker(Slot slot, const Settings& settings, Books* books) {
  // Nothing outlives a soak that went wrong.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int number = slot.number();
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return kCannotLive;
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) {
    std::fprintf(stderr, "event_soak: slot %d: %s\n", number, worker.status().ToString().c_str());
    return kCannotLive;
  }
  EventsOptions options;
  options.rules = Rules();
  absl::StatusOr<std::unique_ptr<Events>> events = Events::Attach(worker->get(), options);
  if (!events.ok()) {
    std::fprintf(stderr, "event_soak: slot %d: %s\n", number, events.status().ToString().c_str());
    return kCannotLive;
  }
  (*worker)->OnMasterGone([] { _exit(kCannotLive); });
  LiveWorker life(worker->get(), events->get(), &loop, books, settings,
                  number == kKeeper ? settings.canary : Canary::kNone);
  life.Start();
  uv_run(&loop, UV_RUN_DEFAULT);
  return kCannotLive;
}

}  // namespace alertpipe::event_soak
