// SPDX-License-Identifier: Apache-2.0
//
// Families of real processes for tests. The test's own process is the master (Family), or watches
// one that it will kill (Household). Workers are bodies of code that run in forked processes with a
// loop and an attached endpoint (Member).
//
// gtest's assertions count in the test's own process only. What a worker sees it writes into memory
// that all processes share (Shared<T>, made of Count and Text); what must never happen there it
// reports with Member::Check, and the Family turns that into a failure. Waiting is always
// Until(condition) with a generous limit, never a sleep that hopes.
//
// A worker ends in order: the Family sends SIGTERM, the Member closes its endpoint, then its loop,
// and an exit code other than 0 says that something was left open. SIGTERM is blocked until the
// Member listens to it, so that none is too early. Every forked process has an alarm(2): nothing
// outlives a test that went wrong.
#ifndef ALERTPIPE_TEST_PROCESS_FAMILY_H_
#define ALERTPIPE_TEST_PROCESS_FAMILY_H_

#include <signal.h>
#include <sys/types.h>
#include <uv.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <alertpipe/alertpipe.h>
#include <gtest/gtest.h>

namespace alertpipe::process {

// ---- What processes share -----------------------------------------------------------------------

using Count = std::atomic<std::uint64_t>;

// Zeroed memory that this process and all that it forks later share.
void* MapShared(std::size_t bytes);
void UnmapShared(void* memory, std::size_t bytes);

// A T in shared memory. T is made of zeroed Counts, Texts and plain fields; pages that are never
// touched cost nothing.
template <typename T>
class Shared {
 public:
  static_assert(std::is_trivially_default_constructible_v<T> &&
                std::is_trivially_destructible_v<T>);

  Shared() : at_(static_cast<T*>(MapShared(sizeof(T)))) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { UnmapShared(at_, sizeof(T)); }

  T* operator->() const { return at_; }
  T& operator*() const { return *at_; }

 private:
  T* at_;
};

// A short text that one process sets and others read. Later texts replace it; longer ones are cut.
struct Text {
  void Set(std::string_view text);
  bool is_set() const { return bytes_plus_1.load() != 0; }
  std::string Get() const;

  Count bytes_plus_1;
  char bytes[500];
};

// What a Family shares with its workers.
struct Board {
  static constexpr int kSlots = 160;
  static constexpr int kComplaints = 16;

  void Complain(std::string_view text);

  Count complaints;
  Text complaint[kComplaints];
  Count inbox[kSlots];  // inode of each worker's pipe
  Count ready[kSlots];  // the generation whose body has come to Run()
  Count awake[kSlots];  // the generation that may attach, for deaf workers
};

// ---- Small tools --------------------------------------------------------------------------------

// How long a condition may take to come true before a test gives up. Long runs raise it.
int LivenessLimitSeconds();
void RaiseLivenessLimit(int seconds);

// Waits, without turning any loop, until `done`. False at the liveness limit.
bool Eventually(const std::function<bool()>& done);

// A number from the environment.
std::uint64_t EnvironmentOr(const char* name, std::uint64_t otherwise);

// Bytes that depend on `seed`, and a check that they are all there.
std::string Pattern(std::size_t bytes, std::uint64_t seed);
bool IsPattern(std::string_view data, std::uint64_t seed);

// Eight bytes that hold a number, at the start of an alert's data.
std::string Numbered(std::uint64_t number, std::size_t bytes = 8);
std::uint64_t NumberOf(std::string_view data);

// Inodes of the pipes that this process has open, and its descriptor of one with that access
// (O_RDONLY, O_WRONLY); -1 when there is none.
std::set<std::uint64_t> OpenPipes();
int DescriptorOf(std::uint64_t inode, int access);

// A line of /proc/PID/status or smaps_rollup in bytes; 0 when it cannot be read.
std::uint64_t ProcessBytes(pid_t pid, const char* file, const char* key);

// Whether the status has that code, and its message holds all these texts.
::testing::AssertionResult Says(const absl::Status& status, absl::StatusCode code,
                                std::initializer_list<std::string> texts = {});

// True in builds in which memory is not what the program asked for.
constexpr bool Sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return true;
#else
  return false;
#endif
#else
  return false;
#endif
}

// Settings of a family of `workers` slots. The whole suite has to be right at every capacity:
// ALERTPIPE_TEST_CAPACITY, in bytes, takes the place of `pipe_capacity`.
MasterOptions FamilyOf(int workers, std::size_t pipe_capacity = 65536);
// The same for a test that has to fill a pipe with few bytes: its capacity is what it says.
MasterOptions TightFamilyOf(int workers, std::size_t pipe_capacity = 4096);

// ---- A worker -----------------------------------------------------------------------------------

class Member {
 public:
  using Body = std::function<void(Member&)>;

  // Runs a worker from its slot to its exit code.
  static int Live(Board* board, Slot slot, const Body& body, AttachOptions options);

  Worker* operator->() const { return worker.get(); }
  uv_loop_t* loop() { return &loop_; }
  int slot() const { return slot_; }

  // Reports a failure to the test's process.
  void Check(bool ok, std::string_view what);
  // Calls from a timer, which does not keep the loop alive.
  void Every(int interval_ms, std::function<void()> call);
  // Runs the loop until the endpoint is closed, mostly because the Family said so. What handlers
  // refer to lives in the body: so a body that has locals calls this at its end; any other may
  // leave it out.
  void Run();
  // Closes the endpoint, as the Family's SIGTERM does.
  void End();

  std::unique_ptr<Worker> worker;  // a body may destroy it

 private:
  struct Timer {
    uv_timer_t handle;
    std::function<void()> call;
  };

  explicit Member(Board* board) : board_(board) {}
  bool Start(Slot slot, AttachOptions options);
  void CloseOwnHandles();
  int Finish();

  Board* board_;
  int slot_ = -1;
  std::uint32_t generation_ = 0;
  uv_loop_t loop_;
  uv_signal_t terminate_;
  std::vector<std::unique_ptr<Timer>> timers_;
  bool handles_closed_ = false;
};

// Sends alerts 1 to `count` as fast as the limits let it. Go() sends until one is refused because a
// queue is full; call it again from OnDrained.
class Pump {
 public:
  using Send = std::function<SendResult(std::uint64_t number)>;

  Pump(std::uint64_t count, Send send) : send_(std::move(send)), count_(count) {}

  void Go();
  bool done() const { return next_ > count_; }
  std::uint64_t refusals() const { return refusals_; }
  // Set when a send was refused for any other reason.
  const absl::Status& trouble() const { return trouble_; }

 private:
  Send send_;
  std::uint64_t count_;
  std::uint64_t next_ = 1;
  std::uint64_t refusals_ = 0;
  absl::Status trouble_;
};

// ---- The family ---------------------------------------------------------------------------------

enum class MasterIs { kAttached, kWithoutLoop };

class Family {
 public:
  explicit Family(const MasterOptions& options, MasterIs master = MasterIs::kAttached,
                  AttachOptions attach = {});
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() { End(); }

  Master* operator->() const { return master.get(); }
  uv_loop_t* loop() { return &loop_; }

  // Attaches a master that has no loop yet.
  absl::Status Attach(AttachOptions options = {});

  // Starts a worker. Deaf: it attaches only after Wake; what is sent to it fills its pipe and then
  // the sender's queue. Main: a function of the test's own, which ends by itself or with
  // WaitForEnd().
  Peer Spawn(Member::Body body, AttachOptions options = {});
  Peer SpawnDeaf(Member::Body body, AttachOptions options = {});
  Peer SpawnMain(Master::WorkerMain main);
  Peer Respawn(int slot);
  // Notes workers that the master has started by itself.
  void Meet();
  void Wake(const Peer& deaf);
  // In a Main: lives as a Spawned worker does; waits for the Family's end.
  int Live(Slot slot, const Member::Body& body, AttachOptions options = {});
  static void WaitForEnd();

  // Forks as a program of its own would: the child attaches with `slot` and runs `body` as a
  // Spawned worker does; nothing is confirmed. And all of it: reserved, forked, confirmed, adopted.
  pid_t Fork(absl::StatusOr<Slot>* slot, const Member::Body& body);
  Peer ForkWorker(const Member::Body& body);
  // From now on the Family reaps that worker when it has ended, and reports its exit.
  void Adopt(Peer own);
  // No more: the test reaps it.
  void Release(Peer own) { own_.erase(own.pid); }

  // Turns the loop, or calls Service, until `done`. False at the limit, and as soon as anything is
  // wrong.
  bool Until(const std::function<bool()>& done);
  void Turns(int turns);
  // Runs `call` in a turn of the loop.
  void InTurn(const std::function<void()>& call);
  // Until all workers that are not deaf have come to Run().
  bool Ready();

  // A worker that is ended on purpose. Reaped: the master has seen it, and so have the hooks.
  void Kill(Peer worker, int signal = SIGKILL);
  bool KillAndReap(Peer worker, int signal = SIGKILL);
  // A worker that ends by itself.
  void ExpectExit(Peer worker, int code, int signal = 0);
  bool Lives(Peer worker) const;
  bool Stop(Peer worker);
  void Continue(Peer worker);
  // Called after the Family has noted the exit.
  void OnExit(std::function<void(const WorkerExit&)> hook) { on_exit_ = std::move(hook); }

  // Puts raw bytes into a worker's pipe, with one write.
  void Inject(int slot, std::string_view bytes);
  // Pipes that Master::Create opened.
  const std::set<std::uint64_t>& pipes() const { return pipes_; }
  std::uint64_t inbox(int slot) const { return board_->inbox[slot]; }

  // Proportional memory of all processes of the family, in bytes.
  std::uint64_t MemoryBytes() const;

  // Ends and reaps all workers, closes the master and its loop, and reports what went wrong. The
  // destructor does it.
  void End();

  std::unique_ptr<Master> master;  // a test may destroy it
  std::vector<WorkerExit> exits;
  std::map<int, Peer> live;

 private:
  Peer Started(const absl::StatusOr<Peer>& started, bool deaf);
  void Turn();
  void ReapOwn();
  bool Trouble() const;
  void NoteExit(const WorkerExit& exit);
  void EndWorkers();
  void ReapOrphans();
  void CloseLoop();

  Shared<Board> board_;
  std::set<std::uint64_t> pipes_;
  std::map<pid_t, int> expected_signal_;
  std::map<pid_t, int> expected_code_;
  std::set<int> deaf_;
  std::set<pid_t> own_;  // forked by the test, reaped here
  std::function<void(const WorkerExit&)> on_exit_;
  uv_loop_t loop_;
  uv_timer_t tick_;
  sigset_t mask_before_;
  bool attached_ = false;
  bool unexpected_ = false;
  bool ended_ = false;
};

// A master in a process of its own, for tests that kill it. The test's process adopts its orphans
// and ends them.
class Household {
 public:
  // Runs `life` in a forked process. It creates a Family there and waits with Family::Until.
  explicit Household(const std::function<void()>& life);
  Household(const Household&) = delete;
  Household& operator=(const Household&) = delete;
  ~Household();

  // Stops the master until it is killed.
  void StopMaster();
  // Kills the master and reaps it. `orphans` are the pids of its workers, which become children of
  // the test's process.
  void KillMaster(const std::vector<pid_t>& orphans);
  // Ends an orphan: with SIGTERM, and true if it then exits with 0; or with SIGKILL.
  bool EndOrphan(pid_t orphan);
  void KillOrphan(pid_t orphan);

 private:
  pid_t master_ = -1;
  std::vector<pid_t> orphans_;
};

}  // namespace alertpipe::process

#endif  // ALERTPIPE_TEST_PROCESS_FAMILY_H_
