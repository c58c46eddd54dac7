// SPDX-License-Identifier: Apache-2.0
//
// The master at work: drives each slot's life one step at a time, and lets the others know. The
// replacement of live workers (Retire, Replace, RestartAll) is in master_restart.cc.
#ifndef ALERTPIPE_MASTER_STATE_H_
#define ALERTPIPE_MASTER_STATE_H_

#include <alertpipe/master.h>

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "core/inbox.h"
#include "core/notice_board.h"
#include "core/request_table.h"
#include "core/rolling_restart.h"
#include "core/slot_life.h"
#include "endpoint_impl.h"
#include "family.h"
#include "os/exit_watch.h"
#include "os/process.h"
#include "uv/handle.h"

namespace alertpipe {

class Master::State : public std::enable_shared_from_this<Master::State> {
 public:
  // What the endpoint refers to: it may outlive the master while a handler runs.
  struct Shared {
    explicit Shared(std::unique_ptr<internal::Family> created)
        : family(std::move(created)), board(family->slots()) {}
    std::unique_ptr<internal::Family> family;
    core::NoticeBoard board;
  };

  // What the master knows of one slot.
  struct Place {
    core::SlotLife life;
    WorkerMain main;
    bool unwatched = false;   // no pidfd could be had: it is asked for whenever somebody else dies
    os::ExitStatus reported;  // how the worker has ended, from whoever has reaped it
    os::ExitStatus exit;
    core::DrainCount drained;
    bool retired = false;
    bool killed = false;  // by us, at a deadline
    std::uint64_t kill_at = core::kNever;

    // For the next worker.
    void Reset() {
      unwatched = retired = killed = false;
      kill_at = core::kNever;
      exit = reported = os::ExitStatus();
    }
  };

  static absl::StatusOr<std::shared_ptr<State>> Create(const MasterOptions& options);
  ~State();

  absl::Status Attach(uv_loop_s* loop, const AttachOptions& options);
  // kNotFound unless `slot` is one for a worker.
  absl::Status CheckSlot(int slot) const;
  // The lowest slot that can be started.
  absl::StatusOr<int> FreeSlot() const;
  absl::StatusOr<Peer> Start(int slot, WorkerMain main);
  // For programs that fork on their own. The slot has a worker's number.
  Slot Reserve(int slot);
  absl::StatusOr<Peer> Confirm(int slot, pid_t pid);
  absl::Status Cancel(int slot);
  absl::StatusOr<WorkerExit> ReportExit(pid_t pid, int wait_status);
  absl::Status Retire(int slot, const RetireOptions& options);
  absl::Status Replace(int slot, absl::Duration deadline, RestartDone done);
  absl::Status RestartAll(absl::Duration deadline, RestartDone done);
  // Kills those whose deadline has passed.
  void KillLate();
  // Goes on with what is under way, as far as it goes: only on a loop is there any.
  void StepRestarts();
  // Finds dead workers and takes them out. Returns how many.
  int Reap();
  void TellExits();
  // As ~Master. The state may outlive it while a hook runs.
  void Shutdown();

  std::shared_ptr<Shared> shared;
  internal::Family* family;  // shared's
  std::shared_ptr<internal::EndpointImpl> impl;
  std::vector<Place> places;  // by slot; that of the master is unused
  std::shared_ptr<ExitHook> on_exit;

 private:
  explicit State(std::unique_ptr<internal::Family> created);

  absl::Status Drive(int slot);
  absl::Status Fork(int slot);
  [[noreturn]] void RunChild(int slot) noexcept;
  Slot MakeSlot(int slot);
  bool MasterLives() const;
  absl::Status CheckEntry(int slot, std::uint32_t generation);
  absl::StatusOr<internal::Family*> Enter(int slot, std::uint32_t generation, uv_loop_t* loop);
  void EnterChild(int slot);
  void GiveUp(int slot, std::uint32_t generation);
  absl::Status CheckReserved(int slot) const;
  absl::Status Withdraw(int slot);
  int SlotOf(pid_t pid) const;
  Peer PeerIn(int slot) const {
    const core::RosterWord word = places[static_cast<std::size_t>(slot)].life.word();
    return {static_cast<pid_t>(word.pid), slot, word.generation};
  }
  void Drain(int slot);
  void Archive(int slot);
  void RecordExit(int slot);
  std::vector<uv_signal_t*> LoopSignals() const;
  void NeutraliseLoop();
  void CloseHandles();
  void Announce(core::SlotState state);
  int WatchChildren(uv_loop_s* loop, bool keep_loop_alive);
  void Ask();
  int TakeOut(int slot);
  void OnChildEvent() noexcept;

  // One Replace or RestartAll.
  struct Restart {
    core::RollingRestart machine;
    bool all = false;
    absl::Duration deadline;  // for each answer, and for each end
    RestartDone done;
    // Whether the successor could be asked, and until when that is tried.
    bool asked = false;
    std::uint64_t ask_by = core::kNever;
  };
  absl::Status CheckRunning(int slot) const;
  absl::Status CheckReplaceable(int slot) const;
  absl::Status CheckNoRestart(int slot) const;
  absl::Status Begin(Restart restart);
  bool Step(Restart* restart);
  void StartSuccessor(Restart* restart);
  void AskSuccessor(Restart* restart);
  void HearSuccessor(const Peer& successor, const BarrierReport& report);
  void RetireNow(int slot, int successor, absl::Duration deadline);
  void KillNow(int slot);
  void Kill(int slot);
  void NoteInRestarts(WorkerExit* exit);
  void CancelRestarts();
  void ArmDeadlines();

  std::optional<os::ExitWatch> watch_;
  std::vector<char> drain_buffer_;
  std::deque<WorkerExit> exits_;
  uv::Poll watch_poll_;
  uv::Signal child_signal_;
  uv::Timer asking_;
  uv::Timer deadlines_;
  std::uint64_t deadlines_at_ = core::kNever;  // when that one fires
  std::vector<std::unique_ptr<Restart>> restarts_;
  int own_slot_ = kMasterSlot;  // in a forked process that has become a worker: its slot and pid
  pid_t own_pid_ = 0;
  os::UniqueFd
      harmless_;  // what a child finds behind the numbers of descriptors that the loop watches
};

}  // namespace alertpipe

#endif  // ALERTPIPE_MASTER_STATE_H_
