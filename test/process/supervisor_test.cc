// SPDX-License-Identifier: Apache-2.0
//
// The supervisor with real workers. The test's own process is the supervisor's, so it sends itself
// signals and looks at the events; where a process has to end or be killed it is a forked one that
// calls RunSupervised, as a program would.
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../os/support.h"
#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;
using os::Calls;
using os::Fault;
using Event = SupervisorEvent;
using Kind = SupervisorEvent::Kind;
using Next = SupervisorEvent::Next;
using Result = SupervisorResult;

using SetUp = std::function<void(Worker*, uv_loop_t*)>;

// A worker as a program would write it: serves until it is asked to end.
int Serve(Slot slot, const SetUp& set_up = nullptr) {
  alarm(static_cast<unsigned>(2 * LivenessLimitSeconds()));
  uv_loop_t loop;
  uv_loop_init(&loop);
  auto worker = Worker::Attach(std::move(slot), &loop);
  if (!worker.ok()) return 91;
  if (set_up) set_up(worker->get(), &loop);
  uv_run(&loop, UV_RUN_DEFAULT);
  worker->reset();
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : 92;
}

SupervisorOptions OptionsFor(int workers, Master::WorkerMain main = nullptr) {
  SupervisorOptions options;
  options.workers = workers;
  options.worker_main = main ? std::move(main) : [](Slot slot) { return Serve(std::move(slot)); };
  options.master = FamilyOf(1);
  options.backoff_min = absl::Milliseconds(1);
  options.backoff_max = absl::Milliseconds(8);
  options.stop_deadline = absl::Seconds(LivenessLimitSeconds());
  options.restart_deadline = absl::Seconds(LivenessLimitSeconds());
  return options;
}

// A supervisor in the test's own process. What is left of it at the end is killed.
class Supervised {
 public:
  explicit Supervised(SupervisorOptions options, bool start = true) {
    uv_loop_init(&loop_);
    uv_timer_init(&loop_, &tick_);
    uv_timer_start(
        &tick_, [](uv_timer_t*) {}, 2, 2);
    options.on_event = [this](const Event& event) {
      events.push_back(event);
      if (on_event) on_event(event);
    };
    auto created = Supervisor::Create(&loop_, std::move(options));
    EXPECT_TRUE(created.ok()) << created.status();
    if (!created.ok()) return;
    it = *std::move(created);
    if (start) {
      const absl::Status started = it->Start();
      EXPECT_TRUE(started.ok()) << started;
    }
  }
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;
  ~Supervised() {
    if (it != nullptr && it->Stop(absl::ZeroDuration()).ok()) {
      EXPECT_TRUE(UntilStopped());
    }
    it.reset();
    uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    EXPECT_EQ(uv_loop_close(&loop_), 0) << Log();
  }

  Supervisor* operator->() const { return it.get(); }
  uv_loop_t* loop() { return &loop_; }

  bool Until(const std::function<bool()>& done) {
    return Eventually([&] {
      if (!done()) uv_run(&loop_, UV_RUN_ONCE);
      return done();
    });
  }
  bool UntilStopped() {
    return Until([&] { return it == nullptr || it->stopped(); });
  }
  void Turns(int turns) {
    for (int i = 0; i < turns; ++i) uv_run(&loop_, UV_RUN_ONCE);
  }
  std::vector<Event> Of(Kind kind) const {
    std::vector<Event> found;
    for (const Event& event : events) {
      if (event.kind == kind) found.push_back(event);
    }
    return found;
  }
  std::size_t Count(Kind kind) const { return Of(kind).size(); }
  std::vector<Peer> Workers() const { return it->master()->Workers(); }
  std::set<pid_t> Pids() const {
    std::set<pid_t> pids;
    for (const Peer& worker : Workers()) pids.insert(worker.pid);
    return pids;
  }
  std::string Log() const {
    std::string log;
    for (const Event& event : events) log += ToString(event) + "\n";
    return log;
  }

  std::vector<Event> events;
  std::function<void(const Event&)> on_event;
  std::unique_ptr<Supervisor> it;

 private:
  uv_loop_t loop_;
  uv_timer_t tick_;
};

bool StopProcess(pid_t pid) {
  siginfo_t info;
  return kill(pid, SIGSTOP) == 0 && waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED) == 0;
}

// ---- Options and misuse -------------------------------------------------------------------------

TEST(SupervisorOptions, AreChecked) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  const auto refused = [&](const std::function<void(SupervisorOptions*)>& change,
                           std::initializer_list<std::string> texts) {
    SupervisorOptions options = OptionsFor(2);
    change(&options);
    EXPECT_TRUE(
        Says(Supervisor::Create(&loop, options).status(), StatusCode::kInvalidArgument, texts));
  };
  using Options = SupervisorOptions;
  refused([](Options* options) { options->workers = 0; }, {"::workers", "1 to 4096", "was 0"});
  refused([](Options* options) { options->workers = 4097; }, {"::workers", "4096", "was 4097"});
  refused([](Options* options) { options->spare_slots = -1; }, {"::spare_slots", "was -1"});
  refused([](Options* options) { options->spare_slots = 4095; },
          {"::spare_slots", "0 to 4094", "was 4095"});
  refused([](Options* options) { options->worker_main = nullptr; }, {"::worker_main"});
  refused([](Options* options) { options->young_deaths_max = -1; }, {"::young_deaths_max", "-1"});
  refused([](Options* options) { options->backoff_min = absl::Seconds(9); },
          {"::backoff_max", "9s", "8ms"});
  const std::pair<const char*, absl::Duration Options::*> durations[] = {
      {"::backoff_min", &Options::backoff_min},
      {"::backoff_max", &Options::backoff_max},
      {"::stable_after", &Options::stable_after},
      {"::deaths_window", &Options::deaths_window},
      {"::stop_deadline", &Options::stop_deadline},
      {"::restart_deadline", &Options::restart_deadline},
  };
  for (const auto& [name, member] : durations) {
    refused([member = member](Options* options) { options->*member = absl::Milliseconds(-5); },
            {name, "-5ms"});
  }
  refused([](Options* options) { options->restart_deadline = absl::ZeroDuration(); },
          {"::restart_deadline"});
  refused([](Options* options) { options->master.pipe_capacity = 1; }, {"pipe_capacity"});
  EXPECT_TRUE(
      Says(Supervisor::Create(nullptr, OptionsFor(2)).status(), StatusCode::kInvalidArgument));
  uv_run(&loop, UV_RUN_DEFAULT);
  EXPECT_EQ(uv_loop_close(&loop), 0);
}

TEST(Supervisor, CallsOutOfTurnAreRefused) {
  Supervised family(OptionsFor(1), false);
  EXPECT_TRUE(Says(family->Stop().status(), StatusCode::kFailedPrecondition, {"not started"}));
  EXPECT_TRUE(
      Says(family->RestartAll().status(), StatusCode::kFailedPrecondition, {"not started"}));
  EXPECT_TRUE(family.Workers().empty());
  ASSERT_TRUE(family->Start().ok());
  EXPECT_TRUE(Says(family->Start(), StatusCode::kFailedPrecondition, {"before"}));
  EXPECT_TRUE(
      Says(family->Stop(absl::Seconds(-1)).status(), StatusCode::kInvalidArgument, {"-1s"}));
  EXPECT_FALSE(family->stopped());
  EXPECT_TRUE(family->Stop().ok());
  EXPECT_TRUE(Says(family->RestartAll().status(), StatusCode::kFailedPrecondition, {"stopping"}));
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_TRUE(Says(family->Stop().status(), StatusCode::kFailedPrecondition, {"stopped"}));
  EXPECT_TRUE(Says(family->Start(), StatusCode::kFailedPrecondition, {"before"}));
}

TEST(Supervisor, InAWorkerAllCallsAreRefused) {
  Shared<Count> refused;
  Supervisor* supervisor = nullptr;
  SupervisorOptions options = OptionsFor(1, [&](Slot slot) {
    for (const absl::Status& status :
         {supervisor->Start(), supervisor->Stop().status(), supervisor->RestartAll().status()}) {
      *refused += status.code() == StatusCode::kFailedPrecondition;
    }
    delete supervisor;  // does nothing
    return Serve(std::move(slot));
  });
  Supervised family(std::move(options), false);
  supervisor = family.it.get();
  ASSERT_TRUE(family->Start().ok());
  EXPECT_TRUE(family.Until([&] { return *refused == 3; }));
  EXPECT_TRUE(family->Stop().ok());
  EXPECT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
}

// ---- Running and replacing the dead -------------------------------------------------------------

TEST(Supervisor, RunsAsManyAsAskedForAndEndsThem) {
  Supervised family(OptionsFor(3));
  EXPECT_EQ(family.Count(Kind::kStarted), 3u);
  EXPECT_EQ(family.Pids().size(), 3u);
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
  ASSERT_EQ(family.Count(Kind::kExited), 3u) << family.Log();
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.next, Next::kNothing);
    EXPECT_EQ(event.exit.exit_code, 0);
    EXPECT_EQ(event.exit.signal, 0);
  }
  EXPECT_EQ(family.events.back().kind, Kind::kStopped);
  EXPECT_EQ(family.Count(Kind::kStarted), 3u) << "nobody is replaced";
}

TEST(Supervisor, AKilledWorkerIsReplaced) {
  Supervised family(OptionsFor(3));
  const Peer killed = family.Workers()[1];
  ASSERT_EQ(kill(killed.pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 4; }));
  ASSERT_EQ(family.Count(Kind::kExited), 1u);
  const Event exited = family.Of(Kind::kExited)[0];
  EXPECT_EQ(exited.worker, killed);
  EXPECT_EQ(exited.exit.signal, SIGKILL);
  EXPECT_EQ(exited.next, Next::kRespawn);
  EXPECT_EQ(exited.delay, absl::Milliseconds(1)) << "it was young";
  EXPECT_EQ(family.Workers().size(), 3u);
  EXPECT_EQ(family.Pids().count(killed.pid), 0u);
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << "a death before the stop is no matter";
}

TEST(Supervisor, OneThatHasLivedLongIsReplacedAtOnce) {
  SupervisorOptions options = OptionsFor(1);
  options.stable_after = absl::ZeroDuration();
  options.backoff_min = options.backoff_max = absl::Hours(1);
  options.young_deaths_max = 1;
  Supervised family(std::move(options));
  for (std::size_t started = 2; started < 6; ++started) {
    ASSERT_EQ(kill(family.Workers()[0].pid, SIGKILL), 0);
    ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == started; }));
  }
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.next, Next::kRespawn);
    EXPECT_EQ(event.delay, absl::ZeroDuration());
  }
}

// Slot 1's worker fails again and again, the one of slot 2 once: its delay does not grow with that
// of the other.
TEST(Supervisor, DelaysGrowForEachPlaceByItself) {
  Shared<Count> fails;
  SupervisorOptions options = OptionsFor(2, [&](Slot slot) {
    if (slot.number() == 1 && fails->fetch_add(1) < 6) return 7;
    return Serve(std::move(slot));
  });
  Supervised family(std::move(options));
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 8; })) << family.Log();
  std::vector<absl::Duration> delays;
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.exit.exit_code, 7);
    EXPECT_EQ(event.worker.slot, 1);
    delays.push_back(event.delay);
  }
  std::vector<absl::Duration> expected;
  for (const int delay : {1, 2, 4, 8, 8, 8}) expected.push_back(absl::Milliseconds(delay));
  EXPECT_EQ(delays, expected);
  const Peer other = family.Workers()[1];
  ASSERT_EQ(kill(other.pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 7; }));
  // Its successor may have been started in the same turn of the loop.
  EXPECT_EQ(family.Of(Kind::kExited).back().delay, absl::Milliseconds(1));
}

TEST(Supervisor, ExitCodeZeroIsReplacedToo) {
  Shared<Count> starts;
  Supervised family(OptionsFor(1, [&](Slot slot) {
    if (starts->fetch_add(1) < 2) return 0;
    return Serve(std::move(slot));
  }));
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 3; }));
  for (const Event& event : family.Of(Kind::kExited)) EXPECT_EQ(event.next, Next::kRespawn);
}

// Three jobs: two do their work, one fails once and is tried again.
TEST(Supervisor, ExitCodeZeroCanMeanDone) {
  Shared<Count> starts;
  SupervisorOptions options =
      OptionsFor(3, [&](Slot) { return starts->fetch_add(1) == 1 ? 1 : 0; });
  options.respawn_after_success = false;
  Supervised family(std::move(options));
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kStopped);
  EXPECT_EQ(*starts, 4u);
  std::map<Next, int> nexts;
  for (const Event& event : family.Of(Kind::kExited)) ++nexts[event.next];
  EXPECT_EQ(nexts, (std::map<Next, int>{{Next::kLeave, 3}, {Next::kRespawn, 1}}));
  EXPECT_EQ(family.Count(Kind::kStopping), 0u);
}

// ---- Crash loop ---------------------------------------------------------------------------------

TEST(CrashLoop, EndsEverythingAndNamesItself) {
  SupervisorOptions options = OptionsFor(3, [](Slot slot) {
    if (slot.number() == 2) return 9;
    return Serve(std::move(slot));
  });
  options.young_deaths_max = 5;
  Supervised family(std::move(options));
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kCrashLoop);
  EXPECT_EQ(family.events.back().result, Result::kCrashLoop);
  ASSERT_EQ(family.Count(Kind::kStopping), 1u);
  EXPECT_EQ(family.Of(Kind::kStopping)[0].result, Result::kCrashLoop);
  EXPECT_TRUE(Says(family.Of(Kind::kStopping)[0].status, StatusCode::kUnavailable,
                   {"crash loop: 6 workers", "1m", "10s", "young_deaths_max is 5"}));
  std::vector<Event> failed;
  for (const Event& event : family.Of(Kind::kExited)) {
    if (event.worker.slot == 2) {
      failed.push_back(event);
    } else {
      EXPECT_EQ(event.exit.exit_code, 0) << "the others end in order";
      EXPECT_EQ(event.exit.signal, 0);
    }
  }
  ASSERT_EQ(failed.size(), 6u) << family.Log();
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(failed[i].next, Next::kRespawn);
  EXPECT_EQ(failed[5].next, Next::kStop);
  EXPECT_NE(family.Log().find("crash loop"), std::string::npos) << family.Log();
}

TEST(CrashLoop, IsFiveForEachWorkerUnlessSet) {
  Supervised family(OptionsFor(2, [](Slot) { return 9; }));
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kCrashLoop);
  const std::vector<Event> exits = family.Of(Kind::kExited);
  const auto last = std::find_if(exits.begin(), exits.end(),
                                 [](const Event& event) { return event.next == Next::kStop; });
  EXPECT_EQ(last - exits.begin(), 10) << family.Log();
}

// ---- Forks that fail ----------------------------------------------------------------------------

TEST(SupervisorFork, ThatFailsIsTriedAgainLaterAndLater) {
  const auto fails = std::make_unique<Fault<&Calls::fork>>(os::kEvery, EAGAIN);
  Supervised family(OptionsFor(1));
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kForkFailed) == 6; })) << family.Log();
  std::vector<absl::Duration> delays;
  for (const Event& event : family.Of(Kind::kForkFailed)) {
    EXPECT_TRUE(Says(event.status, StatusCode::kResourceExhausted, {std::strerror(EAGAIN)}));
    delays.push_back(event.delay);
  }
  std::vector<absl::Duration> expected;
  for (const int delay : {1, 2, 4, 8, 8, 8}) expected.push_back(absl::Milliseconds(delay));
  EXPECT_EQ(delays, expected);
  EXPECT_EQ(family.Count(Kind::kStarted), 0u);
}

TEST(SupervisorFork, ThatFailsOnceHarmsNothing) {
  SupervisorOptions options = OptionsFor(2);
  options.young_deaths_max = 1;
  auto fault = std::make_unique<Fault<&Calls::fork>>(2, ENOMEM);
  Supervised family(std::move(options));
  EXPECT_EQ(family.Count(Kind::kForkFailed), 1u);
  fault.reset();
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 2; }));
  EXPECT_EQ(family.Workers().size(), 2u);
  const Fault<&Calls::fork> again(1, EAGAIN);
  ASSERT_EQ(kill(family.Workers()[0].pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 3; })) << family.Log();
  EXPECT_TRUE(again.fired());
  EXPECT_EQ(family.Count(Kind::kForkFailed), 2u);
}

// ---- The end ------------------------------------------------------------------------------------

TEST(SupervisorStop, BySigtermAndBySigint) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Supervised family(OptionsFor(2));
    ASSERT_EQ(kill(getpid(), signal), 0);
    ASSERT_TRUE(family.UntilStopped());
    EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
    EXPECT_EQ(family.Count(Kind::kExited), 2u);
  }
}

TEST(SupervisorStop, DoesNotWaitForABackoff) {
  SupervisorOptions options = OptionsFor(2);
  options.backoff_min = options.backoff_max = absl::Hours(1);
  Supervised family(std::move(options));
  for (const Peer& worker : family.Workers()) ASSERT_EQ(kill(worker.pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 2; }));
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kStopped);
  EXPECT_EQ(family.Count(Kind::kStarted), 2u);
}

// And only those that do not answer: the others were waiting for their last alerts.
TEST(SupervisorStop, KillsAtTheDeadline) {
  SupervisorOptions options = OptionsFor(3);
  options.stop_deadline = absl::Milliseconds(200);
  Supervised family(std::move(options));
  const Peer stopped = family.Workers()[1];
  ASSERT_TRUE(StopProcess(stopped.pid));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kKilled);
  ASSERT_EQ(family.Count(Kind::kKilling), 1u) << family.Log();
  EXPECT_EQ(family.Of(Kind::kKilling)[0].worker, stopped);
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.exit.signal, event.worker == stopped ? SIGKILL : 0) << family.Log();
    EXPECT_EQ(event.exit.exit_code, 0);
  }
}

TEST(SupervisorStop, KillsWhoAnswersButDoesNotEnd) {
  SupervisorOptions options = OptionsFor(2, [](Slot slot) {
    return Serve(std::move(slot), [](Worker* worker, uv_loop_t*) {
      if (worker->self().slot == 1) worker->OnDraining([](const Peer&) {});
    });
  });
  options.stop_deadline = absl::InfiniteDuration();
  Supervised family(std::move(options));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 1; })) << family.Log();
  EXPECT_TRUE(family->Stop(absl::Milliseconds(1)).ok());
  ASSERT_TRUE(family.UntilStopped()) << family.Log();
  EXPECT_EQ(family->result(), Result::kKilled);
  ASSERT_EQ(family.Count(Kind::kKilling), 1u) << family.Log();
  EXPECT_EQ(family.Of(Kind::kKilling)[0].worker.slot, 1);
}

TEST(SupervisorStop, ASecondSignalKillsNow) {
  SupervisorOptions options = OptionsFor(2);
  options.stop_deadline = absl::InfiniteDuration();
  Supervised family(std::move(options));
  const Peer stopped = family.Workers()[0];
  ASSERT_TRUE(StopProcess(stopped.pid));
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStopping) == 1; })) << family.Log();
  family.Turns(20);
  EXPECT_EQ(family.Count(Kind::kKilling), 0u);
  ASSERT_TRUE(family.Until([&] {
    if (!family->stopped()) kill(getpid(), SIGINT);
    return family->stopped();
  })) << family.Log();
  EXPECT_EQ(family->result(), Result::kKilled);
  const std::vector<Event> killing = family.Of(Kind::kKilling);
  EXPECT_TRUE(std::any_of(killing.begin(), killing.end(), [&](const Event& event) {
    return event.worker == stopped;
  })) << family.Log();
}

// The two are one wish: from a terminal and a parent that passes it on, say.
TEST(SupervisorStop, TwoSignalsAtOnceAreOne) {
  Shared<Count> may_end;
  SupervisorOptions options = OptionsFor(1, [&](Slot slot) {
    const int code = Serve(std::move(slot));
    while (*may_end == 0) usleep(1000);
    return code;
  });
  options.stop_deadline = absl::InfiniteDuration();
  Supervised family(std::move(options));
  ASSERT_EQ(kill(getpid(), SIGTERM), 0);
  ASSERT_EQ(kill(getpid(), SIGINT), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStopping) == 1; }));
  family.Turns(50);
  EXPECT_EQ(family.Count(Kind::kKilling), 0u) << family.Log();
  *may_end = 1;
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
}

TEST(SupervisorStop, AnEarlierDeadlineCountsALaterOneDoesNot) {
  SupervisorOptions options = OptionsFor(1);
  options.stop_deadline = absl::InfiniteDuration();
  Supervised family(std::move(options));
  ASSERT_TRUE(StopProcess(family.Workers()[0].pid));
  EXPECT_TRUE(family->Stop().ok());
  EXPECT_TRUE(family->Stop(absl::Milliseconds(50)).ok());
  EXPECT_TRUE(family->Stop(absl::Hours(1)).ok());
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kKilled);
  EXPECT_EQ(family.Count(Kind::kStopping), 1u);
}

TEST(SupervisorStop, AWorkerThatFailsWhenAskedIsTold) {
  Supervised family(OptionsFor(2, [](Slot slot) {
    const int number = slot.number();
    const int code = Serve(std::move(slot));
    return number == 2 ? 5 : code;
  }));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kWorkerFailed) << family.Log();
}

// ---- Signals in workers -------------------------------------------------------------------------

bool IsBlocked(int signal) {
  sigset_t mask;
  return sigprocmask(SIG_BLOCK, nullptr, &mask) == 0 && sigismember(&mask, signal) == 1;
}

constexpr int kThree[] = {SIGHUP, SIGTERM, SIGINT};

TEST(Shield, KeepsTheThreeSignalsFromEndingAWorker) {
  Supervised family(OptionsFor(1, [](Slot slot) {
    for (const int signal : kThree) {
      struct sigaction action;
      sigaction(signal, nullptr, &action);
      if (action.sa_handler == SIG_IGN) return 81;  // programs that it starts would inherit that
      if (IsBlocked(signal)) return 82;
      raise(signal);
    }
    return Serve(std::move(slot));
  }));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
}

pid_t g_supervisor = 0;

// Right after a child has got the default action of SIGINT, it gets the signal.
int RaiseWhenDefault(int signal, const os::SignalAction* wanted, os::SignalAction* before) {
  const int result = ::sigaction(signal, wanted, before);
  if (getpid() != g_supervisor && signal == SIGINT && wanted != nullptr &&
      wanted->sa_handler == SIG_DFL) {
    raise(SIGINT);
  }
  return result;
}

TEST(Shield, HasNoGap) {
  g_supervisor = getpid();
  const os::Replace<&Calls::sigaction> replace(&RaiseWhenDefault);
  Supervised family(OptionsFor(2));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
}

TEST(Shield, CanBeLeftOut) {
  SupervisorOptions options = OptionsFor(1, [](Slot slot) {
    for (const int signal : kThree) {
      struct sigaction action;
      sigaction(signal, nullptr, &action);
      if (action.sa_handler != SIG_DFL || IsBlocked(signal)) return 83;
    }
    return Serve(std::move(slot));
  });
  options.shield_workers = false;
  Supervised family(std::move(options));
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
}

TEST(Shield, SignalsCanBeLeftToTheProgram) {
  const auto handler = signal(SIGTERM, [](int) {});
  SupervisorOptions options = OptionsFor(1);
  options.watch_signals = false;
  {
    Supervised family(std::move(options));
    ASSERT_EQ(kill(getpid(), SIGTERM), 0);
    family.Turns(20);
    EXPECT_EQ(family.Count(Kind::kStopping), 0u);
    EXPECT_TRUE(family->Stop().ok());
    ASSERT_TRUE(family.UntilStopped());
  }
  signal(SIGTERM, handler);
}

// ---- Restart ------------------------------------------------------------------------------------

// Whether none of these lives, and as many others do.
::testing::AssertionResult AllNew(const Supervised& family, const std::set<pid_t>& before) {
  const std::set<pid_t> now = family.Pids();
  if (now.size() != before.size()) {
    return ::testing::AssertionFailure() << now.size() << " workers\n" << family.Log();
  }
  for (const pid_t pid : now) {
    if (before.count(pid) != 0)
      return ::testing::AssertionFailure() << pid << " is there still\n" << family.Log();
  }
  return ::testing::AssertionSuccess();
}

TEST(SupervisorRestart, BySighupReplacesEachWorkerOnce) {
  Supervised family(OptionsFor(3));
  const std::set<pid_t> before = family.Pids();
  ASSERT_EQ(kill(getpid(), SIGHUP), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; })) << family.Log();
  EXPECT_TRUE(family.Of(Kind::kRestartEnded)[0].status.ok()) << family.Log();
  EXPECT_TRUE(AllNew(family, before));
  EXPECT_EQ(family.Count(Kind::kRestartBegun), 1u);
  EXPECT_EQ(family.Count(Kind::kStarted), 6u);
  ASSERT_EQ(family.Count(Kind::kReplaced), 3u);
  std::set<pid_t> old;
  std::set<pid_t> successors;
  for (const Event& event : family.Of(Kind::kReplaced)) {
    old.insert(event.worker.pid);
    successors.insert(event.successor.pid);
  }
  EXPECT_EQ(old, before);
  EXPECT_EQ(successors, family.Pids());
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.next, Next::kNothing);
    EXPECT_EQ(event.exit.exit_code, 0) << family.Log();
    EXPECT_EQ(event.exit.signal, 0);
  }
}

TEST(SupervisorRestart, AskedForAgainMeanwhileIsDoneAgainOnce) {
  Supervised family(OptionsFor(2));
  const std::set<pid_t> before = family.Pids();
  EXPECT_TRUE(family->RestartAll().ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 2; })) << family.Log();
  family.Turns(20);
  EXPECT_EQ(family.Count(Kind::kRestartBegun), 2u);
  EXPECT_EQ(family.Count(Kind::kReplaced), 4u) << family.Log();
  EXPECT_TRUE(AllNew(family, before));
}

TEST(SupervisorRestart, NeedsASpareSlot) {
  SupervisorOptions options = OptionsFor(1);
  options.spare_slots = 0;
  Supervised family(std::move(options));
  EXPECT_TRUE(
      Says(family->RestartAll().status(), StatusCode::kFailedPrecondition, {"spare_slots is 0"}));
}

// A new program that cannot run does not take the old one's place.
TEST(SupervisorRestart, EndsWithTheFirstThatFailsAndTheOthersStay) {
  Shared<Count> broken;
  Shared<Count> past;
  SupervisorOptions options = OptionsFor(3, [&](Slot slot) {
    if (*broken != 0) return 6;
    ++*past;
    return Serve(std::move(slot));
  });
  options.young_deaths_max = 1;
  Supervised family(std::move(options));
  const std::set<pid_t> before = family.Pids();
  ASSERT_TRUE(family.Until([&] { return *past == 3; }));
  *broken = 1;
  for (std::size_t restarts = 1; restarts <= 3; ++restarts) {
    EXPECT_TRUE(family->RestartAll().ok());
    ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == restarts; }));
    EXPECT_TRUE(Says(family.Of(Kind::kRestartEnded).back().status, StatusCode::kUnavailable));
  }
  EXPECT_EQ(family.Pids(), before) << family.Log();
  EXPECT_EQ(family.Count(Kind::kStopping), 0u) << "it is no crash loop while the old ones work";
  for (const Event& event : family.Of(Kind::kExited)) EXPECT_EQ(event.next, Next::kNothing);
  *broken = 0;
  EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 4; }));
  EXPECT_TRUE(AllNew(family, before));
}

TEST(SupervisorRestart, WhoseForkFailsEndsAndNothingHasChanged) {
  Supervised family(OptionsFor(2));
  const std::set<pid_t> before = family.Pids();
  {
    const Fault<&Calls::fork> fault(1, EAGAIN);
    EXPECT_TRUE(family->RestartAll().ok());
    ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; }));
  }
  EXPECT_TRUE(Says(family.Of(Kind::kRestartEnded)[0].status, StatusCode::kResourceExhausted));
  EXPECT_EQ(family.Pids(), before);
}

TEST(SupervisorRestart, AStoppedOldWorkerIsKilledAtTheDeadline) {
  SupervisorOptions options = OptionsFor(2);
  options.restart_deadline = absl::Seconds(3);
  Supervised family(std::move(options));
  const std::set<pid_t> before = family.Pids();
  const Peer stopped = family.Workers()[0];
  ASSERT_TRUE(StopProcess(stopped.pid));
  EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; }));
  EXPECT_TRUE(AllNew(family, before));
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_TRUE(event.worker != stopped || event.exit.signal == SIGKILL) << family.Log();
    EXPECT_EQ(event.next, Next::kNothing);
  }
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << "it was killed before the stop";
}

// Whoever dies during a restart, at the end there are as many as there should be.
TEST(SupervisorRestart, DeathsMeanwhileAreMadeUpFor) {
  enum class Victim { kOld, kSuccessor, kLater, kBoth };
  for (const Victim victim : {Victim::kOld, Victim::kSuccessor, Victim::kLater, Victim::kBoth}) {
    SCOPED_TRACE(static_cast<int>(victim));
    Supervised family(OptionsFor(3));
    const std::vector<Peer> before = family.Workers();
    bool killed = false;
    family.on_event = [&](const Event& event) {
      if (family.Count(Kind::kRestartBegun) == 0 || event.kind != Kind::kStarted) return;
      if (std::exchange(killed, true)) return;
      if (victim == Victim::kOld || victim == Victim::kBoth) kill(before[0].pid, SIGKILL);
      if (victim == Victim::kSuccessor || victim == Victim::kBoth) kill(event.worker.pid, SIGKILL);
      if (victim == Victim::kLater) kill(before[2].pid, SIGKILL);
    };
    EXPECT_TRUE(family->RestartAll().ok());
    const auto settled = [&] {
      return family.Count(Kind::kRestartEnded) == 1 && family.Workers().size() == 3 &&
             family.Count(Kind::kStarted) == family.Count(Kind::kExited) + 3;
    };
    ASSERT_TRUE(family.Until(settled)) << family.Log();
    family.Turns(20);
    EXPECT_TRUE(settled()) << family.Log();
    EXPECT_TRUE(family->Stop().ok());
    ASSERT_TRUE(family.UntilStopped());
    EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
  }
}

// Two processes are in one place then, and one of them must not be taken for the dead one's
// successor.
TEST(SupervisorRestart, ADeathWhileTheNewOneIsNotReadyIsMadeUpForAtOnce) {
  Shared<Count> starts;
  Shared<Count> may_be_ready;
  Supervised family(OptionsFor(2, [&](Slot slot) {
    if (starts->fetch_add(1) == 2) {
      while (*may_be_ready == 0) usleep(1000);
    }
    return Serve(std::move(slot));
  }));
  ASSERT_TRUE(family.Until([&] { return *starts == 2; }));
  const std::vector<Peer> before = family.Workers();
  EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return *starts == 3; }));
  ASSERT_EQ(kill(before[1].pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return *starts == 4; })) << family.Log();
  *may_be_ready = 1;
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; }));
  EXPECT_EQ(family.Workers().size(), 2u) << family.Log();
  EXPECT_EQ(*starts, 4u) << "what was started meanwhile is new";
}

// The old one is about to go and takes nothing any more: it does not fill the place.
TEST(SupervisorRestart, ANewOneThatDiesWhileTheOldOneDrainsIsMadeUpForAtOnce) {
  struct Drains {
    Count begun;
    Count may_end;
  };
  Shared<Drains> drains;
  Supervised family(OptionsFor(1, [&](Slot slot) {
    uv_timer_t timer;
    std::function<void()> look;
    return Serve(std::move(slot), [&](Worker* worker, uv_loop_t* loop) {
      uv_timer_init(loop, &timer);
      uv_unref(reinterpret_cast<uv_handle_t*>(&timer));
      timer.data = &look;
      look = [&, worker] {
        if (drains->may_end == 0 || uv_is_closing(reinterpret_cast<uv_handle_t*>(&timer))) return;
        uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
        worker->Drain();
      };
      worker->OnDraining([&](const Peer&) {
        ++drains->begun;
        uv_timer_start(
            &timer, [](uv_timer_t* t) { (*static_cast<std::function<void()>*>(t->data))(); }, 1, 1);
      });
    });
  }));
  EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return drains->begun == 1; }));
  ASSERT_EQ(kill(family.Of(Kind::kStarted)[1].worker.pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == 3; })) << family.Log();
  EXPECT_EQ(drains->may_end, 0u);
  drains->may_end = 1;
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; }));
  EXPECT_TRUE(Says(family.Of(Kind::kRestartEnded)[0].status, StatusCode::kUnavailable));
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 2; }));
  family.Turns(20);
  EXPECT_EQ(family.Count(Kind::kStarted), 3u) << family.Log();
  EXPECT_EQ(family.Workers().size(), 1u);
}

TEST(SupervisorRestart, IsGivenUpWhenItStops) {
  for (const Kind moment : {Kind::kRestartBegun, Kind::kStarted, Kind::kExited, Kind::kReplaced}) {
    SCOPED_TRACE(static_cast<int>(moment));
    Supervised family(OptionsFor(3));
    bool asked = false;
    family.on_event = [&](const Event& event) {
      if (family.Count(Kind::kRestartBegun) == 0 || event.kind != moment) return;
      if (!std::exchange(asked, true)) kill(getpid(), SIGTERM);
    };
    EXPECT_TRUE(family->RestartAll().ok());
    ASSERT_TRUE(family.UntilStopped()) << family.Log();
    EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
    EXPECT_EQ(family.Count(Kind::kStarted), family.Count(Kind::kExited));
    EXPECT_EQ(family.Count(Kind::kRestartEnded), 1u) << family.Log();
    EXPECT_LT(family.Count(Kind::kReplaced), 3u) << family.Log();
    EXPECT_EQ(family.events.back().kind, Kind::kStopped);
  }
}

struct Traffic {
  Count sent[64];      // by sender's generation and slot: accepted
  Count received[64];  // handled
  Count wrong;
  Count refused;
};

// Every worker sends numbered alerts to the others all the time, through two restarts. What was
// accepted for anybody is handled, in order, and nothing twice.
TEST(SupervisorRestart, LosesNothingUnderTraffic) {
  constexpr int kWorkers = 3;
  Shared<Traffic> traffic;
  SupervisorOptions options = OptionsFor(kWorkers, [&](Slot slot) {
    uv_timer_t timer;
    std::map<std::pair<int, std::uint32_t>, std::uint64_t> next;
    std::map<std::pair<int, std::uint32_t>, std::uint64_t> last;
    std::function<void()> send;
    return Serve(std::move(slot), [&](Worker* worker, uv_loop_t* loop) {
      const int self = worker->self().slot;
      worker->Receive("n", [&, self](Alert& alert) {
        const std::uint64_t number = NumberOf(alert.data());
        std::uint64_t& expected = last[{alert.sender().slot, alert.sender().generation}];
        traffic->wrong += number != ++expected;
        ++traffic->received[alert.sender().slot];
      });
      worker->OnUndelivered([&](const Undelivered&) { ++traffic->wrong; });
      send = [&, worker, self] {
        for (const Peer& peer : worker->Workers()) {
          if (peer == worker->self()) continue;
          for (int i = 0; i < 20; ++i) {
            std::uint64_t& number = next[{peer.slot, peer.generation}];
            if (worker->Send(peer, "n", Numbered(number + 1, 300)).ok()) {
              ++number;
              ++traffic->sent[self];
            } else {
              ++traffic->refused;
            }
          }
        }
      };
      uv_timer_init(loop, &timer);
      timer.data = &send;
      uv_timer_start(
          &timer, [](uv_timer_t* t) { (*static_cast<std::function<void()>*>(t->data))(); }, 1, 1);
      worker->OnDraining([&, worker](const Peer&) {
        uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
        worker->Drain();
      });
    });
  });
  Supervised family(std::move(options));
  for (std::size_t restarts = 1; restarts <= 2; ++restarts) {
    const std::set<pid_t> before = family.Pids();
    const std::uint64_t received = traffic->received[1] + traffic->received[2];
    ASSERT_TRUE(family.Until(
        [&] { return traffic->received[1] + traffic->received[2] > received + 1000; }));
    ASSERT_EQ(kill(getpid(), SIGHUP), 0);
    ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == restarts; }))
        << family.Log();
    EXPECT_TRUE(AllNew(family, before));
  }
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
  EXPECT_EQ(traffic->wrong, 0u);
  std::uint64_t sent = 0;
  for (int slot = 1; slot <= kWorkers + 1; ++slot) {
    sent += traffic->sent[slot];
    EXPECT_EQ(traffic->sent[slot], traffic->received[slot]) << "slot " << slot;
  }
  EXPECT_GT(sent, 2000u);
}

// A worker may go on with the master's loop: no timer of the supervisor's is active there.
TEST(SupervisorRestart, LeavesNoTimerInAWorkersCopyOfTheLoop) {
  Supervised* here = nullptr;
  Shared<Count> starts;
  Shared<Count> timers;
  SupervisorOptions options = OptionsFor(2, [&](Slot slot) {
    if (starts->fetch_add(1) < 2) return Serve(std::move(slot));
    uv_loop_t* loop = here->loop();
    uv_walk(
        loop,
        [](uv_handle_t* handle, void* count) {
          if (handle->type == UV_TIMER && uv_is_active(handle) && uv_has_ref(handle))
            ++*static_cast<Count*>(count);
        },
        &*timers);
    return Serve(std::move(slot));
  });
  options.backoff_min = options.backoff_max = absl::Hours(1);
  Supervised family(std::move(options));
  here = &family;
  ASSERT_TRUE(family.Until([&] { return *starts == 2; }));
  ASSERT_EQ(kill(family.Workers()[0].pid, SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 1; }));
  EXPECT_TRUE(family->RestartAll().ok());
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kRestartEnded) == 1; }));
  EXPECT_EQ(*starts, 3u);
  EXPECT_EQ(*timers, 1u) << "the test's own, and none of the supervisor's";
}

// ---- What the application may do ----------------------------------------------------------------

// Ends what a destroyed supervisor has left behind.
void EndOrphans(std::set<pid_t> pids) {
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  for (const pid_t pid : pids) {
    const pid_t reaped = waitpid(pid, nullptr, 0);
    EXPECT_TRUE(reaped == pid || (reaped < 0 && errno == ECHILD));
  }
}

TEST(SupervisorHook, MayDestroyTheSupervisor) {
  for (const Kind kind : {Kind::kStarted, Kind::kForkFailed, Kind::kExited, Kind::kStopping,
                          Kind::kKilling, Kind::kStopped}) {
    SCOPED_TRACE(static_cast<int>(kind));
    std::set<pid_t> pids;
    Supervised family(OptionsFor(2), false);
    bool destroyed = false;
    family.on_event = [&](const Event& event) {
      ASSERT_FALSE(destroyed) << "an event after the end";
      if (event.kind == Kind::kStarted) pids.insert(event.worker.pid);
      if (event.kind != kind) return;
      destroyed = true;
      family.it.reset();
    };
    auto fault =
        std::make_unique<Fault<&Calls::fork>>(kind == Kind::kForkFailed ? 2 : os::kNone, EAGAIN);
    EXPECT_TRUE(family->Start().ok());
    if (family.it != nullptr) {
      fault.reset();
      if (kind == Kind::kExited) kill(*pids.begin(), SIGKILL);
      if (kind == Kind::kStopping || kind == Kind::kStopped) (void)family->Stop();
      if (kind == Kind::kKilling) (void)family->Stop(absl::ZeroDuration());
      EXPECT_TRUE(family.Until([&] { return destroyed; }));
    }
    EXPECT_TRUE(destroyed);
    family.Turns(3);
    EndOrphans(pids);
  }
}

TEST(SupervisorHook, MayDestroyTheSupervisorInACrashLoop) {
  SupervisorOptions options = OptionsFor(2, [](Slot slot) {
    if (slot.number() == 2) return 9;
    return Serve(std::move(slot));
  });
  options.young_deaths_max = 2;
  std::set<pid_t> pids;
  Supervised family(std::move(options), false);
  family.on_event = [&](const Event& event) {
    if (event.kind == Kind::kStarted) pids.insert(event.worker.pid);
    if (event.next == Next::kStop) family.it.reset();
  };
  EXPECT_TRUE(family->Start().ok());
  EXPECT_TRUE(family.Until([&] { return family.it == nullptr; }));
  family.Turns(3);
  EndOrphans(pids);
}

TEST(SupervisorHook, MayStopTheSupervisor) {
  for (const Kind kind : {Kind::kStarted, Kind::kExited, Kind::kForkFailed, Kind::kRestartBegun}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Supervised family(OptionsFor(2), false);
    family.on_event = [&](const Event& event) {
      if (event.kind == kind) (void)family->Stop();
    };
    auto fault =
        std::make_unique<Fault<&Calls::fork>>(kind == Kind::kForkFailed ? 2 : os::kNone, EAGAIN);
    EXPECT_TRUE(family->Start().ok());
    fault.reset();
    if (kind == Kind::kExited) kill(family.Workers()[0].pid, SIGKILL);
    if (kind == Kind::kRestartBegun) (void)family->RestartAll();
    ASSERT_TRUE(family.UntilStopped()) << family.Log();
    EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
  }
}

// That is how a program has one of them replaced; it is no failure.
TEST(Supervisor, AWorkerThatTheProgramRetiresIsReplacedAtOnce) {
  SupervisorOptions options = OptionsFor(2);
  options.backoff_min = options.backoff_max = absl::Hours(1);
  options.respawn_after_success = false;
  options.young_deaths_max = 1;
  Supervised family(std::move(options));
  for (std::size_t started = 3; started < 7; ++started) {
    ASSERT_TRUE(family->master()->Retire(family.Workers()[0].slot).ok());
    ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kStarted) == started; }))
        << family.Log();
  }
  for (const Event& event : family.Of(Kind::kExited)) {
    EXPECT_EQ(event.next, Next::kRespawn);
    EXPECT_EQ(event.delay, absl::ZeroDuration());
    EXPECT_EQ(event.exit.exit_code, 0);
  }
}

// What the program starts itself is its own matter, also how it ends during a stop.
TEST(Supervisor, LeavesTheProgramsOwnWorkersAlone) {
  Shared<Count> may_end;
  SupervisorOptions options = OptionsFor(2, [&](Slot slot) {
    const int code = Serve(std::move(slot));
    while (*may_end == 0) usleep(1000);
    return code;
  });
  options.spare_slots = 4;
  Supervised family(std::move(options));
  std::vector<pid_t> own;
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Peer> worker =
        family->master()->Spawn([](Slot slot) { return Serve(std::move(slot)); });
    ASSERT_TRUE(worker.ok()) << worker.status();
    own.push_back(worker->pid);
  }
  ASSERT_EQ(kill(own[0], SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 1; }));
  EXPECT_EQ(family.events.back().next, Next::kNothing);
  EXPECT_EQ(family.Count(Kind::kStarted), 2u);
  EXPECT_TRUE(family->Stop().ok());
  ASSERT_EQ(kill(own[1], SIGKILL), 0);
  ASSERT_TRUE(family.Until([&] { return family.Count(Kind::kExited) == 2; }));
  *may_end = 1;
  ASSERT_TRUE(family.UntilStopped());
  EXPECT_EQ(family->result(), Result::kStopped) << family.Log();
  EXPECT_EQ(kill(own[2], 0), 0) << "it was stopped";
  EndOrphans({own[2]});
}

// ---- RunSupervised ------------------------------------------------------------------------------

// A program: a process, in a group of its own, that is nothing but RunSupervised.
class Program {
 public:
  using SetUpMaster = std::function<absl::Status(Supervisor*)>;

  explicit Program(const SupervisorOptions& options, const SetUpMaster& setup = nullptr) {
    EXPECT_EQ(pipe(output_), 0);
    pid_ = os::Spawn([&] {
      alarm(static_cast<unsigned>(2 * LivenessLimitSeconds()));
      setpgid(0, 0);
      dup2(output_[1], STDERR_FILENO);
      return RunSupervised(options, setup);
    });
    close(output_[1]);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { close(output_[0]); }

  pid_t pid() const { return pid_; }
  // The exit code (os::Wait), once what it has written is complete.
  int Wait() {
    char bytes[4096];
    ssize_t size;
    while ((size = read(output_[0], bytes, sizeof bytes)) > 0) output.append(bytes, size);
    return os::Wait(pid_);
  }

  std::string output;  // on stderr

 private:
  int output_[2];
  pid_t pid_;
};

// Counts the workers that have attached.
Master::WorkerMain CountedMain(Count* ready) {
  return [ready](Slot slot) {
    return Serve(std::move(slot), [ready](Worker*, uv_loop_t*) { ++*ready; });
  };
}

TEST(RunSupervised, ReturnsZeroAfterSigterm) {
  Shared<Count> ready;
  Program program(OptionsFor(3, CountedMain(&*ready)));
  ASSERT_TRUE(Eventually([&] { return *ready == 3; }));
  ASSERT_EQ(kill(program.pid(), SIGTERM), 0);
  EXPECT_EQ(program.Wait(), 0) << program.output;
  for (const char* text : {"started", "asked to end within", "ended with exit code 0", "stopped"})
    EXPECT_NE(program.output.find(text), std::string::npos) << text << " in:\n" << program.output;
}

// As a terminal, a shell's kill %1, or timeout(1) does it.
TEST(RunSupervised, ReturnsZeroAfterASignalToTheWholeGroup) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Shared<Count> ready;
    Program program(OptionsFor(3, CountedMain(&*ready)));
    ASSERT_TRUE(Eventually([&] { return *ready == 3; }));
    ASSERT_EQ(kill(-program.pid(), signal), 0);
    EXPECT_EQ(program.Wait(), 0) << program.output;
  }
}

TEST(RunSupervised, ReturnsACodeOfItsOwnForACrashLoop) {
  Program program(OptionsFor(1, [](Slot) { return 9; }));
  EXPECT_EQ(program.Wait(), 3);
  EXPECT_NE(program.output.find("crash loop"), std::string::npos) << program.output;
  EXPECT_NE(program.output.find("exit code 9"), std::string::npos) << program.output;
}

TEST(RunSupervised, ReturnsACodeOfItsOwnForAKill) {
  SupervisorOptions options = OptionsFor(1, [](Slot) {
    kill(getppid(), SIGTERM);
    for (;;) pause();
    return 0;
  });
  options.stop_deadline = absl::Milliseconds(50);
  Program program(options);
  EXPECT_EQ(program.Wait(), 4);
  EXPECT_NE(program.output.find("did not end in time: killed"), std::string::npos)
      << program.output;
}

TEST(RunSupervised, ReturnsACodeOfItsOwnForAWorkerThatFails) {
  SupervisorOptions options = OptionsFor(1, [](Slot slot) {
    kill(getppid(), SIGTERM);
    const int code = Serve(std::move(slot));
    return code == 0 ? 77 : code;
  });
  Program program(options);
  EXPECT_EQ(program.Wait(), 5);
  EXPECT_NE(program.output.find("exit code 77"), std::string::npos) << program.output;
}

TEST(RunSupervised, ReturnsACodeOfItsOwnWhenItCannotStart) {
  Program options(OptionsFor(0));
  EXPECT_EQ(options.Wait(), 1);
  EXPECT_NE(options.output.find("::workers"), std::string::npos) << options.output;
  Program setup(OptionsFor(1), [](Supervisor*) { return absl::NotFoundError("no configuration"); });
  EXPECT_EQ(setup.Wait(), 1);
  EXPECT_NE(setup.output.find("no configuration"), std::string::npos) << setup.output;
  EXPECT_EQ(setup.output.find("started\n"), std::string::npos) << setup.output;
}

// The master is there for alerts before the first worker is, and what the program has open on the
// loop does not keep it from ending.
TEST(RunSupervised, SetsUpTheMasterFirst) {
  uv_timer_t timer;
  Supervisor* supervisor = nullptr;
  SupervisorOptions options = OptionsFor(2, [](Slot slot) {
    return Serve(std::move(slot),
                 [](Worker* worker, uv_loop_t*) { worker->Send(To::Master(), "hello"); });
  });
  options.attach.keep_loop_alive = false;  // not heeded
  Program program(options, [&](Supervisor* it) {
    supervisor = it;
    uv_timer_init(it->loop(), &timer);
    uv_timer_start(
        &timer, [](uv_timer_t*) {}, 1000000, 0);
    it->master()->Receive("hello", [&, count = 0](Alert&) mutable {
      if (++count == 2) supervisor->Stop();
    });
    return absl::OkStatus();
  });
  EXPECT_EQ(program.Wait(), 0) << program.output;
}

struct Orphans {
  Count pids[3];
  Count gone;
};

TEST(RunSupervised, WorkersAreToldWhenItIsKilled) {
  Shared<Orphans> orphans;
  Household house([&] {
    SupervisorOptions options = OptionsFor(2, [&](Slot slot) {
      const int number = slot.number();
      return Serve(std::move(slot), [&, number](Worker* worker, uv_loop_t*) {
        worker->OnMasterGone([&, worker] {
          ++orphans->gone;
          worker->Close(absl::Seconds(1));
        });
        orphans->pids[number] = static_cast<std::uint64_t>(getpid());
      });
    });
    options.on_event = [](const Event&) {};
    RunSupervised(std::move(options));
  });
  ASSERT_TRUE(Eventually([&] { return orphans->pids[1] != 0 && orphans->pids[2] != 0; }));
  const std::vector<pid_t> workers = {static_cast<pid_t>(orphans->pids[1].load()),
                                      static_cast<pid_t>(orphans->pids[2].load())};
  house.KillMaster(workers);
  EXPECT_TRUE(Eventually([&] { return orphans->gone == 2; }));
  for (const pid_t worker : workers) EXPECT_TRUE(house.EndOrphan(worker)) << worker;
}

}  // namespace
}  // namespace alertpipe::process
