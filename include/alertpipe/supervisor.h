// SPDX-License-Identifier: Apache-2.0
//
// A supervisor for programs that have none of their own: it keeps a number of workers running, all
// with the same main function, replaces those that die, restarts all of them one after the other
// without a gap, and ends them in order. It is made of public calls only; a program that manages
// its processes itself leaves it out and uses Master.
//
//   int main() {
//     alertpipe::SupervisorOptions options;
//     options.workers = 4;
//     options.worker_main = Serve;                 // int Serve(alertpipe::Slot slot)
//     return alertpipe::RunSupervised(options);    // SIGHUP restarts, SIGTERM and SIGINT end
//   }
#ifndef ALERTPIPE_SUPERVISOR_H_
#define ALERTPIPE_SUPERVISOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <alertpipe/export.h>
#include <alertpipe/master.h>
#include <alertpipe/peer.h>
#include <alertpipe/result.h>
#include <alertpipe/worker.h>

struct uv_loop_s;  // uv_loop_t

namespace alertpipe {

class Supervisor;

// How a supervisor ended. The numbers are exit codes for main(). If several apply it is the first
// of crash loop, killed, worker failed.
enum class SupervisorResult : std::uint8_t {
  kStopped = 0,       // all workers ended with exit code 0, when asked to or by themselves
  kNotStarted = 1,    // RunSupervised: Create, `setup` or Start failed, there never was a worker
  kCrashLoop = 3,     // too many workers died young; the rest was then stopped
  kKilled = 4,        // a worker was still there at the deadline of a stop, or was otherwise ended
                      // by SIGKILL during a stop
  kWorkerFailed = 5,  // a worker that was asked to stop ended with another exit code, or by a
                      // signal
};

// "stopped", "not started", "crash loop", "killed", "worker failed"; a static string.
ALERTPIPE_EXPORT std::string_view ToString(SupervisorResult result);

// What a supervisor has done or seen.
struct SupervisorEvent {
  enum class Kind : std::uint8_t {
    kStarted,       // `worker` was forked
    kForkFailed,    // `status` says why; it is tried again after `delay`
    kExited,        // `exit` says how `worker` ended, `next` what is done about it
    kRestartBegun,  // of all workers, because of RestartAll or SIGHUP
    kReplaced,      // `successor` has taken the place of `worker`, which has ended
    kRestartEnded,  // OK, or `status` says why some of the workers were not replaced
    kStopping,      // all workers will now be asked to end, within `delay`; alerts that are sent
                    // here still reach them. `status` says why if it is a crash loop
    kKilling,       // `worker` did not end in time: it is killed
    kStopped,       // the last event: everything has ended, with `result`
  };
  // What is done about a worker that has ended.
  enum class Next : std::uint8_t {
    kNothing,  // it was asked to end, or has a successor already; or it is not a worker of the
               // supervisor's but one that the program has started itself
    kRespawn,  // a new worker is started after `delay`, which may be zero; it is if the program has
               // asked it to end (Master::Retire)
    kLeave,    // its place stays empty: SupervisorOptions::respawn_after_success is false
    kStop,     // one death too many: crash loop
  };

  Kind kind = Kind::kStarted;
  Next next = Next::kNothing;
  SupervisorResult result = SupervisorResult::kStopped;
  Peer worker;
  Peer successor;
  WorkerExit exit;
  absl::Duration delay;
  absl::Status status;
};

// One line for a log, without a newline: "worker 4711 (slot 2) ended by signal 11; a new one starts
// in 200ms".
ALERTPIPE_EXPORT std::string ToString(const SupervisorEvent& event);

struct SupervisorOptions {
  // How many workers to keep running, at least 1. Must be set.
  int workers = 0;
  // What each worker runs. Must be set. What is set up in main() before is in every worker, also in
  // those of a restart: what a restart should read anew (a configuration), `worker_main` reads.
  Master::WorkerMain worker_main;

  // Slots beyond `workers`, at least 0. A restart needs one; more are for processes that the
  // program starts itself (master()->Spawn, Reserve).
  int spare_slots = 1;
  // Of the family. workers_max is set by the supervisor (workers + spare_slots), the value here is
  // ignored.
  MasterOptions master;
  AttachOptions attach;  // of the master's endpoint

  // A worker that dies (or cannot be forked) is followed by another after backoff_min; each time
  // that this one dies young as well the delay doubles, up to backoff_max. A worker that has lived
  // for `stable_after` is followed by another at once, and delays start anew. Each of the `workers`
  // places has a delay of its own. From 0; backoff_max at least backoff_min, a year is enough.
  absl::Duration backoff_min = absl::Milliseconds(100);
  absl::Duration backoff_max = absl::Seconds(30);
  absl::Duration stable_after = absl::Seconds(10);
  // Crash loop: when more than `young_deaths_max` workers, all places together, have died before
  // they were `stable_after` old within `deaths_window`, the supervisor stops. 0 means five for
  // each of the `workers`. Forks that fail do not count.
  int young_deaths_max = 0;
  absl::Duration deaths_window = absl::Seconds(60);
  // Whether a worker that ends with exit code 0 without having been asked to is followed by
  // another. True suits servers, whose workers run until they are asked, and workers that end
  // themselves after some amount of work. With false its place stays empty, and when there are no
  // workers any more the supervisor is done: kStopped.
  bool respawn_after_success = true;

  // How long workers have to end when the supervisor stops; what is still there then is killed. A
  // worker that ends in order waits for the last alerts of all others, so at the deadline those go
  // first that do not answer for a second (stopped, stuck), and the others have another second to
  // end without them. From 0 (kill at once) to absl::InfiniteDuration().
  absl::Duration stop_deadline = absl::Seconds(30);
  // How long a new worker of a restart may take to be ready, and then the old one to end: see
  // Master::Replace. Above 0; absl::InfiniteDuration() is legal.
  absl::Duration restart_deadline = absl::Seconds(60);

  // Whether SIGHUP, SIGTERM and SIGINT are watched, on the loop, from Start until the end. SIGHUP
  // is RestartAll(). SIGTERM and SIGINT are Stop(); another one of these, half a second or more
  // after the first, is Stop(absl::ZeroDuration()). With false the program calls these as it likes.
  bool watch_signals = true;
  // Whether workers start with handlers for SIGHUP, SIGTERM and SIGINT that do nothing. A terminal
  // sends SIGINT and SIGHUP to all processes of the job, and so do shells, timeout(1) and systemd's
  // KillMode=control-group with SIGTERM: without this, workers would be dead before the supervisor
  // could ask them to end. A worker may install handlers of its own; programs that it starts with
  // exec have the default action. To end one worker by hand is then kill -9. With false the signals
  // have the default action in workers, for programs that keep them away in another way
  // (setpgid(2) in `worker_main`, KillMode=mixed).
  bool shield_workers = true;

  // Called for everything that happens, on the loop's thread, from the loop and from the calls that
  // cause it. Must not throw. May call everything, and destroy the supervisor.
  std::function<void(const SupervisorEvent&)> on_event;
};

// Everything on the thread of the loop. In a process forked from the supervisor's, workers
// included, all calls are refused with kFailedPrecondition and the destructor does nothing.
class ALERTPIPE_EXPORT Supervisor {
 public:
  // Creates the family and attaches the master to `loop`, which must outlive the supervisor. No
  // worker is started yet: this is the time to set handlers and hooks of master().
  //
  // Errors: kInvalidArgument for an option out of range (names option, limit and value); otherwise
  // as Master::Create and Master::Attach.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(uv_loop_s* loop,
                                                            SupervisorOptions options);

  // Workers that live are not ended, but nobody replaces them any more and the family has lost its
  // master's endpoint: Stop() and wait for kStopped before. The loop has to turn once more before
  // uv_loop_close.
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Watches the signals and forks the workers. A fork that fails is reported (kForkFailed) and
  // tried again like one of later, so it is no error of Start. The rest happens on the loop.
  //
  // Errors: kFailedPrecondition when it has been called before; kInternal when libuv cannot watch a
  // signal (nothing was started).
  absl::Status Start();

  // Replaces all workers that live now by new ones, one after the other: the new one is started, is
  // ready, takes the place of the old one, which ends when it has handled everything (Worker::
  // OnDraining). The first new worker that cannot be started or dies before it is ready ends the
  // restart (kRestartEnded with its status): the old ones that are left go on. Asked for while a
  // restart is under way, it is remembered, once: another restart follows.
  //
  // Errors, with nothing begun: kFailedPrecondition before Start, when stopping, or when
  // spare_slots is 0.
  Result RestartAll();

  // Ends everything: nothing is started any more, all workers are asked to end (Worker::OnDraining;
  // a worker without that hook drains and closes its endpoint) and are killed at the deadline. Then
  // the master's endpoint and all handles are closed and kStopped is reported: nothing of the
  // supervisor keeps uv_run from returning. `deadline` is from now; without it, it is
  // SupervisorOptions::stop_deadline. May be called again: the earliest deadline counts.
  //
  // Errors: kInvalidArgument when the deadline is negative; kFailedPrecondition before Start, and
  // when everything has ended.
  Result Stop();
  Result Stop(absl::Duration deadline);

  // The family's master, attached to the loop; lives as long as the supervisor. Everything is the
  // program's to use but Close, OnExit (see SupervisorOptions::on_event), and Replace and
  // RestartAll for the supervisor's workers (Retire is fine: another one follows). What the program
  // starts itself it also ends: the supervisor neither replaces, restarts nor stops such workers.
  Master* master() const;
  uv_loop_s* loop() const;
  // Whether kStopped has been reported, and with what.
  bool stopped() const;
  SupervisorResult result() const;

 private:
  class State;
  explicit Supervisor(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

// For main(): creates a loop and a supervisor, calls `setup` (may be null) with it, starts, runs
// the loop until everything has ended and returns the result as an exit code. Without an `on_event`
// each event is printed to stderr, a line each. What `setup` opens on the loop it need not close.
// If `setup` returns an error, nothing is started.
ALERTPIPE_EXPORT int RunSupervised(SupervisorOptions options,
                                   const std::function<absl::Status(Supervisor*)>& setup = nullptr);

}  // namespace alertpipe

#endif  // ALERTPIPE_SUPERVISOR_H_
