// SPDX-License-Identifier: Apache-2.0
//
// Where a scenario is played: a family whose members keep a strict account (ledger.h) of what they
// send and hear, under one injected fault. A scenario may find any call of the library refused: it
// notes that and goes on, or ends. What holds whatever happens is checked here:
//
//   - what was accepted is delivered whole, once, in order, or comes back to its sender, while both
//     live; each accepted request ends once;
//   - each process ends by itself, its loop closes, and it then holds what it held before:
//     descriptors, mappings, blocks of payload;
//   - a worker that was retired and left by itself has lost nothing that was accepted for it, and
//     nothing of its own; one that was killed at its deadline may have what was in its pipe. If the
//     kill failed (which must be reported with its error) the worker lives, and leaves by itself
//     once it turns its loop again;
//   - if something did not happen because of the fault, the process that met it was told, and what
//     it was told names the error.
//
// How a run ends: with a fault that stays, whoever meets it closes first while the others still
// read, so that all that it had accepted is settled.
#ifndef ALERTPIPE_TEST_FAULTS_STAGE_H_
#define ALERTPIPE_TEST_FAULTS_STAGE_H_

#include <sys/types.h>
#include <uv.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <alertpipe/alertpipe.h>

#include "faults/ledger.h"
#include "runner/holdings.h"

namespace alertpipe::faults {

// One process of the family with its loop. Everything that it sends or hears goes through here.
class Actor {
 public:
  Actor(Ledger* ledger, const Fault& fault);
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  // Takes over an endpoint's hooks.
  void Install(Endpoint* endpoint, const Peer& self);
  void Forget() { endpoint_ = nullptr; }
  Endpoint* operator->() const { return endpoint_; }
  bool installed() const { return endpoint_ != nullptr; }
  Ledger* ledger() const { return ledger_; }
  uv_loop_t* loop() { return &loop_; }
  // Whether the fault is aimed at this process.
  bool faulty() const { return fault_.role == Injector::role(); }

  // The size of data is in bytes, at least 16. A refusal is noted.
  bool Send(const Peer& to, std::size_t bytes);
  // To one that may be leaving: that it takes no more is no failure. False if not sent.
  bool Reply(const Peer& to, std::size_t bytes);
  bool SendOwned(const Peer& to, std::size_t bytes);
  void SendUntilFull(const Peer& to, std::size_t bytes);
  void Broadcast(std::size_t bytes, Scope scope, const std::vector<Peer>& to);
  void Request(const Peer& to, std::size_t bytes, std::size_t response_bytes);
  void Gather(std::size_t bytes, const std::vector<Peer>& to);
  // Checks at its end that all has been delivered that was sent before.
  void Barrier();
  // An alert for a handler of the scenario's own, outside the account.
  bool Signal(const Peer& to, std::string_view name);
  // Notes an error. True if there is none.
  bool Note(const absl::Status& status);
  void Wrong(std::string_view what);
  // A new alert for a worker that is retired; one to its Peer would be a reply.
  void ExpectRefused(const Peer& to);

  // Turns the loop until `done`. A fault that is there for good may prevent it, so one that has
  // struck ends the wait early; else what does not come is wrong.
  bool Until(std::string_view what, const std::function<bool()>& done);
  void Turn();
  void Turns(int turns);
  // Closes the endpoint and waits for that.
  void Close(absl::Duration deadline);
  // Whether nothing of the library keeps the loop running: the endpoint has closed by itself.
  bool Idle();
  // Closes the loop; nothing of the library may be left in it.
  void CloseLoop();

  // Called in each turn, in place of a loop that the master is not attached to.
  std::function<void()> service;
  int drained = 0;     // times that OnDrained was called
  int kill_error = 0;  // why a worker could not be killed at its deadline

 private:
  std::string Data(const Peer* to, std::size_t bytes, unsigned* number);
  void Accepted(const Peer& to, unsigned number, std::uint64_t alert_id);
  void Hear(Alert& alert);
  void Failed(const Undelivered& undelivered);
  ResponseCallback OnResponse(std::size_t bytes);

  Ledger* ledger_;
  const Fault& fault_;
  Endpoint* endpoint_ = nullptr;
  int self_ = -1;
  uv_loop_t loop_;
  uv_timer_t tick_;
  unsigned next_number_ = 0;
  unsigned heard_[kActors] = {};
  std::map<std::pair<int, std::uint64_t>, unsigned> numbers_;  // by receiver and alert id
  std::uint64_t next_id_[kActors] = {};
};

// A worker's part after it has attached; then it listens until the end.
using Part = std::function<void(Actor&, std::unique_ptr<Worker>&)>;

enum class MasterIs { kAttached, kWithoutLoop, kAttachedLater };

class Stage {
 public:
  Stage(Ledger* ledger, const Fault& fault) : ledger_(ledger), fault_(fault), me(ledger, fault) {}

  // False when the fault prevented it.
  bool Create(const MasterOptions& options, MasterIs master);
  bool Attach();
  // Faults count from here on.
  void Arm() { ledger_->tally.armed = true; }

  // A peer of slot -1 when it could not be started.
  Peer Spawn(Part part = nullptr);
  Peer Respawn(int slot);
  // Forks for a slot that was reserved.
  pid_t ForkFor(Slot* slot, Part part);
  int Live(Slot slot, const Part& part, bool own_fork);
  // Until all that were started have attached, or have failed to.
  bool Ready();
  bool Retire(const Peer& worker, absl::Duration deadline);
  // Its end is in `report`.
  bool Replace(const Peer& worker);
  // kill -9, and until the master has seen it.
  bool Kill(const Peer& worker);
  // Not one that could not be started.
  bool Has(const Peer& worker) const {
    return worker.slot >= 0 && ledger_->actors[ActorOf(worker)] == ActorState::kAttached;
  }
  // From then on it is a master without a loop.
  void CloseMaster(absl::Duration deadline);
  // Everything comes to its end.
  void End();

  Ledger* ledger() const { return ledger_; }
  Ledger* ledger_;
  const Fault& fault_;
  Actor me;
  std::unique_ptr<Master> master;
  AttachOptions attach;  // of workers
  std::vector<Peer> started;
  std::map<pid_t, bool> reaped;  // what OnExit told
  std::function<void(const WorkerExit&)> on_exit;
  std::optional<RestartReport> report;

 private:
  bool AllReaped() const;
  void NoteExit(const WorkerExit& exit);
  void ReapRest();

  bool replacing_ = false;
};

// Flags of scenarios in which the master dies: how many workers go on, and how many have come to
// the end of their parts.
inline constexpr int kOrphans = 6;
inline constexpr int kOrphansReady = 7;

struct Scenario {
  const char* name;
  MasterOptions options;
  MasterIs master = MasterIs::kAttached;
  KernelIs kernel = KernelIs::kThis;
  bool from_creation = false;  // faults count from before Master::Create
  // The master is a process of its own, which `play` ends with SIGKILL.
  bool master_dies = false;
  std::function<void(Stage&)> play;
};

const std::vector<Scenario>& Scenarios();

// Of the family's events (events.cc).
void PlayEvents(Stage& stage);

// Plays the scenario once in this process, as its master.
void Play(const Scenario& scenario, const Fault& fault, Ledger* ledger);

}  // namespace alertpipe::faults

#endif  // ALERTPIPE_TEST_FAULTS_STAGE_H_
