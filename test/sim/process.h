// SPDX-License-Identifier: Apache-2.0
//
// One process of the family, as a driver of core::Endpoint that can be interrupted anywhere: a step
// is one system call, one look at the roster, one alert handled or one thing told, and whatever may
// happen to others happens between two steps. It does in this way what the facade does on libuv
// (lib/endpoint_*.cc), in the same order: poll, read, hand out, write what the turn has left, tell
// the application.
//
// What it was in the middle of is in its members, so that a crash is its destruction.
#ifndef ALERTPIPE_TEST_SIM_PROCESS_H_
#define ALERTPIPE_TEST_SIM_PROCESS_H_

#include <alertpipe/limits.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/endpoint.h"
#include "sim/hub.h"
#include "sim/ledger.h"

namespace alertpipe::sim {

class World;

class Process {
 public:
  // `attached`: reads its pipe. Only a master can do without.
  Process(World* world, const Peer& self, bool attached);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  // The endpoint is there: a process that was just forked has none yet.
  bool booted() const { return core_ != nullptr; }
  // False when there is no memory for it.
  bool Boot();
  void Step();

  const Peer& self() const { return self_; }
  Incarnation who() const { return Of(self_); }
  core::Endpoint& core() { return *core_; }

  bool stopped() const { return stopped_; }
  void Stop() { stopped_ = true; }
  void Continue() { stopped_ = false; }
  bool asleep() const { return asleep_; }
  void Wake() { asleep_ = false; }
  bool waits_for(int slot) const { return waits_[static_cast<std::size_t>(slot)]; }
  bool attached() const { return attached_; }
  void Attach();

  // It has nothing to do and nothing that is still to be done.
  bool Quiet();
  // It asks now and then whether those that it waits for are still there.
  bool Asks();
  // What is still to be done, for messages.
  std::string Business();
  std::uint64_t next_deadline() const;
  // Between two steps of a send; between the look at the roster and the write.
  bool mid_send() const { return send_.stage != Send::Stage::kNone; }
  bool mid_write() const { return flush_.stage == Flush::Stage::kWrite; }
  bool mid_publish() const { return hub_ != nullptr && hub_->publishing(); }
  bool mid_claim() const { return hub_ != nullptr && hub_->claiming(); }
  // Some receiver has the beginning of an alert and not its end. Only for one that ends now.
  bool HalfWritten();
  bool idle_at_poll() const {
    return phase_ == Phase::kPoll && !mid_send() && !flushing() &&
           !(hub_ != nullptr && hub_->busy());
  }
  bool flushing() const { return flush_.stage != Flush::Stage::kNone; }

  // ---- For its hub
  bool closing() const { return closing_; }
  std::size_t PickBytes();
  // Sends what is about an event to one, or to all others. What becomes of it the hub is told.
  void SendRecord(const To& to, std::uint64_t serial, std::string_view record);
  void BroadcastRecord(std::uint64_t serial, std::string_view record);
  const To& sending_to() const { return send_.to; }

  // The master asks a worker whether it is there. False: not now.
  bool Ask(const Peer& worker, std::uint64_t deadline, BarrierCallback callback);
  // The master's side of things: its board has changed.
  void NoticesChanged();
  // An event and two alerts to everybody, once all is quiet.
  void Probe() {
    probes_left_ = 2;
    probes_events_ = hub_ != nullptr;
  }
  // Whom it takes to live by what it was told.
  void CheckAgreement();
  void CheckRest();

 private:
  enum class Phase : std::uint8_t { kPoll, kHandle, kFlush, kTell, kEvents };

  // A send on its way, with all that the call would have on its stack.
  struct Send {
    enum class Stage : std::uint8_t { kNone, kResolve, kPlain, kAccept, kAgain, kWritten };
    Stage stage = Stage::kNone;
    AlertKind kind = AlertKind::kPlain;
    bool broadcast = false;
    Scope scope = Scope::kFamily;
    To to = To::Slot(0);
    bool owned = false;
    bool retried = false;
    bool copied = false;
    bool probe = false;
    std::uint64_t serial = 0;
    std::uint64_t request_id = 0;
    std::uint64_t deadline = core::kNever;
    std::vector<core::Target> targets;
    std::size_t at = 0;
    std::uint64_t failures = 0;
    core::Content content;
    std::string_view view;
    core::SharedData* shared = nullptr;
    core::PlainWay way;
    bool plain_failed = false;  // the packet of `way` was not taken
    bool accepted = false;      // by its only receiver
    bool later = false;         // refused for want of room: worth another try
    std::vector<char> lent;     // the caller's memory, which ends with the call
    std::size_t lent_bytes = 0;
    char name[kNameBytesMax + 1];
  };
  struct Flush {
    enum class Stage : std::uint8_t { kNone, kLook, kWrite };
    Stage stage = Stage::kNone;
    int slot = 0;
    bool full_only = false;
    std::uint32_t generation = 0;  // of the receiver when the roster was looked at
    int count = 0;
    std::size_t written = 0;
    iovec parts[core::Outbox::kPartsMax];
  };
  // A request that it has not completed.
  struct Token {
    Peer asker;
    std::uint64_t request_id = 0;
  };

  static std::size_t Index(int slot) { return static_cast<std::size_t>(slot); }

  // process.cc: the loop
  void StepPoll();
  bool PollAny();
  bool PollInbox();
  bool PollOutboxes();
  bool PollTimers();
  bool PollMaster();
  void Read();
  void StepHandle();
  void Handle(const core::Arrival& arrival);
  void HandleAlert(const core::Arrival& arrival);
  void HandleEvent(const Peer& sender, std::string_view name, std::string_view data);
  void EndTurn();
  void BeginEvents();
  void StepEvents();
  void StepFlushList();
  void StepTell();
  void Tell(const core::Event& event);
  void StepLeave();
  void BeginFlush(int slot, bool full_only);
  void StepFlush();
  void EndFlush();
  void HandleWritten(std::size_t bytes, int error);
  bool LosesNotice(int error) const;
  void Leaving(int slot);
  void CheckBudgets();
  bool Exempt(int slot);
  bool MayVanish(int slot) const;
  bool AnyMayVanish() const;

  // Being replaced
  void BeginDrain();
  void EndTurnLate();

  // process_send.cc: what the application does
  bool BeginSomething();
  void BeginAlert(const To& to, AlertKind kind, std::size_t bytes);
  void BeginBroadcast();
  void BeginResponse();
  void GiveUp(const Token& token);
  To PickReceiver();
  void FillContent(std::size_t bytes);
  void ResetSend();
  bool PrepareShared(std::size_t bytes);
  void StepSend();
  void StepResolve();
  void CheckUnreachable();
  void CheckTarget(const core::Target& target);
  bool BeginPlain();
  void StepPlain();
  void FinishPlain();
  void StepAccept();
  void StepWritten();
  void Accepted(const core::Target& target, const core::Admission& admission,
                std::size_t queued_before, std::size_t in_all_before);
  void RefusedBy(const core::Target& target, const core::Admission& admission);
  void FinishSend();
  void SettleLent(int slot, bool everything);
  void ReleasePayload();
  void NotSent(const absl::Status& status);
  bool BeginProbe();
  void BeginBarrier();
  bool AskAll(const std::vector<core::Target>& targets, std::uint64_t deadline,
              BarrierCallback told);
  bool HandleLate();

  World* world_;
  Peer self_;
  bool attached_;
  bool stopped_ = false;
  bool asleep_ = false;
  std::unique_ptr<core::Endpoint> core_;
  std::unique_ptr<Hub> hub_;  // in a family with events

  Phase phase_ = Phase::kPoll;
  std::uint32_t handled_ = 0;
  Send send_;
  Flush flush_;
  std::vector<int> dirty_;
  std::size_t dirty_at_ = 0;
  std::vector<bool> waits_;  // for a pipe to be writable
  std::vector<Token> tokens_;
  std::vector<std::uint32_t> known_;  // by slot: the generation that it takes to live, or 0

  bool orphaned_ = false;
  std::vector<int> leaving_;
  bool leaving_read_ = false;
  std::uint32_t lingered_ = 0;  // tries of an empty inbox since something was read

  bool excused_ = false;  // has found damage that a victim passed on

  bool closing_ = false;  // it has closed and will exit
  int close_stage_ = 0;
  bool told_to_drain_ = false;
  bool draining_ = false;
  std::size_t barriers_open_ = 0;  // of the application
  // Canary: what has been handed out and is not handled yet.
  struct Late {
    Peer sender;
    std::string name;
    std::string data;
    std::uint64_t request_id = 0;
  };
  std::deque<Late> late_;
  bool turned_ = false;         // a turn has ended since something happened here
  bool events_done_ = false;    // in this turn; what that has queued is to be written
  bool events_closed_ = false;  // of one that closes
  int probes_left_ = 0;
  std::size_t probe_at_ = 0;
  bool probes_events_ = false;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_PROCESS_H_
