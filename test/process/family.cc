// SPDX-License-Identifier: Apache-2.0
#include "family.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace alertpipe::process {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kExitNotAttached = 90;
constexpr int kExitLoopBusy = 91;
constexpr int kTickMs = 2;
constexpr int kLimitSeconds = 30;

int g_limit_seconds = 0;

Clock::time_point Limit() { return Clock::now() + std::chrono::seconds(LivenessLimitSeconds()); }

void SleepMs(int ms) { usleep(static_cast<useconds_t>(ms) * 1000); }

sigset_t OnlyTerminate() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  return set;
}

// Reaps a child of this process by pid; false at the limit.
bool WaitForChild(pid_t pid, int* status) {
  const auto limit = Limit();
  while (true) {
    const pid_t reaped = waitpid(pid, status, WNOHANG);
    if (reaped == pid) return true;
    if (reaped < 0 && errno != EINTR) return false;
    if (Clock::now() > limit) return false;
    SleepMs(1);
  }
}

// Calls `look` for each open descriptor that is a pipe.
void ForEachPipe(const std::function<void(int fd, std::uint64_t inode)>& look) {
  std::vector<int> fds;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') fds.push_back(std::atoi(entry->d_name));
  }
  closedir(directory);
  for (const int fd : fds) {
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode)) look(fd, about.st_ino);
  }
}

void LimitLife() { alarm(static_cast<unsigned>(2 * LivenessLimitSeconds())); }

// For a process that has given up what is not its own.
void NoteInbox(Board* board, const std::set<std::uint64_t>& pipes, int slot) {
  ForEachPipe([&](int fd, std::uint64_t inode) {
    if (pipes.count(inode) != 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
      board->inbox[slot] = inode;
  });
}

// What every Spawned worker does first.
void BeginWorker(Board* board, const std::set<std::uint64_t>& pipes, const Slot& slot) {
  LimitLife();
  NoteInbox(board, pipes, slot.number());
}

// False when the family ended before the worker was woken.
bool WaitUntilAwake(Board* board, const Slot& slot) {
  const sigset_t terminate = OnlyTerminate();
  const timespec pause = {0, 1000000};
  while (board->awake[slot.number()] != slot.generation()) {
    if (sigtimedwait(&terminate, nullptr, &pause) == SIGTERM) return false;
  }
  return true;
}

}  // namespace

// ---- What processes share -----------------------------------------------------------------------

void* MapShared(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap of shared memory");
    std::abort();
  }
  return memory;
}

void UnmapShared(void* memory, std::size_t bytes) { munmap(memory, bytes); }

void Text::Set(std::string_view text) {
  const std::size_t kept = std::min(text.size(), sizeof bytes);
  std::memcpy(bytes, text.data(), kept);
  bytes_plus_1 = kept + 1;
}

std::string Text::Get() const {
  const std::uint64_t size_plus_1 = bytes_plus_1.load();
  return size_plus_1 == 0 ? std::string() : std::string(bytes, size_plus_1 - 1);
}

void Board::Complain(std::string_view text) {
  const std::uint64_t place = complaints++;
  if (place < kComplaints) complaint[place].Set(text);
}

// ---- Small tools --------------------------------------------------------------------------------

int LivenessLimitSeconds() {
  if (g_limit_seconds == 0) {
    const char* scale = std::getenv("ALERTPIPE_TIME_SCALE");
    const double factor = scale == nullptr ? 1.0 : std::max(1.0, std::atof(scale));
    g_limit_seconds = static_cast<int>(kLimitSeconds * factor);
  }
  return g_limit_seconds;
}

void RaiseLivenessLimit(int seconds) {
  g_limit_seconds = std::max(LivenessLimitSeconds(), seconds);
}

bool Eventually(const std::function<bool()>& done) {
  const auto limit = Limit();
  while (!done()) {
    if (Clock::now() > limit) return false;
    SleepMs(1);
  }
  return true;
}

std::uint64_t EnvironmentOr(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

namespace {
char PatternByte(std::size_t at, std::uint64_t seed) {
  const std::uint64_t mixed = (at + 1) * (seed * 2 + 0x9E3779B97F4A7C15);
  return static_cast<char>(mixed >> 40);
}
}  // namespace

std::string Pattern(std::size_t bytes, std::uint64_t seed) {
  std::string data(bytes, '\0');
  for (std::size_t at = 0; at < bytes; ++at) data[at] = PatternByte(at, seed);
  return data;
}

bool IsPattern(std::string_view data, std::uint64_t seed) {
  for (std::size_t at = 0; at < data.size(); ++at) {
    if (data[at] != PatternByte(at, seed)) return false;
  }
  return true;
}

std::string Numbered(std::uint64_t number, std::size_t bytes) {
  std::string data(std::max(bytes, sizeof number), static_cast<char>('a' + number % 26));
  std::memcpy(data.data(), &number, sizeof number);
  return data;
}

std::uint64_t NumberOf(std::string_view data) {
  std::uint64_t number = 0;
  if (data.size() >= sizeof number) std::memcpy(&number, data.data(), sizeof number);
  return number;
}

std::set<std::uint64_t> OpenPipes() {
  std::set<std::uint64_t> pipes;
  ForEachPipe([&](int, std::uint64_t inode) { pipes.insert(inode); });
  return pipes;
}

int DescriptorOf(std::uint64_t inode, int access) {
  int found = -1;
  ForEachPipe([&](int fd, std::uint64_t its_inode) {
    if (its_inode == inode && (fcntl(fd, F_GETFL) & O_ACCMODE) == access) found = fd;
  });
  return found;
}

std::uint64_t ProcessBytes(pid_t pid, const char* file, const char* key) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", static_cast<int>(pid), file);
  FILE* stream = std::fopen(path, "r");
  if (stream == nullptr) return 0;
  char line[256];
  std::uint64_t kilobytes = 0;
  while (std::fgets(line, sizeof line, stream) != nullptr) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) {
      kilobytes = std::strtoull(line + std::strlen(key) + 1, nullptr, 10);
      break;
    }
  }
  std::fclose(stream);
  return kilobytes * 1024;
}

::testing::AssertionResult Says(const absl::Status& status, absl::StatusCode code,
                                std::initializer_list<std::string> texts) {
  if (status.code() != code) {
    return ::testing::AssertionFailure()
           << "wanted " << absl::StatusCodeToString(code) << ", got " << status;
  }
  const std::string message(status.message());
  for (const std::string& text : texts) {
    if (message.find(text) == std::string::npos) {
      return ::testing::AssertionFailure() << "no \"" << text << "\" in: " << status;
    }
  }
  return ::testing::AssertionSuccess() << status;
}

MasterOptions FamilyOf(int workers, std::size_t pipe_capacity) {
  MasterOptions options;
  options.workers_max = workers;
  options.pipe_capacity = EnvironmentOr("ALERTPIPE_TEST_CAPACITY", pipe_capacity);
  return options;
}

MasterOptions TightFamilyOf(int workers, std::size_t pipe_capacity) {
  MasterOptions options = FamilyOf(workers);
  options.pipe_capacity = pipe_capacity;
  return options;
}

// ---- A worker -----------------------------------------------------------------------------------

int Member::Live(Board* board, Slot slot, const Body& body, AttachOptions options) {
  Member member(board);
  if (!member.Start(std::move(slot), options)) return kExitNotAttached;
  body(member);
  if (member.worker != nullptr && board->ready[member.slot_] != member.generation_) member.Run();
  return member.Finish();
}

bool Member::Start(Slot slot, AttachOptions options) {
  slot_ = slot.number();
  generation_ = slot.generation();
  uv_loop_init(&loop_);
  loop_.data = this;
  uv_signal_init(&loop_, &terminate_);
  uv_signal_start(
      &terminate_,
      [](uv_signal_t* handle, int) { static_cast<Member*>(handle->loop->data)->End(); }, SIGTERM);
  uv_unref(reinterpret_cast<uv_handle_t*>(&terminate_));
  const sigset_t terminate = OnlyTerminate();
  sigprocmask(SIG_UNBLOCK, &terminate, nullptr);
  absl::StatusOr<std::unique_ptr<Worker>> attached =
      Worker::Attach(std::move(slot), &loop_, options);
  if (!attached.ok()) {
    board_->Complain("Attach: " + attached.status().ToString());
    return false;
  }
  worker = *std::move(attached);
  return true;
}

void Member::Check(bool ok, std::string_view what) {
  if (!ok) board_->Complain("in worker " + std::to_string(slot_) + ": " + std::string(what));
}

void Member::Every(int interval_ms, std::function<void()> call) {
  timers_.push_back(std::make_unique<Timer>());
  Timer* timer = timers_.back().get();
  timer->call = std::move(call);
  uv_timer_init(&loop_, &timer->handle);
  timer->handle.data = timer;
  const auto interval = static_cast<std::uint64_t>(interval_ms);
  uv_timer_start(
      &timer->handle, [](uv_timer_t* handle) { static_cast<Timer*>(handle->data)->call(); },
      interval, interval);
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer->handle));
}

void Member::Run() {
  board_->ready[slot_] = generation_;
  uv_run(&loop_, UV_RUN_DEFAULT);
}

void Member::End() {
  if (worker == nullptr) return CloseOwnHandles();
  const Result closing =
      worker->Close(absl::Seconds(20), [this](const CloseReport&) { CloseOwnHandles(); });
  if (!closing.ok()) CloseOwnHandles();
}

void Member::CloseOwnHandles() {
  if (std::exchange(handles_closed_, true)) return;
  uv_close(reinterpret_cast<uv_handle_t*>(&terminate_), nullptr);
  for (const auto& timer : timers_)
    uv_close(reinterpret_cast<uv_handle_t*>(&timer->handle), nullptr);
}

int Member::Finish() {
  worker.reset();
  CloseOwnHandles();
  uv_run(&loop_, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop_) == 0) return 0;
  uv_walk(
      &loop_,
      [](uv_handle_t* handle, void* board) {
        static_cast<Board*>(board)->Complain(std::string("still open in the worker's loop: ") +
                                             uv_handle_type_name(handle->type));
      },
      board_);
  return kExitLoopBusy;
}

void Pump::Go() {
  while (next_ <= count_ && trouble_.ok()) {
    const SendResult sent = send_(next_);
    if (sent.ok()) {
      ++next_;
    } else if (sent.status().code() == absl::StatusCode::kResourceExhausted) {
      ++refusals_;
      return;
    } else {
      trouble_ = sent.status();
    }
  }
}

// ---- The family ---------------------------------------------------------------------------------

Family::Family(const MasterOptions& options, MasterIs master_is, AttachOptions attach) {
  const sigset_t terminate = OnlyTerminate();
  sigprocmask(SIG_BLOCK, &terminate, &mask_before_);
  uv_loop_init(&loop_);
  uv_timer_init(&loop_, &tick_);
  const std::set<std::uint64_t> before = OpenPipes();
  absl::StatusOr<std::unique_ptr<Master>> created = Master::Create(options);
  if (!created.ok()) {
    ADD_FAILURE() << "Master::Create: " << created.status();
    std::abort();
  }
  master = *std::move(created);
  for (const std::uint64_t inode : OpenPipes()) {
    if (before.count(inode) == 0) pipes_.insert(inode);
  }
  master->OnExit([this](const WorkerExit& exit) { NoteExit(exit); });
  if (master_is == MasterIs::kAttached) {
    const absl::Status attached = Attach(attach);
    EXPECT_TRUE(attached.ok()) << attached;
  }
}

absl::Status Family::Attach(AttachOptions options) {
  const absl::Status status = master->Attach(&loop_, options);
  attached_ = attached_ || status.ok();
  return status;
}

Peer Family::Spawn(Member::Body body, AttachOptions options) {
  Board* board = &*board_;
  return Started(master->Spawn([=, pipes = pipes_](Slot slot) {
    BeginWorker(board, pipes, slot);
    return Member::Live(board, std::move(slot), body, options);
  }),
                 false);
}

Peer Family::SpawnDeaf(Member::Body body, AttachOptions options) {
  Board* board = &*board_;
  return Started(master->Spawn([=, pipes = pipes_](Slot slot) {
    BeginWorker(board, pipes, slot);
    if (!WaitUntilAwake(board, slot)) return 0;
    return Member::Live(board, std::move(slot), body, options);
  }),
                 true);
}

Peer Family::SpawnMain(Master::WorkerMain main) {
  Board* board = &*board_;
  return Started(master->Spawn([=, pipes = pipes_](Slot slot) {
    BeginWorker(board, pipes, slot);
    return main(std::move(slot));
  }),
                 true);
}

Peer Family::Respawn(int slot) { return Started(master->Respawn(slot), deaf_.count(slot) != 0); }

Peer Family::Started(const absl::StatusOr<Peer>& started, bool deaf) {
  if (!started.ok()) {
    ADD_FAILURE() << "not started: " << started.status();
    unexpected_ = true;
    return Peer();
  }
  live[started->slot] = *started;
  deaf_.erase(started->slot);
  if (deaf) deaf_.insert(started->slot);
  return *started;
}

void Family::Meet() {
  for (const Peer& peer : master->Workers()) {
    if (peer.pid == 0 || Lives(peer)) continue;
    live[peer.slot] = peer;
    deaf_.erase(peer.slot);
  }
}

void Family::Wake(const Peer& deaf) {
  deaf_.erase(deaf.slot);
  board_->awake[deaf.slot] = deaf.generation;
}

int Family::Live(Slot slot, const Member::Body& body, AttachOptions options) {
  return Member::Live(&*board_, std::move(slot), body, options);
}

void Family::WaitForEnd() {
  const sigset_t terminate = OnlyTerminate();
  int signal = 0;
  sigwait(&terminate, &signal);
}

pid_t Family::Fork(absl::StatusOr<Slot>* slot, const Member::Body& body) {
  if (!slot->ok()) {
    ADD_FAILURE() << "Reserve: " << slot->status();
    unexpected_ = true;
    return -1;
  }
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  LimitLife();
  Board* board = &*board_;
  const Member::Body noting = [&](Member& me) {
    NoteInbox(board, pipes_, me.slot());
    body(me);
  };
  const int code = Member::Live(board, *std::move(*slot), noting, {});
  std::fflush(nullptr);
  _exit(code);
}

Peer Family::ForkWorker(const Member::Body& body) {
  absl::StatusOr<Slot> slot = master->Reserve();
  const pid_t pid = Fork(&slot, body);
  if (pid < 0) return Peer();
  const absl::StatusOr<Peer> own = master->Confirm(slot->number(), pid);
  EXPECT_TRUE(own.ok()) << own.status();
  if (!own.ok()) return Peer();
  Adopt(*own);
  return *own;
}

void Family::Adopt(Peer own) {
  live[own.slot] = own;
  own_.insert(own.pid);
}

void Family::ReapOwn() {
  const std::set<pid_t> own = own_;
  for (const pid_t pid : own) {
    int status = 0;
    const pid_t reaped = waitpid(pid, &status, WNOHANG);
    EXPECT_GE(reaped, 0) << "somebody else has reaped " << pid;
    if (reaped == 0) continue;
    own_.erase(pid);
    const absl::StatusOr<WorkerExit> exit = master->ReportExit(pid, status);
    EXPECT_TRUE(exit.ok()) << exit.status();
  }
}

void Family::Turn() {
  if (master != nullptr) ReapOwn();
  if (!attached_ || master == nullptr) {
    if (master != nullptr) {
      EXPECT_TRUE(master->Service().ok());
    }
    SleepMs(1);
    return;
  }
  uv_timer_start(
      &tick_, [](uv_timer_t*) {}, kTickMs, kTickMs);
  uv_run(&loop_, UV_RUN_ONCE);
  uv_timer_stop(&tick_);
}

void Family::Turns(int turns) {
  for (int turn = 0; turn < turns; ++turn) Turn();
}

void Family::InTurn(const std::function<void()>& call) {
  bool called = false;
  std::function<void()> once = [&] {
    called = true;
    call();
  };
  uv_timer_t timer;
  uv_timer_init(&loop_, &timer);
  timer.data = &once;
  uv_timer_start(
      &timer,
      [](uv_timer_t* handle) {
        (*static_cast<std::function<void()>*>(handle->data))();
        handle->data = nullptr;
        uv_close(reinterpret_cast<uv_handle_t*>(handle),
                 [](uv_handle_t* closed) { closed->data = closed; });
      },
      0, 0);
  while (timer.data != &timer) uv_run(&loop_, UV_RUN_ONCE);
  EXPECT_TRUE(called);
}

bool Family::Trouble() const { return unexpected_ || board_->complaints != 0; }

bool Family::Until(const std::function<bool()>& done) {
  const auto limit = Limit();
  while (!done()) {
    if (Trouble() || Clock::now() > limit) return false;
    Turn();
  }
  return true;
}

bool Family::Ready() {
  return Until([this] {
    for (const auto& [slot, peer] : live) {
      if (deaf_.count(slot) == 0 && board_->ready[slot] != peer.generation) return false;
    }
    return true;
  });
}

void Family::Kill(Peer worker, int signal) {
  expected_signal_[worker.pid] = signal;
  EXPECT_EQ(kill(worker.pid, signal), 0) << worker.pid;
}

bool Family::KillAndReap(Peer worker, int signal) {
  Kill(worker, signal);
  return Until([&] { return !Lives(worker); });
}

void Family::ExpectExit(Peer worker, int code, int signal) {
  expected_code_[worker.pid] = code;
  expected_signal_[worker.pid] = signal;
}

bool Family::Lives(Peer worker) const {
  const auto found = live.find(worker.slot);
  return found != live.end() && found->second == worker;
}

bool Family::Stop(Peer worker) {
  EXPECT_EQ(kill(worker.pid, SIGSTOP), 0);
  return Until([&] {
    siginfo_t info = {};
    return waitid(P_PID, static_cast<id_t>(worker.pid), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == worker.pid;
  });
}

void Family::Continue(Peer worker) { EXPECT_EQ(kill(worker.pid, SIGCONT), 0); }

void Family::NoteExit(const WorkerExit& exit) {
  const pid_t pid = exit.worker.pid;
  const int signal = expected_signal_.count(pid) != 0 ? expected_signal_[pid] : 0;
  const int code = expected_code_.count(pid) != 0 ? expected_code_[pid] : 0;
  if (!exit.known || exit.signal != signal || exit.exit_code != code) {
    unexpected_ = true;
    ADD_FAILURE() << "worker " << exit.worker.slot << " generation " << exit.worker.generation
                  << " pid " << pid << " ended with signal " << exit.signal << " code "
                  << exit.exit_code << " known " << exit.known << "; expected signal " << signal
                  << " code " << code;
  }
  expected_signal_.erase(pid);
  expected_code_.erase(pid);
  exits.push_back(exit);
  live.erase(exit.worker.slot);
  if (on_exit_) on_exit_(exit);
}

void Family::Inject(int slot, std::string_view bytes) {
  ASSERT_TRUE(Until([&] { return inbox(slot) != 0; }));
  const int fd = DescriptorOf(inbox(slot), O_WRONLY);
  ASSERT_GE(fd, 0) << "no write end of the pipe of slot " << slot;
  ssize_t written = -1;
  EXPECT_TRUE(Until([&] {
    written = write(fd, bytes.data(), bytes.size());
    return written >= 0 || errno != EAGAIN;
  }));
  EXPECT_EQ(written, static_cast<ssize_t>(bytes.size()));
}

std::uint64_t Family::MemoryBytes() const {
  std::uint64_t sum = ProcessBytes(getpid(), "smaps_rollup", "Pss:");
  for (const auto& [slot, peer] : live) sum += ProcessBytes(peer.pid, "smaps_rollup", "Pss:");
  return sum;
}

void Family::EndWorkers() {
  on_exit_ = nullptr;
  const std::map<int, Peer> ending = live;
  for (const auto& [slot, peer] : ending) {
    kill(peer.pid, SIGTERM);
    kill(peer.pid, SIGCONT);
  }
  if (master == nullptr) return ReapOrphans();
  const auto limit = Limit();
  while (!live.empty() && Clock::now() < limit) {
    Turn();
    EXPECT_TRUE(master->Service().ok());  // a master that was closed has left its loop
  }
  for (const auto& [slot, peer] : live) {
    ADD_FAILURE() << "worker " << slot << " pid " << peer.pid << " did not end; killed";
    kill(peer.pid, SIGKILL);
  }
  if (!live.empty()) ReapOrphans();
}

// Workers that no master will reap.
void Family::ReapOrphans() {
  for (const auto& [slot, peer] : live) {
    int status = 0;
    if (!WaitForChild(peer.pid, &status)) {
      ADD_FAILURE() << "worker " << slot << " pid " << peer.pid << " did not end; killed";
      kill(peer.pid, SIGKILL);
      WaitForChild(peer.pid, &status);
    } else {
      EXPECT_EQ(status, 0) << "wait status of worker " << slot;
    }
  }
  live.clear();
}

void Family::CloseLoop() {
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
  for (int turn = 0; turn < 100 && uv_loop_alive(&loop_) != 0; ++turn)
    uv_run(&loop_, UV_RUN_NOWAIT);
  if (uv_loop_close(&loop_) == 0) return;
  ADD_FAILURE() << "the master's loop has open handles:";
  uv_walk(
      &loop_,
      [](uv_handle_t* handle, void*) { ADD_FAILURE() << uv_handle_type_name(handle->type); },
      nullptr);
}

void Family::End() {
  if (std::exchange(ended_, true)) return;
  EndWorkers();
  if (master != nullptr && attached_) {
    bool closed = false;
    if (master->Close(absl::Seconds(10), [&](const CloseReport&) { closed = true; }).ok()) {
      const auto limit = Limit();
      while (!closed && Clock::now() < limit) Turn();
      EXPECT_TRUE(closed) << "the master did not close";
    }
  }
  master.reset();
  CloseLoop();
  sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  const std::uint64_t complaints = board_->complaints;
  for (std::uint64_t at = 0; at < complaints && at < Board::kComplaints; ++at) {
    ADD_FAILURE() << board_->complaint[at].Get();
  }
}

// ---- A master that will be killed ---------------------------------------------------------------

Household::Household(const std::function<void()>& life) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::fflush(nullptr);
  master_ = fork();
  if (master_ != 0) return;
  alarm(static_cast<unsigned>(2 * LivenessLimitSeconds()));
  life();
  std::fflush(nullptr);
  _exit(::testing::Test::HasFailure() ? 1 : 0);
}

void Household::StopMaster() {
  int status = 0;
  EXPECT_EQ(kill(master_, SIGSTOP), 0);
  EXPECT_EQ(waitpid(master_, &status, WUNTRACED), master_);
  EXPECT_TRUE(WIFSTOPPED(status)) << status;
}

void Household::KillMaster(const std::vector<pid_t>& orphans) {
  orphans_ = orphans;
  int status = 0;
  EXPECT_EQ(kill(master_, SIGKILL), 0);
  EXPECT_TRUE(WaitForChild(master_, &status));
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      << "the master ended before: " << status;
  master_ = -1;
}

bool Household::EndOrphan(pid_t orphan) {
  orphans_.erase(std::remove(orphans_.begin(), orphans_.end(), orphan), orphans_.end());
  int status = 0;
  kill(orphan, SIGTERM);
  if (WaitForChild(orphan, &status)) return status == 0;
  kill(orphan, SIGKILL);
  WaitForChild(orphan, &status);
  return false;
}

void Household::KillOrphan(pid_t orphan) {
  orphans_.erase(std::remove(orphans_.begin(), orphans_.end(), orphan), orphans_.end());
  int status = 0;
  kill(orphan, SIGKILL);
  EXPECT_TRUE(WaitForChild(orphan, &status));
}

Household::~Household() {
  int status = 0;
  if (master_ > 0) {
    kill(master_, SIGKILL);
    WaitForChild(master_, &status);
  }
  while (!orphans_.empty()) KillOrphan(orphans_.back());
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace alertpipe::process
