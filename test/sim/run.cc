// SPDX-License-Identifier: Apache-2.0
//
// sim_run: simulates seed after seed on all cores until a number of steps or seconds is reached,
// and says what happened in them. With --seed it replays one.
//
// The processes that do the work share one page each with the one that watches them: their census,
// and the seed that they are at, so that a seed is known even if it ends in a crash.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "sim/simulate.h"

namespace alertpipe::sim {
namespace {

struct Options {
  std::uint64_t seed = 0;  // of one to replay
  std::uint64_t first = 1;
  std::uint64_t steps = 0;
  std::uint64_t seconds = 0;
  std::uint64_t jobs = 0;
  bool trace = false;
  bool real = false;
  Canary canary = Canary::kNone;
};

// What a worker shows.
struct Board {
  Census census;
  std::atomic<std::uint64_t> seed{0};
  std::atomic<std::uint64_t> steps{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> violated{false};
};

[[noreturn]] void Usage() {
  std::fprintf(
      stderr,
      "usage: sim_run [--steps N | --seconds N] [--jobs N] [--first SEED]\n"
      "       sim_run --seed N [--steps N] [--trace] [--real] [--canary NAME]\n"
      "Simulates families until N steps or seconds are over (10,000,000 steps), or replays "
      "one seed; --real: on pipes of the kernel.\n");
  std::exit(2);
}

// The arguments one by one; a value follows its name after `=` or as the next one.
class Arguments {
 public:
  Arguments(int count, char** all) : at_(all + 1), end_(all + count) {}
  bool empty() const { return at_ == end_; }
  bool TakeFlag(std::string_view name) {
    if (name != *at_) return false;
    ++at_;
    return true;
  }
  bool TakeText(std::string_view name, std::string_view* value) {
    const std::string_view argument = *at_;
    if (argument.substr(0, name.size()) != name) return false;
    if (argument.size() > name.size()) {
      if (argument[name.size()] != '=') return false;
      *value = argument.substr(name.size() + 1);
    } else {
      if (++at_ == end_) Usage();
      *value = *at_;
    }
    ++at_;
    return true;
  }
  bool TakeNumber(std::string_view name, std::uint64_t* value) {
    std::string_view text;
    if (!TakeText(name, &text)) return false;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, *value);
    if (error != std::errc() || parsed != end) Usage();
    return true;
  }

 private:
  char** at_;
  char** end_;
};

Canary CanaryOf(std::string_view name) {
  for (const Canary canary : kCanaries) {
    if (ToString(canary) == name) return canary;
  }
  Usage();
}

Options Parse(int count, char** all) {
  Options options;
  for (Arguments arguments(count, all); !arguments.empty();) {
    std::string_view canary;
    if (arguments.TakeNumber("--seed", &options.seed) ||
        arguments.TakeNumber("--first", &options.first) ||
        arguments.TakeNumber("--steps", &options.steps) ||
        arguments.TakeNumber("--seconds", &options.seconds) ||
        arguments.TakeNumber("--jobs", &options.jobs)) {
      continue;
    }
    if (arguments.TakeFlag("--trace")) {
      options.trace = true;
    } else if (arguments.TakeFlag("--real")) {
      options.real = true;
    } else if (arguments.TakeText("--canary", &canary)) {
      options.canary = CanaryOf(canary);
    } else {
      Usage();
    }
  }
  if (options.jobs == 0) options.jobs = std::max(1U, std::thread::hardware_concurrency());
  if (options.steps == 0 && options.seconds == 0 && options.seed == 0) options.steps = 10000000;
  return options;
}

void Print(const Census& census, double seconds) {
#define ALERTPIPE_SIM_PRINT(name, text) \
  std::printf("%14llu  %s\n", static_cast<unsigned long long>(census.name), text);
  ALERTPIPE_SIM_EVENTS(ALERTPIPE_SIM_PRINT)
#undef ALERTPIPE_SIM_PRINT
  const double hours = seconds / 3600;
  std::printf("%14.3g  steps per hour\n%14.3g  crashes per hour\n",
              static_cast<double>(census.steps) / hours,
              static_cast<double>(census.crashes + census.master_crashes) / hours);
}

int Replay(const Options& options) {
  Census census;
  SeedRun run;
  run.seed = options.seed;
  run.canary = options.canary;
  run.steps = static_cast<std::uint32_t>(options.steps);
  run.trace = options.trace;
  run.real_pipes = options.real;
  const Verdict verdict = Simulate(run, &census);
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(run.seed),
              verdict.passed() ? "no violation" : verdict.violation.c_str());
  std::printf("digest %016llx\n", static_cast<unsigned long long>(verdict.digest));
  return verdict.passed() ? 0 : 1;
}

[[noreturn]] void Work(const Options& options, std::uint64_t job, Board* board) {
  for (std::uint64_t seed = options.first + job; !board->stop; seed += options.jobs) {
    board->seed = seed;
    SeedRun run;
    run.seed = seed;
    run.canary = options.canary;
    const Verdict verdict = Simulate(run, &board->census);
    board->steps = board->census.steps;
    if (verdict.passed()) continue;
    board->violated = true;
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                 verdict.violation.c_str());
    _exit(1);
  }
  _exit(0);
}

class Watch {
 public:
  explicit Watch(const Options& options) : options_(options) {
    const std::size_t bytes = sizeof(Board) * options.jobs;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    boards_ = static_cast<Board*>(memory);
    for (std::uint64_t job = 0; job < options.jobs; ++job) new (boards_ + job) Board();
  }

  int Run() {
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t job = 0; job < options_.jobs; ++job) {
      const pid_t pid = fork();
      if (pid < 0) std::abort();
      if (pid == 0) Work(options_, job, boards_ + job);
      pids_.push_back(pid);
    }
    double seconds = 0;
    double told = 0;
    while (failed_ == 0 && !Done(seconds)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      Collect(WNOHANG);
      if (seconds - told < 5) continue;
      told = seconds;
      std::fprintf(stderr, "%.0f s, %llu steps\n", seconds,
                   static_cast<unsigned long long>(Steps()));
    }
    for (std::uint64_t job = 0; job < options_.jobs; ++job) boards_[job].stop = true;
    Collect(0);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    Census all;
    for (std::uint64_t job = 0; job < options_.jobs; ++job) all.Add(boards_[job].census);
    Print(all, seconds);
    std::printf("%14.1f  seconds on %d cores\n", seconds, static_cast<int>(options_.jobs));
    return Judge(all);
  }

 private:
  std::uint64_t Steps() const {
    std::uint64_t steps = 0;
    for (std::uint64_t job = 0; job < options_.jobs; ++job) steps += boards_[job].steps;
    return steps;
  }
  bool Done(double seconds) const {
    if (options_.seconds != 0) return seconds >= static_cast<double>(options_.seconds);
    return Steps() >= options_.steps;
  }
  void Collect(int flags) {
    for (std::uint64_t job = 0; job < options_.jobs; ++job) {
      pid_t& pid = pids_[job];
      int status = 0;
      if (pid == 0 || waitpid(pid, &status, flags) != pid) continue;
      pid = 0;
      if (status == 0) continue;
      ++failed_;
      if (!boards_[job].violated) {
        std::fprintf(stderr, "seed %llu: ended with status %#x\n",
                     static_cast<unsigned long long>(boards_[job].seed.load()),
                     static_cast<unsigned>(status));
      }
    }
  }
  int Judge(const Census& all) const {
    if (failed_ > 0) {
      std::printf("FAILED: repeat with sim_run --seed N --trace\n");
      return 1;
    }
    // What has not happened in that many steps cannot happen here.
    int missing = 0;
    if (all.steps >= 5000000) {
#define ALERTPIPE_SIM_MISSING(name, text)      \
  if (all.name == 0) {                         \
    std::printf("never happened: %s\n", text); \
    ++missing;                                 \
  }
      ALERTPIPE_SIM_EVENTS(ALERTPIPE_SIM_MISSING)
#undef ALERTPIPE_SIM_MISSING
    }
    std::printf("%s\n",
                missing == 0 ? "0 violations" : "0 violations, but not everything happened");
    return missing == 0 ? 0 : 3;
  }

  const Options options_;
  Board* boards_;
  std::vector<pid_t> pids_;
  int failed_ = 0;
};

}  // namespace
}  // namespace alertpipe::sim

int main(int count, char** arguments) {
  using namespace alertpipe::sim;  // NOLINT(google-build-using-namespace)
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const Options options = Parse(count, arguments);
  if (options.seed != 0) return Replay(options);
  return Watch(options).Run();
}
