// SPDX-License-Identifier: Apache-2.0
//
// What a pool costs that does nothing: a master and its workers, which have attached, have heard
// one broadcast, and then wait. While they do, nobody touches them; before and after, the kernel is
// asked how often each has run, and what it holds. A bare process, forked from the same program,
// with a loop of libuv and nothing else, says how much of the memory is the library's.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <alertpipe/alertpipe.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

ABSL_FLAG(int, workers, 64, "workers that do nothing");
ABSL_FLAG(double, seconds, 60, "for how long they are watched");
ABSL_FLAG(int, linger, 20, "how often a worker tries its empty inbox again before it sleeps");
ABSL_FLAG(bool, json, false, "a line of JSON instead of tables");
ABSL_FLAG(double, patience, 10, "seconds that the start and the end may take");

namespace alertpipe::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// So long nothing may have moved before the watch begins.
constexpr Seconds kStill(0.3);
constexpr Seconds kPoll(0.001);
constexpr double kSecondsMin = 0.1;
constexpr double kSecondsMax = 86400;

struct Settings {
  int workers = 0;
  double seconds = 0;
  int linger = 0;
  double patience = 0;

  // For a process that hears nothing of its parent any more, although that lives.
  unsigned life_seconds() const { return static_cast<unsigned>(seconds + 4 * patience + 10); }
};

absl::StatusOr<Settings> ReadFlags() {
  const Settings settings = {absl::GetFlag(FLAGS_workers), absl::GetFlag(FLAGS_seconds),
                             absl::GetFlag(FLAGS_linger), absl::GetFlag(FLAGS_patience)};
  if (!(settings.seconds >= kSecondsMin && settings.seconds <= kSecondsMax)) {
    return absl::InvalidArgumentError(absl::StrCat("--seconds must be ", kSecondsMin, " to ",
                                                   kSecondsMax, ", not ", settings.seconds));
  }
  if (!(settings.patience >= 1 && settings.patience <= kSecondsMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--patience must be 1 to ", kSecondsMax, ", not ", settings.patience));
  }
  return settings;
}

// ---- The processes ------------------------------------------------------------------------------

// What they share.
struct Board {
  std::atomic<int> attached{0};
  std::atomic<int> heard{0};
  std::atomic<int> bare{0};
};

Board* MapBoard() {
  void* memory =
      mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Board;
}

// In a child, first of all: it ends with its parent, and in any case.
void LimitLife(pid_t parent, unsigned seconds) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  alarm(seconds);
}

// Of both kinds of process; it ends by a signal.
int Wait(uv_loop_t* loop) {
  uv_run(loop, UV_RUN_DEFAULT);
  return 1;
}

int Work(const Settings& settings, Board* board, Slot slot) {
  const bool last = slot.number() == settings.workers;
  uv_loop_t loop;
  uv_loop_init(&loop);
  AttachOptions options;
  options.linger = settings.linger;
  const auto worker = Worker::Attach(std::move(slot), &loop, options);
  if (!worker.ok()) {
    std::cerr << worker.status() << "\n";
    return 1;
  }
  (*worker)->OnMasterGone([] { _exit(1); });
  (*worker)->Receive("hello", [board](Alert&) { ++board->heard; });
  ++board->attached;
  if (last) (*worker)->Broadcast("hello", "from the last of us");
  return Wait(&loop);
}

int WaitBare(Board* board) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  uv_async_t something;
  uv_async_init(&loop, &something, nullptr);
  ++board->bare;
  return Wait(&loop);
}

// All of them, and their end.
class Pool {
 public:
  explicit Pool(const Settings& settings) : settings_(settings) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    for (const pid_t pid : workers_) kill(pid, SIGKILL);
    if (bare_ > 0) kill(bare_, SIGKILL);
    Until([this] { return bare_ <= 0 && workers_.empty(); });
    if (board_ != nullptr) munmap(board_, sizeof(Board));
  }

  // Returns when each worker has heard the broadcast.
  absl::Status Start() {
    board_ = MapBoard();
    if (board_ == nullptr) return absl::ErrnoToStatus(errno, "mmap");
    // Before the master: it inherits nothing of the library's.
    if (absl::Status started = StartBare(); !started.ok()) return started;
    MasterOptions options;
    options.workers_max = settings_.workers;
    absl::StatusOr<std::unique_ptr<Master>> master = Master::Create(options);
    if (!master.ok()) return master.status();
    master_ = *std::move(master);
    master_->OnExit([this](const WorkerExit& exit) { Forget(exit.worker.pid); });
    for (int i = 1; i <= settings_.workers; ++i) {
      // The last one speaks to all, so all the others come before it.
      if (i == settings_.workers && !Until([&] { return board_->attached == i - 1; }))
        return absl::AbortedError("the workers did not attach");
      if (absl::Status started = StartWorker(); !started.ok()) return started;
    }
    if (!Until([this] { return board_->heard == settings_.workers && board_->bare == 1; }))
      return absl::AbortedError("the workers did not hear from each other");
    return absl::OkStatus();
  }

  // Whether no process has ended.
  bool AllLive() {
    Reap();
    return bare_ > 0 && workers_.size() == static_cast<std::size_t>(settings_.workers);
  }

  std::size_t capacity() const { return master_->pipe_capacity(); }
  const std::vector<pid_t>& workers() const { return workers_; }
  pid_t bare() const { return bare_; }

 private:
  absl::Status StartBare() {
    const pid_t parent = getpid();
    bare_ = fork();
    if (bare_ < 0) return absl::ErrnoToStatus(errno, "fork");
    if (bare_ > 0) return absl::OkStatus();
    LimitLife(parent, settings_.life_seconds());
    _exit(WaitBare(board_));
  }

  absl::Status StartWorker() {
    const pid_t parent = getpid();
    const absl::StatusOr<Peer> worker = master_->Spawn([this, parent](Slot slot) {
      LimitLife(parent, settings_.life_seconds());
      return Work(settings_, board_, std::move(slot));
    });
    if (!worker.ok()) return worker.status();
    workers_.push_back(worker->pid);
    return absl::OkStatus();
  }

  // False when it takes too long.
  bool Until(const std::function<bool()>& done) {
    const auto limit = Clock::now() + Seconds(settings_.patience);
    while (!done()) {
      if (Clock::now() > limit) return false;
      std::this_thread::sleep_for(kPoll);
      Reap();
    }
    return true;
  }

  void Reap() {
    if (master_ != nullptr) master_->Service().IgnoreError();
    if (bare_ > 0 && waitpid(bare_, nullptr, WNOHANG) == bare_) bare_ = 0;
  }

  void Forget(pid_t pid) {
    workers_.erase(std::remove(workers_.begin(), workers_.end(), pid), workers_.end());
  }

  const Settings settings_;
  Board* board_ = nullptr;
  std::unique_ptr<Master> master_;
  std::vector<pid_t> workers_;
  pid_t bare_ = 0;
};

// ---- What the kernel says -----------------------------------------------------------------------

std::string ReadFile(pid_t pid, const char* name) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/", name));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The number of the line "key: number ..."; 0 when there is none.
std::uint64_t Number(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, key.size() + 1, key + ":") == 0)
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10);
  }
  return 0;
}

// How much a process has run so far.
struct Activity {
  static constexpr std::array<const char*, 3> kNames = {"voluntary_ctxt_switches",
                                                        "nonvoluntary_ctxt_switches", "cpu_ticks"};
  std::array<std::uint64_t, 3> figures{};
  bool sleeps = false;
};

Activity ReadActivity(pid_t pid) {
  const std::string status = ReadFile(pid, "status");
  const std::string stat = ReadFile(pid, "stat");
  // The program's name ends with the last parenthesis; utime and stime are fields 14 and 15.
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::vector<std::string> words(std::istream_iterator<std::string>(fields), {});
  words.resize(std::max<std::size_t>(words.size(), 13));
  Activity activity;
  activity.figures = {Number(status, "voluntary_ctxt_switches"),
                      Number(status, "nonvoluntary_ctxt_switches"),
                      std::strtoull(words[11].c_str(), nullptr, 10) +
                          std::strtoull(words[12].c_str(), nullptr, 10)};
  activity.sleeps = words[0] == "S";
  return activity;
}

using Activities = std::vector<Activity>;  // by worker

Activities ReadActivities(const std::vector<pid_t>& pids) {
  Activities activities;
  for (const pid_t pid : pids) activities.push_back(ReadActivity(pid));
  return activities;
}

bool AreStill(const Activities& before, const Activities& after) {
  return std::equal(before.begin(), before.end(), after.begin(), after.end(),
                    [](const Activity& a, const Activity& b) {
                      return a.sleeps && b.sleeps && a.figures == b.figures;
                    });
}

// What a process holds, in KB.
constexpr std::array<std::pair<const char*, const char*>, 4> kMemory = {
    {{"status", "VmRSS"},
     {"status", "RssAnon"},
     {"smaps_rollup", "Pss"},
     {"smaps_rollup", "Pss_Anon"}}};
using Memory = std::array<std::uint64_t, kMemory.size()>;

Memory ReadMemory(pid_t pid) {
  Memory memory{};
  for (std::size_t i = 0; i < kMemory.size(); ++i)
    memory[i] = Number(ReadFile(pid, kMemory[i].first), kMemory[i].second);
  return memory;
}

// ---- The result ---------------------------------------------------------------------------------

struct Figures {
  std::uint64_t sum = 0;
  std::uint64_t max = 0;  // of any one
};

// The figures that `of(i)` gives for each of `count` workers.
template <typename Of>
Figures Collect(std::size_t count, Of of) {
  Figures figures;
  for (std::size_t i = 0; i < count; ++i) {
    figures.sum += of(i);
    figures.max = std::max(figures.max, of(i));
  }
  return figures;
}

struct Spread {
  std::uint64_t median = 0;
  std::uint64_t max = 0;
};

Spread SpreadOf(std::vector<std::uint64_t> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.back()};
}

struct Result {
  struct Change {
    Figures before, after, difference;
  };
  std::array<Change, Activity::kNames.size()> activity;
  std::array<Spread, kMemory.size()> worker_kb;
  Memory bare_kb;
  std::size_t capacity = 0;
};

Result Evaluate(const Pool& pool, const Activities& before, const Activities& after) {
  Result result;
  for (std::size_t at = 0; at < result.activity.size(); ++at) {
    const auto was = [&](std::size_t i) { return before[i].figures[at]; };
    const auto is = [&](std::size_t i) { return after[i].figures[at]; };
    result.activity[at] = {Collect(before.size(), was), Collect(before.size(), is),
                           Collect(before.size(), [&](std::size_t i) { return is(i) - was(i); })};
  }
  std::vector<Memory> memories;
  for (const pid_t pid : pool.workers()) memories.push_back(ReadMemory(pid));
  for (std::size_t at = 0; at < kMemory.size(); ++at) {
    std::vector<std::uint64_t> values;
    for (const Memory& memory : memories) values.push_back(memory[at]);
    result.worker_kb[at] = SpreadOf(std::move(values));
  }
  result.bare_kb = ReadMemory(pool.bare());
  result.capacity = pool.capacity();
  return result;
}

absl::StatusOr<Result> Watch(const Settings& settings) {
  Pool pool(settings);
  if (absl::Status started = pool.Start(); !started.ok()) return started;
  // Until the last of them has lingered, and sleeps. If one never does, the result will show it.
  const auto limit = Clock::now() + Seconds(settings.patience);
  Activities before = ReadActivities(pool.workers());
  for (Activities earlier; !AreStill(earlier, before) && Clock::now() < limit;) {
    earlier = before;
    std::this_thread::sleep_for(kStill);
    before = ReadActivities(pool.workers());
  }
  std::this_thread::sleep_for(Seconds(settings.seconds));
  if (!pool.AllLive()) return absl::AbortedError("a process has ended");
  return Evaluate(pool, before, ReadActivities(pool.workers()));
}

void PrintJson(const Settings& settings, const Result& result) {
  using Json = nlohmann::ordered_json;
  const auto figures = [](const Figures& of) { return Json{{"sum", of.sum}, {"max", of.max}}; };
  Json line;
  line["workers"] = settings.workers;
  line["seconds"] = settings.seconds;
  line["linger"] = settings.linger;
  line["capacity"] = result.capacity;
  for (std::size_t at = 0; at < result.activity.size(); ++at) {
    const Result::Change& change = result.activity[at];
    line[Activity::kNames[at]] = {{"before", figures(change.before)},
                                  {"after", figures(change.after)},
                                  {"difference", figures(change.difference)}};
  }
  line["cpu_ticks_per_second"] = sysconf(_SC_CLK_TCK);
  for (std::size_t at = 0; at < kMemory.size(); ++at) {
    line[absl::StrCat(kMemory[at].second, "_kb")] = {{"median", result.worker_kb[at].median},
                                                     {"max", result.worker_kb[at].max},
                                                     {"bare", result.bare_kb[at]}};
  }
  std::cout << line.dump() << std::endl;
}

void PrintRow(const char* name, const std::vector<std::string>& cells) {
  std::printf("| %-26s |", name);
  for (const std::string& cell : cells) std::printf(" %14s |", cell.c_str());
  std::printf("\n");
}

void PrintHead(const char* name, const std::vector<std::string>& headings) {
  PrintRow(name, headings);
  std::printf("|:---------------------------|");
  for (std::size_t i = 0; i < headings.size(); ++i) std::printf("---------------:|");
  std::printf("\n");
}

void PrintTables(const Settings& settings, const Result& result) {
  std::printf("%d workers, idle for %g s, lingering %d, pipes of %zu KB\n\n", settings.workers,
              settings.seconds, settings.linger, result.capacity / 1024);
  PrintHead("all workers", {"before", "after", "difference", "most of one"});
  for (std::size_t at = 0; at < result.activity.size(); ++at) {
    const Result::Change& change = result.activity[at];
    PrintRow(Activity::kNames[at],
             {absl::StrCat(change.before.sum), absl::StrCat(change.after.sum),
              absl::StrCat(change.difference.sum), absl::StrCat(change.difference.max)});
  }
  std::printf("\n");
  PrintHead("memory in KB", {"worker, median", "worker, most", "bare process"});
  for (std::size_t at = 0; at < kMemory.size(); ++at) {
    PrintRow(kMemory[at].second,
             {absl::StrCat(result.worker_kb[at].median), absl::StrCat(result.worker_kb[at].max),
              absl::StrCat(result.bare_kb[at])});
  }
}

int Main() {
  const absl::StatusOr<Settings> settings = ReadFlags();
  if (!settings.ok()) {
    std::cerr << settings.status().message() << "\n";
    return 2;
  }
  const absl::StatusOr<Result> result = Watch(*settings);
  if (!result.ok()) {
    std::cerr << result.status().message() << "\n";
    return absl::IsInvalidArgument(result.status()) ? 2 : 1;
  }
  if (absl::GetFlag(FLAGS_json)) {
    PrintJson(*settings, *result);
  } else {
    PrintTables(*settings, *result);
  }
  return 0;
}

}  // namespace
}  // namespace alertpipe::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("what a pool of workers costs that does nothing");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    std::cerr << "not an option: " << rest[1] << "\n";
    return 2;
  }
  return alertpipe::bench::Main();
}
