// SPDX-License-Identifier: Apache-2.0
//
// The supervisor at work. It thinks in places: `wanted_` of them are to be filled, each by a life
// (a worker that runs) or by a vacancy (a worker that is to be started at some time). A worker that
// has died leaves something to do only if fewer places are filled than wanted: a restart has, for a
// while, two workers in one place.
//
// What happens comes from three sides: exits from the master, time from two timers (the next
// vacancy, the deadline of the stop), signals. All of it ends in events for the application, which
// may do anything there, destroying the supervisor included: after each Emit() the state is looked
// at anew, and `gone_` says that the supervisor is no more.
#ifndef ALERTPIPE_SUPERVISOR_STATE_H_
#define ALERTPIPE_SUPERVISOR_STATE_H_

#include <alertpipe/supervisor.h>

#include <signal.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/respawn_policy.h"
#include "os/process.h"
#include "supervisor_time.h"
#include "uv/handle.h"

namespace alertpipe {

class Supervisor::State : public std::enable_shared_from_this<State> {
 public:
  State(uv_loop_t* loop, SupervisorOptions options, std::unique_ptr<Master> master);

  // Whether this process is the one that has created the supervisor.
  bool in_owner() const;
  absl::Status CheckOwner() const;
  absl::Status Start();
  absl::Status RestartAll();
  absl::Status Stop(absl::Duration deadline);
  // As ~Supervisor. The state may outlive it while a hook runs.
  void Shutdown();
  const SupervisorOptions& options() const { return options_; }
  Master* master() const { return master_.get(); }
  uv_loop_t* loop() const { return loop_; }
  bool stopped() const { return phase_ == Phase::kStopped; }
  SupervisorResult result() const { return result_; }

 private:
  using Event = SupervisorEvent;
  static constexpr std::array<int, 3> kSignals = {SIGHUP, SIGTERM, SIGINT};
  enum class Phase : std::uint8_t { kCreated, kRunning, kStopping, kStopped };

  // A worker that runs.
  struct Life {
    Peer worker;
    std::uint64_t started_ms = 0;
    int failures = 0;  // of its place, when it was started
  };
  // A place that waits for its next worker.
  struct Vacancy {
    int failures = 0;
    std::uint64_t due_ms = 0;
  };
  // One worker of a restart and its successor.
  struct Replacing {
    Peer old;
    Peer successor;
  };

  // ---- Starting and replacing the dead ----
  absl::Status WatchSignals();
  void FillVacancies();
  void Fill(const Vacancy& vacancy);
  void ScheduleVacancies();
  Master::WorkerMain WorkerMain();
  // In the worker, before its main function.
  void EnterWorker();
  // Forks in `call`, with the signals blocked that the worker has to have handlers for first.
  template <typename Call>
  auto Shielded(Call call);
  void OnExit(const WorkerExit& exit);
  // What is to be done about the end of a worker that nobody asked to end.
  void Decide(const Life& life, Event* event);
  absl::Status CrashLoop() const;
  // How many places have a worker, or will have one.
  int Filled() const;

  // ---- Restart ----
  void BeginRound();
  void ReplaceNext();
  void OnReplaced(const absl::Status& status);
  void EndRound(const absl::Status& status);
  // Adds what the master has started in the course of Replace.
  void AdoptSuccessor(const std::vector<Peer>& before);

  // ---- The end ----
  void OnSignal(int number);
  // `why` if it is not what the program wants.
  void BeginStop(absl::Duration deadline, const absl::Status& why = absl::OkStatus());
  void SetDeadline(absl::Duration deadline);
  void StartDeadlineTimer(std::uint64_t delay_ms);
  void LastCall();
  void Kill(const std::vector<Peer>& workers);
  // A worker has ended during the stop.
  void NoteEnd(const WorkerExit& exit);
  // Closes everything once there is nothing left to wait for.
  void MaybeFinish();
  void Finish();
  void CloseHandles();

  // Whether it is one of the workers here, and its end has not been told.
  bool IsLife(const Peer& worker) const;
  bool IsDraining(const Peer& worker) const;
  // Unless it is worse already.
  void Worsen(SupervisorResult result);
  // The application may do anything in it: see above.
  void Emit(const Event& event);

  const SupervisorOptions options_;
  uv_loop_t* const loop_;
  const pid_t owner_;
  std::unique_ptr<Master> master_;
  core::RespawnPolicy policy_;
  Phase phase_ = Phase::kCreated;
  SupervisorResult result_ = SupervisorResult::kStopped;
  bool gone_ = false;
  bool closing_ = false;
  int wanted_;
  std::map<int, Life> lives_;  // by slot
  std::vector<Vacancy> vacancies_;
  std::deque<Peer> round_;  // whom the restart has still to replace
  std::optional<Replacing> replacing_;
  bool round_under_way_ = false;
  bool round_wanted_ = false;         // asked for during a restart
  std::uint64_t stop_signal_ms_ = 0;  // when the first one came; 0: none yet
  std::uint64_t deadline_ms_ = internal::kNeverMs;
  bool kill_now_ = false;  // at the deadline; otherwise there is a last call
  bool masked_ = false;
  sigset_t mask_before_ = {};
  std::array<uv::Signal, 3> signals_;
  uv::Timer vacancy_timer_;
  uv::Timer deadline_timer_;
};

template <typename Call>
auto Supervisor::State::Shielded(Call call) {
  if (!options_.shield_workers) return call();
  mask_before_ = os::BlockSignals(kSignals.data(), kSignals.size());
  masked_ = true;
  auto result = call();
  masked_ = false;
  os::SetSignalMask(mask_before_);
  return result;
}

}  // namespace alertpipe

#endif  // ALERTPIPE_SUPERVISOR_STATE_H_
