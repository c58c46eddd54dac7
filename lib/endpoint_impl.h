// SPDX-License-Identifier: Apache-2.0
//
// An endpoint at work: the protocol (core), the pipes (os) and the loop (uv) put together. Worker
// and Master own one each. It lives in a shared_ptr: while a handler or hook runs, the stack holds
// one too, so that the application may destroy its Worker anywhere.
//
// Without a loop (a master before Attach) it can only carry the master's notices.
#ifndef ALERTPIPE_ENDPOINT_IMPL_H_
#define ALERTPIPE_ENDPOINT_IMPL_H_

#include <alertpipe/endpoint.h>
#include <alertpipe/worker.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "core/endpoint.h"
#include "core/events/events_memory.h"
#include "core/handler_table.h"
#include "diagnostics.h"
#include "endpoint_observer.h"
#include "os/fork_guard.h"
#include "os/kernel.h"
#include "os/pipe.h"
#include "uv/pump.h"

namespace alertpipe::internal {

// Keeps what a forked process has only a copy of from being destroyed there: closing or freeing it
// would reach what belongs to the process that it was forked from.
template <typename T>
void LeakReference(std::shared_ptr<T> reference) {
  static auto* const kept = new std::vector<std::shared_ptr<void>>();
  kept->push_back(std::move(reference));
}

// What an endpoint is connected to. The descriptors stay the family's; they outlive the endpoint.
struct Wiring {
  core::Roster roster;
  Peer self;
  core::CounterPage* page = nullptr;
  core::NoticeBoard* notices = nullptr;  // the master's
  core::EventsMemory events;             // not valid in a family without events
  os::Kernel kernel;
  int inbox_fd = -1;
  std::vector<int> outbox_fds;  // by slot
  std::shared_ptr<void>
      keep;  // what all of the above belongs to, if that can end before the endpoint
};

class EndpointImpl final : public std::enable_shared_from_this<EndpointImpl>,
                           private uv::PumpClient {
 public:
  static absl::StatusOr<std::shared_ptr<EndpointImpl>> Create(Wiring wiring);
  ~EndpointImpl();
  EndpointImpl(const EndpointImpl&) = delete;
  EndpointImpl& operator=(const EndpointImpl&) = delete;

  absl::Status Attach(uv_loop_t* loop, const AttachOptions& options);
  // Undoes Attach, when what has to go with it failed.
  void Detach() {
    pump_->Close();
    state_ = State::kDetached;
  }
  // Calls `gone` once when `is_gone` says so; asked whenever `fd` is readable, and every `check_ms`
  // if not 0.
  absl::Status WatchLifeline(int fd, uint64_t check_ms, std::function<bool()> is_gone);

  // The functions of Endpoint.
  SendResult Send(const To& to, std::string_view name, std::string_view data, Buffer* owned);
  BroadcastResult Broadcast(std::string_view name, std::string_view data, Buffer* owned,
                            Scope scope);
  // The same, with what became of it for each receiver that has accepted it.
  struct Accepted {
    int slot = -1;
    std::uint32_t generation = 0;
    std::uint64_t alert_id = 0;
  };
  BroadcastResult Broadcast(std::string_view name, std::string_view data, Scope scope,
                            std::vector<Accepted>* accepted);
  absl::Status Flush();
  SendResult Request(const To& to, std::string_view name, std::string_view data, Buffer* owned,
                     absl::Duration deadline, ResponseCallback callback);
  BroadcastResult Gather(std::string_view name, std::string_view data, absl::Duration deadline,
                         ResponseCallback each, GatherDone done, Scope scope);
  absl::Status WhenWorkers(int count, absl::Duration deadline, WorkersCallback callback);
  // Of one receiver, or with null of those in `scope`.
  absl::Status Barrier(const To* to, Scope scope, absl::Duration deadline,
                       BarrierCallback callback);
  // Of Worker.
  absl::Status Drain(Endpoint::CloseHook done);
  // Of Alert and ResponseToken.
  SendResult Respond(const Peer& to, std::uint64_t request_id, std::string_view data,
                     Buffer* owned);
  void GiveUpRequest(const Peer& to, std::uint64_t request_id);
  // A request is held that will be responded to, or not any more.
  void HoldRequest() { ++requests_held_; }
  void LetRequestGo() { --requests_held_; }
  absl::Status CheckHandlerName(std::string_view name);
  absl::Status Close(absl::Duration deadline, Endpoint::CloseHook done);
  // As ~Endpoint.
  void Shutdown();
  // As Shutdown, where the loop may be gone: what is left is written and told, handles stay.
  void LastWords();
  std::vector<Peer> Workers() const;

  // kFailedPrecondition unless the endpoint is attached and open. Ends the program when called on a
  // wrong thread.
  absl::Status CheckOpen() const;
  bool IsOpen() const {
    return state_ == State::kOpen && guard_.InOwner() && thread_ == std::this_thread::get_id();
  }
  // The same; an endpoint that is closing may still respond.
  absl::Status CheckMayRespond() const;
  absl::Status CheckOwner() const;
  void CheckThread() const;

  core::Endpoint& core() { return core_; }
  core::HandlerTable& handlers() { return handlers_; }
  void WithholdEvents();
  const Wiring& wiring() const { return wiring_; }
  bool on_loop() const { return state_ == State::kOpen || state_ == State::kClosing; }
  bool in_owner() const { return guard_.InOwner(); }

  // The master's notices have changed: writes them now if there is no loop to do it at the end of
  // its turn.
  void NoticesChanged();
  // Writes what could not be written before and calls hooks, without a loop.
  void ServiceDetached();
  // What is noted here is told at the end of the turn.
  Diagnostics& diagnostics() { return diagnostics_; }
  // Calls the application from the loop, or while the endpoint ends.
  void TellLater(absl::AnyInvocable<void()> call);
  int alerts_per_turn_max() const { return alerts_per_turn_max_; }
  // Whether the last read has failed, for another reason than that there is nothing.
  bool read_failed() const { return read_failed_; }
  // Whether a handler or hook runs.
  bool handling() const { return handling_; }
  // Reads what is there and hands it out, and does what else the end of a turn does.
  void Poll();
  // Who is told what happens; null: nobody. It must outlive the endpoint, or take itself back.
  void Observe(EndpointObserver* observer);
  bool was_observed() const { return was_observed_; }
  // There may be events: the loop should turn soon.
  void Wake() { UpdateBusy(); }
  // Called when the endpoint has closed, by Close or Shutdown: for what else its owner has on the
  // loop.
  std::function<void()> on_closed;
  // In a worker that goes on with the master's loop, after uv_loop_fork: closes the master's
  // handles there.
  void CloseHandles();
  uv_loop_t* loop() const { return on_loop() ? pump_->loop() : nullptr; }

  // Hooks; shared so that a hook may replace itself while it runs.
  template <typename Hook>
  using Shared = std::shared_ptr<Hook>;
  Shared<Endpoint::UndeliveredHook> on_undelivered;
  Shared<Endpoint::HandlerErrorHook> on_handler_error;
  Shared<Endpoint::PeerHook> on_drained;
  Shared<Endpoint::PeerHook> on_joined;
  Shared<Endpoint::PeerHook> on_left;
  Shared<Endpoint::DamageHook> on_damage;
  Shared<Endpoint::DiagnosticHook> on_diagnostic;
  Shared<absl::AnyInvocable<void()>> on_master_gone;
  Shared<Endpoint::PeerHook> on_draining;

 private:
  enum class State : std::uint8_t { kDetached, kOpen, kClosing, kClosed };

  EndpointImpl(Wiring wiring, os::ForkGuard guard);

  // uv::PumpClient
  void OnReadable() override;
  void OnWritable(int slot) override;
  void OnTurnEnd() override;
  void OnBeforeWait() override;
  void OnNewTurn() override {
    handled_ = 0;
    bytes_read_ = 0;
  }
  void OnMoreWork() override;
  void OnDeadline() override;
  void OnWake() override;
  void OnLifeline() override;

  // Counts it.
  absl::Status Refused(absl::Status status, std::size_t bytes, bool full = false);
  struct Payload;
  // What a request is made with besides its content.
  struct RequestTerms {
    std::uint64_t deadline = core::kNever;
    ResponseCallback callback;
  };
  using MakeTerms = std::function<RequestTerms()>;
  struct GatherState;
  struct Wait {
    int count = 0;
    std::uint64_t deadline = core::kNever;
    WorkersCallback callback;
  };
  Outcome WritePlain(core::PlainStep step, const core::PlainWay& way);
  SendResult SendContent(const To& to, core::Content content, Buffer* owned, RequestTerms* request);
  BroadcastResult BroadcastContent(core::Content content, Buffer* owned, Scope scope,
                                   const MakeTerms* make_terms, std::vector<Accepted>* accepted);
  absl::Status PrepareContent(core::Content* content, Buffer* owned, Payload* payload);
  SendResult Deliver(const core::Target& target, const core::Content& content, Payload* payload,
                     bool first_charge);
  SendResult DeliverRequest(const core::Target& target, core::Content content, Payload* payload,
                            bool first_charge, RequestTerms* terms);
  void TellRefused(ResponseCallback callback, const Peer& peer, const absl::Status& refusal);
  void CallResponse(ResponseCallback callback, Response* response);
  template <typename Call>
  void CallGuarded(const Peer& peer, std::string_view name, Call call);
  void HandleResponse(const core::Arrival& arrival);
  void CheckWaits(std::uint64_t now);
  void CancelWaits();
  void EndWait(Wait* wait, absl::Status status);
  void ArmWake();
  void MasterGone();
  bool MayVanish(int slot) const;
  bool AnyMayVanish() const;
  void AskForReaders(std::uint64_t now);
  void RetryLater();
  void Retry();
  void StepDrain();
  void BeginDrain();
  void Leaving(int slot);
  void EndLeaving();
  bool HasEvents() const { return core_.has_events() || !later_.empty(); }
  void TellObserver();
  void Observed(void (EndpointObserver::*call)(const Peer&), const Peer& peer);
  bool ObserverHasWork() const { return observer_ != nullptr && observer_->HasWork(); }
  bool WantsRead() const {
    return !leaving_.empty() || core_.wants_read() ||
           (observer_ != nullptr && observer_->WantsRead());
  }
  bool TellOne();
  void SettleLent(int slot, Payload* payload, bool everything);
  void FlushSlot(int slot, bool full_only);
  void WaitForRoom(int slot, int fd, int write_error);
  void FlushDirty();
  void EnsureNonBlocking(int fd);
  // What may be read and handled before the loop's other descriptors get their turn.
  static constexpr std::size_t kBytesPerTurnMax = 1048576;
  bool TurnHasRoom() const {
    return handled_ < alerts_per_turn_max_ && bytes_read_ < kBytesPerTurnMax;
  }
  // Whether to read although nobody has said that there is anything. Not in a child that a handler
  // has forked; and only where no relative can make such a read wait.
  bool MayTryInbox() const { return wiring_.kernel.nowait && guard_.InOwner(); }
  std::size_t ReadOnce();
  void ReadOn(const std::shared_ptr<EndpointImpl>& self);
  bool HasTurnWork() const;
  bool MayLinger() const;
  void Linger(const std::shared_ptr<EndpointImpl>& self);
  void HandleArrivals(const std::shared_ptr<EndpointImpl>& self);
  void DiscardArrivals();
  void HandleOther(const core::Arrival& arrival);
  bool IsOfEvents(std::string_view name) const;
  void HandleAlert(const core::Arrival& arrival, const std::shared_ptr<EndpointImpl>& self);
  void CountUnhandled(const core::Arrival& arrival);
  void ReportHandlerError(const Peer& sender, std::string_view name);
  void FlushAll();
  void TellEvents(bool all);
  void Tell(const core::Event& event);
  void NoteIo(Diagnostic::Kind kind, int slot, int error);
  void NoteArrival(const core::Arrival& arrival);
  void NoteCounters();
  // Of those that somebody wants told: without a hook, what goes to stderr.
  bool DiagnosticsDue() const {
    return on_diagnostic != nullptr
               ? diagnostics_.due()
               : diagnostics_.due(Diagnostic::Kind::kHandlerThrew) && on_handler_error == nullptr;
  }
  void TellDiagnostics(bool all);
  void UpdateBusy();
  void FinishClose();
  void EnterClosed();

  Wiring wiring_;
  os::ForkGuard guard_;
  os::PipeIo io_;
  core::Endpoint core_;
  core::HandlerTable handlers_;
  std::thread::id thread_;
  State state_ = State::kDetached;
  std::optional<uv::Pump> pump_;
  int alerts_per_turn_max_ = 1;
  int linger_ = 0;
  bool heard_ = false;          // something was read since the loop waited last
  bool lingering_ = false;      // the loop has to turn before lingering goes on
  int handled_ = 0;             // in this turn
  std::size_t bytes_read_ = 0;  // the same
  bool handling_ = false;       // inside a handler or hook: a nested uv_run must not deliver
  bool telling_ = false;        // inside TellEvents
  bool tell_all_ = false;
  std::vector<int> flushing_;               // reused
  std::vector<core::Target> broadcasting_;  // reused
  int requests_held_ = 0;                   // tokens

  std::deque<absl::AnyInvocable<void()>> later_;  // to be called from the loop
  std::vector<Wait> waits_;
  std::uint64_t wake_at_ = core::kNever;  // when OnWake will be called

  // A pipe refused for another reason than that it is full or empty. The loop would call it ready
  // at once, and be busy for as long as the reason lasts: so it is tried again at this time.
  std::uint64_t retry_at_ = core::kNever;
  bool read_failed_ = false;  // the inbox is not listened to until then

  std::function<bool()> is_master_gone_;
  // Without a master nobody tells of deaths: a write finds them, and whether peers with open
  // requests are still there is asked. Those that are not are leaving_ until all that they have
  // written has been handed out.
  bool orphaned_ = false;
  std::uint64_t ask_at_ = 0;
  std::vector<int> leaving_;
  bool leaving_read_ = false;  // the inbox was found empty since the last of them was found
  bool close_deadline_passed_ = false;
  std::uint64_t undelivered_before_close_ = 0;
  Endpoint::CloseHook close_done_;
  Endpoint::CloseHook drain_done_;

  EndpointObserver* observer_ = nullptr;
  bool was_observed_ = false;
  Diagnostics diagnostics_;
  bool telling_diagnostics_ = false;
  std::uint64_t stale_noted_ = 0;            // of alerts_stale
  std::uint64_t rejects_dropped_noted_ = 0;  // of rejects_dropped
};

}  // namespace alertpipe::internal

#endif  // ALERTPIPE_ENDPOINT_IMPL_H_
