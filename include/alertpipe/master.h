// SPDX-License-Identifier: Apache-2.0
//
// The master: the process that creates the pipes and the roster before any fork, starts workers and
// replaces dead ones.
#ifndef ALERTPIPE_MASTER_H_
#define ALERTPIPE_MASTER_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <alertpipe/endpoint.h>
#include <alertpipe/export.h>
#include <alertpipe/family_stats.h>
#include <alertpipe/limits.h>
#include <alertpipe/restart.h>
#include <alertpipe/slot.h>
#include <alertpipe/worker.h>

namespace alertpipe {

// What all processes of a family share for events (events.h).
struct EventSettings {
  // How long a unique key is taken, above zero.
  absl::Duration unique_timeout = absl::Seconds(5);
  // How many unique keys each process can have taken at once, 1 to 65,536. Each takes about 300
  // bytes, once it is used; beyond 16,777,000 in all there is no room.
  std::uint32_t unique_keys_max = 1024;
};

// Settings of a whole family. Sizes are in bytes.
struct MasterOptions {
  // How many workers can live at once, 1 to kWorkersMax. Must be set. Each needs two descriptors in
  // every process while it is being forked.
  int workers_max = 0;
  // Capacity of each pipe; 0 leaves the kernel's default (64 KiB). Rounded up by the kernel to a
  // power of two of pages; what it grants may be less: an unprivileged user has 16,384 pages for
  // all pipes, see pipe(7), pipe-user-pages-soft. From 1 KB of data per alert 256 KiB is clearly
  // faster than 64 KiB; 1 MiB is no better.
  std::size_t pipe_capacity = 262144;
  // Longest data of one alert, up to kDataBytesMax. Longer data is refused at the call.
  std::uint64_t alert_bytes_max = kDataBytesMax;
  // What one receiver may hold for alerts that are not complete yet, at least alert_bytes_max. An
  // alert that finds no room comes back to its sender as undelivered (kReceiverFull). Memory is
  // only used for bytes that have arrived.
  std::uint64_t reassembly_bytes_max = 4294967296;
  // What one sender may queue for one receiver / in all.
  std::uint64_t queued_bytes_per_peer_max = 4194304;
  std::uint64_t queued_bytes_max = 67108864;
  // Whether each process keeps a histogram of how long the alerts that it receives took from the
  // sender's call to its handler (Stats::latency). Costs 8 bytes and two readings of the clock for
  // each alert, and alerts take the longer way through the queue, so that fewer small ones leave in
  // a second.
  bool latency_histograms = false;
  // Whether the family has events (events.h). Costs 128 KiB of shared memory, more with unique
  // keys.
  std::optional<EventSettings> events = std::nullopt;
};

// How a worker ended.
struct WorkerExit {
  Peer worker;
  bool known = true;  // false when something else in this process has reaped the child and did not
                      // report it: the rest is then 0
  int exit_code = 0;  // if it exited
  int signal = 0;     // if a signal ended it
  bool core_dumped = false;
  std::uint64_t alerts_drained = 0;  // alerts that were in its pipe, unread: lost with it
  // Of replacements (restart.h). A worker that is to be respawned has none of the first three set.
  bool retired = false;   // its end had been asked for: Retire, Replace, RestartAll
  int successor = 0;      // the slot of the worker that takes its place, if there was one
  bool unproven = false;  // Replace or RestartAll had started it and it had not taken over: the
                          // worker in whose place it was to be stays
  bool killed_at_deadline = false;
};

class ALERTPIPE_EXPORT Master : public Endpoint {
 public:
  // Runs in the forked worker; what it returns is the exit code. It must not return into the
  // master's code in any other way: an exception that leaves it ends the worker with
  // std::terminate.
  using WorkerMain = std::function<int(Slot)>;
  using ExitHook = absl::AnyInvocable<void(const WorkerExit&)>;

  // Creates the pipes, the roster and the counter pages, all or nothing. Programs that daemonise do
  // so before this.
  //
  // Errors: kInvalidArgument for an option out of range (names option, limit and value);
  // kResourceExhausted when RLIMIT_NOFILE has no room (names the limit, what is open and what is
  // needed), or memory or descriptors are short; kFailedPrecondition when descriptor 0, 1 or 2 is
  // closed (a daemon opens /dev/null there); kUnimplemented when the kernel misses something that
  // this library cannot do without.
  static absl::StatusOr<std::unique_ptr<Master>> Create(const MasterOptions& options);

  // Closes the endpoint if attached, and the pipes. The workers are not ended, but nobody reaps or
  // replaces them any more: keep the master for as long as they run.
  ~Master();

  // Makes the master an endpoint on `loop`, which must outlive it, and lets it notice dead workers
  // by itself. Without it the program calls Service(). Once per master. The loop's thread must be
  // the one that calls Spawn. Errors: kInvalidArgument, kFailedPrecondition (attached already, or
  // in a child), kResourceExhausted, kInternal.
  absl::Status Attach(uv_loop_s* loop, AttachOptions options = {});

  // Forks a worker into the lowest free slot and runs `main` in it. Flushes stdio first. In the
  // worker, the descriptors of other processes' inboxes are closed, uv_signal handles of the
  // attached loop are stopped and their signals have the default action, and when `main` returns
  // stdio is flushed and _exit called: no destructor of the master's objects runs there.
  //
  // Errors: kResourceExhausted when all slots are taken (names workers_max) or fork fails (names
  // errno; the slot is free again); kFailedPrecondition in a child.
  absl::StatusOr<Peer> Spawn(WorkerMain main);

  // Starts a new worker, with the main function of the last one, in a slot whose worker has died.
  // Errors: as Spawn; kNotFound for a slot that never had a worker; kFailedPrecondition while its
  // worker lives, or when the slot was last reserved for a fork of the program's own.
  absl::StatusOr<Peer> Respawn(int slot);

  // ---- Replacing workers that live ----
  //
  // Both run for a while, each in its own slot, so this needs a spare one: workers_max above the
  // number of workers. OnExit is called for each that ends, with `retired` and `successor` set:
  // such a worker is not to be respawned.

  // Asks a live worker to end. From now on it takes no new alerts, by slot, pid, To::AnyWorker or
  // broadcast (kUnavailable, which names the successor); replies and responses still reach it. Its
  // Worker::OnDraining hook is called; it ends its own work, gets all that was accepted for it, and
  // exits. All workers may be retired at once, without successors, to end a family. The deadline is
  // kept by the attached loop, or by Service().
  //
  // Errors, with nothing changed: kNotFound when there is no such slot, or no such successor;
  // kInvalidArgument for a deadline of zero or less, or a worker as its own successor;
  // kFailedPrecondition when the slot has no live worker, it is retired already, or the successor
  // does not live or is retired itself; or in a child. A replacement (below) that the worker takes
  // part in, and which has not retired anybody yet, ends with kCancelled.
  absl::Status Retire(int slot, const RetireOptions& options = {});

  // Replaces one worker: starts its main function in a spare slot, waits until the successor has
  // attached and its loop has acknowledged a barrier, retires the old worker in favour of it, and
  // waits until that has ended. Until the successor has answered the old worker is untouched; if no
  // answer comes (the successor ends, or is killed at the deadline) it stays as it is. Each of the
  // two waits may take `deadline`, which may be absl::InfiniteDuration(). A worker that dies by
  // itself meanwhile is replaced as well. `done` may be null. Several workers may be replaced at
  // the same time.
  //
  // Errors, `done` is not called then: kNotFound when there is no such slot; kInvalidArgument for a
  // deadline of zero or less; kResourceExhausted when there is no spare slot (names workers_max) or
  // fork fails; kFailedPrecondition when the slot has no live worker, it is retired or being
  // replaced already, RestartAll is under way, or the program has forked it on its own (start a
  // successor, then Retire it); when the master is not attached to a loop; or in a child.
  absl::Status Replace(int slot, absl::Duration deadline, ReplaceDone done);

  // Replaces all workers that live now and are not retired, one after the other, in the order of
  // their slots, as Replace does; one spare slot is enough. Ends with the first that fails. Workers
  // that die or are retired before their turn are passed over, those that are started meanwhile
  // are not replaced. Errors as Replace; kFailedPrecondition also when any Replace is under way,
  // or any of the workers was forked, or reserved, by the program on its own.
  absl::Status RestartAll(absl::Duration deadline, RestartDone done);

  // ---- For programs that fork on their own ----
  //
  //   auto slot = master->Reserve();
  //   pid_t pid = fork();
  //   if (pid == 0) {
  //     auto worker = Worker::Attach(*std::move(slot), &loop);
  //     ...
  //     _exit(0);
  //   }
  //   // Refused if the fork has failed; the Slot's destructor then takes the slot back.
  //   auto worker = master->Confirm(slot->number(), pid);
  //   ...
  //   auto exit = master->ReportExit(pid, wait_status);  // after waitpid
  //
  // Such workers are the program's: the library neither reaps them nor looks at whether they live,
  // and starts no successors. In all else they are workers like those of Spawn, and both kinds can
  // be in one family. The master needs no loop for these calls.

  // Takes the lowest free slot, with the next generation, and announces it: from now on alerts to
  // it wait in its pipe, so fork soon. The Slot is for one child, which must be forked by this
  // process after the call (a direct child in the same pid namespace) and attaches with it, at any
  // time, also before Confirm. In the child, Attach closes the descriptors of other processes'
  // inboxes and what else is not the child's; a child that does not attach should exec or _exit
  // soon. Flush stdio before the fork; signals are the program's (see docs/guide.md).
  //
  // Here the Slot has to be kept until Confirm or Cancel: destroying it before cancels. It must be
  // destroyed on the thread that calls Reserve. After either it means nothing.
  //
  // Errors: kResourceExhausted when all slots are taken (names workers_max); kFailedPrecondition in
  // a child.
  absl::StatusOr<Slot> Reserve();

  // Says that `pid` is the child for the reserved `slot` (Slot::number()): the pid can be sent to,
  // and the others learn that it has joined. The child may have attached, sent alerts and ended
  // before, but must not have been reaped.
  //
  // Errors, with nothing changed: kInvalidArgument when `pid` is not positive; kNotFound when there
  // is no such slot; kFailedPrecondition when the slot is not reserved (any more), `pid` is no
  // child of this process or has been reaped (Cancel then), is a worker already, or another process
  // has attached to the slot; or in a child.
  absl::StatusOr<Peer> Confirm(int slot, pid_t pid);

  // Takes a reserved slot back: the fork failed, or the child was given up. Senders get back what
  // they still had queued for it; what is in its pipe is drained and counted (Stats::alerts_drained
  // of the master). OnExit is not called. A child that attaches later is refused, and the slot's
  // next worker has the next generation.
  //
  // Errors, with nothing changed: kNotFound when there is no such slot; kFailedPrecondition when
  // the slot is not reserved (any more), or a child has attached to it and lives (Confirm it, or
  // end and reap it first); or in a child.
  absl::Status Cancel(int slot);

  // Says that worker `pid` has ended, with what waitpid stored (or would): the slot goes down,
  // its pipe is drained, the others are told, and before the call returns OnExit is called with
  // what is returned as well. Until this call the worker counts as alive: what is sent to it fills
  // its pipe and then its senders' queues. May be called for whatever waitpid(-1) returns, also for
  // a worker of Spawn, whose exit the library then cannot learn any other way.
  //
  // Errors, with nothing changed: kNotFound when no live worker has that pid (no worker at all, not
  // confirmed, or reported already); kInvalidArgument when the status is not that of a process that
  // has ended; kFailedPrecondition when it is a child that runs; or in a child.
  absl::StatusOr<WorkerExit> ReportExit(pid_t pid, int wait_status);

  // ---- All workers ----

  // Called for every worker that has died, once its slot is free again: the hook may Respawn it,
  // and Workers() does not list it any more.
  // From the loop, from Service(), or from ReportExit().
  void OnExit(ExitHook hook);

  // For a master without a loop (also after Close), or whenever it likes: notices dead workers,
  // drains their pipes, tells the others, and kills those that were retired and are late. Does not
  // block. Returns how many workers it found dead. A notice for a worker whose pipe is full is kept
  // and sent by the next call. kFailedPrecondition in a child.
  absl::StatusOr<int> Service();

  // What the kernel granted each pipe: the smallest of all.
  std::size_t pipe_capacity() const;
  // The figures of a slot: those of the worker that lives there now, and those of the one that died
  // there last. Nothing for a number that is no slot, and in a child. Slot 0 is the master's own.
  std::optional<SlotStats> StatsOf(int slot) const;

 private:
  class State;
  Master();

  std::shared_ptr<State> state_;
};

}  // namespace alertpipe

#endif  // ALERTPIPE_MASTER_H_
