// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint does when its loop calls: read and hand out alerts, write what waits, tell the
// application, and end.
//
// The application may do anything inside a handler or hook. Two rules make that safe: whatever
// calls it holds the endpoint (`alive`), and while it runs (`handling_`) nothing else is handed
// out, not even by a loop that it runs itself.
#include <absl/strings/escaping.h>
#include <cxxabi.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <typeinfo>
#include <utility>

#include "endpoint_impl.h"
#include "os/calls.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// What callbacks publish without end does not keep a Poll from returning.
constexpr int kPollTurnsMax = 1024;

// Hooks are called from libuv's C frames, through which no exception can pass: one that throws ends
// the program. The copy of the pointer lets a hook replace itself.
template <typename Hook, typename... Args>
void CallHook(bool* handling, std::shared_ptr<Hook> hook, const Args&... args) noexcept {
  if (hook == nullptr) return;
  const bool outer = std::exchange(*handling, true);
  (*hook)(args...);
  *handling = outer;
}

// What is printed where nobody listens.
void PrintHandlerError(const Diagnostic& report) {
  const std::string name = absl::CHexEscape(View(report.name));
  const std::string exception(report.exception);
  std::fprintf(stderr, "alertpipe: the handler for \"%s\" threw %s (%llu since the last line)\n",
               name.c_str(), exception.c_str(), static_cast<unsigned long long>(report.count));
}

}  // namespace

// ---- Turns ----

void EndpointImpl::UpdateBusy() {
  // What called the application goes on when it returns. A loop that runs inside of it ends its
  // turns here before it waits.
  if (!on_loop() || handling_) return;
  const bool finished = state_ == State::kClosing && (core_.AllWritten() || close_deadline_passed_);
  const bool observed = observer_ != nullptr && observer_->WantsTurn();
  pump_->SetBusy(core_.dirty() || HasEvents() || core_.inbox().pending() || finished ||
                 lingering_ || observed || (!read_failed_ && WantsRead()));
  pump_->PauseInbox(read_failed_);
  ArmWake();
}

void EndpointImpl::OnWritable(int slot) {
  if (!guard_.InOwner()) return;
  pump_->StopWritable(slot);
  core_.Unblocked(slot);
  FlushSlot(slot, false);
  UpdateBusy();
}

bool EndpointImpl::HasTurnWork() const {
  return core_.dirty() || HasEvents() || state_ != State::kOpen || core_.draining() ||
         ObserverHasWork() || DiagnosticsDue() || core_.page().alerts_stale.Get() != stale_noted_ ||
         core_.page().rejects_dropped.Get() != rejects_dropped_noted_;
}

void EndpointImpl::OnTurnEnd() {
  // A process that was forked from here may run a copy of the loop: it must not write or read in
  // this one's name.
  if (!guard_.InOwner()) return;
  if (handling_) {
    // A loop that runs inside a handler: writing is fine, calling the application is not.
    FlushDirty();
    if (!on_loop()) return;
    pump_->SetBusy(core_.dirty());
    ArmWake();
    return;
  }
  core_.BeginTurn();
  if (!HasTurnWork()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  FlushDirty();
  if (HasEvents()) TellEvents(false);
  if (ObserverHasWork()) TellObserver();
  if (!guard_.InOwner()) return;  // forked by one of its callbacks
  if (state_ == State::kClosed) DiscardArrivals();
  TellDiagnostics(false);
  StepDrain();
  if (state_ == State::kClosing && (core_.AllWritten() || close_deadline_passed_)) FinishClose();
  UpdateBusy();
}

void EndpointImpl::TellObserver() {
  const bool outer = std::exchange(handling_, true);
  observer_->OnTurn();
  handling_ = outer;
  if (guard_.InOwner()) FlushDirty();
}

void EndpointImpl::OnBeforeWait() {
  if (!heard_ || handling_ || !guard_.InOwner()) return OnTurnEnd();
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  OnTurnEnd();
  Linger(alive);
}

// Nothing else is to be done. Of a full pipe, that it has room is heard in the loop only.
bool EndpointImpl::MayLinger() const {
  return guard_.InOwner() && state_ == State::kOpen && !read_failed_ && !WantsRead() &&
         core_.AllWritten() && !HasTurnWork() && !core_.inbox().pending();
}

// Whoever is answered often answers in less time than it takes to fall asleep and to be woken. Each
// read that found something is a turn of its own.
void EndpointImpl::Linger(const std::shared_ptr<EndpointImpl>& self) {
  int tries = 0;
  while (tries < linger_ && TurnHasRoom() && MayLinger()) {
    os::calls().sched_yield();
    pump_->UpdateTime();  // timers that handlers start count from it
    const std::size_t before = bytes_read_;
    ReadOn(self);
    if (bytes_read_ == before) {
      ++tries;
      continue;
    }
    tries = 0;
    ++handled_;  // whatever was in it: who has little to say must not hold the loop up
    OnTurnEnd();
  }
  // The loop would wait for its timers from when it has read its clock last.
  if (on_loop()) pump_->UpdateTime();
  heard_ = lingering_ = tries < linger_ && !TurnHasRoom() && MayLinger();
  UpdateBusy();
}

void EndpointImpl::OnMoreWork() {
  if (handling_ || !guard_.InOwner()) return;
  const bool pending = core_.inbox().pending();
  const bool reads = !read_failed_ && WantsRead();
  if (!pending && (!reads || !TurnHasRoom())) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  if (!pending) (void)ReadOnce();
  HandleArrivals(alive);
  UpdateBusy();
}

void EndpointImpl::OnReadable() {
  if (!guard_.InOwner()) return;
  if (handling_) {
    // The inbox stays readable until the handler has returned: do not let its loop spin on that.
    pump_->PauseInbox(true);
    return;
  }
  if (core_.inbox().pending() || !TurnHasRoom()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  heard_ = linger_ > 0;
  ReadOn(alive);
  UpdateBusy();
}

// ---- Receiving ----

// A relative may have cleared O_NONBLOCK. Where the kernel cannot be told call by call not to wait,
// the flag is checked before.
void EndpointImpl::EnsureNonBlocking(int fd) {
  if (wiring_.kernel.nowait || !os::RestoreNonBlocking(fd)) return;
  core_.page().nonblock_restored.Add();
  diagnostics_.Note(Diagnostic::Kind::kNonblockRestored);
}

// A read that brings a full packet or more is one of many: the next packet is on its way, and to
// read on costs less than to ask the loop whether it has come. (Stream of 1 MB: twice as fast.)
void EndpointImpl::ReadOn(const std::shared_ptr<EndpointImpl>& self) {
  std::size_t bytes;
  do {
    bytes = ReadOnce();
    HandleArrivals(self);
  } while (bytes >= core::kPacketBytesMax && MayTryInbox() && on_loop() && !read_failed_ &&
           TurnHasRoom() && !core_.inbox().pending());
}

// Returns the bytes that came.
std::size_t EndpointImpl::ReadOnce() {
  core::CounterPage& page = core_.page();
  EnsureNonBlocking(wiring_.inbox_fd);
  core::Inbox& inbox = core_.inbox();
  const std::size_t room = inbox.space_bytes();
  const os::IoResult result = io_.Read(wiring_.inbox_fd, inbox.space(), room);
  leaving_read_ = result.bytes < room;
  page.reads.Add();
  if (result.error != 0) (result.error == EAGAIN ? page.reads_empty : page.read_errors).Add();
  if (result.error != 0 && result.error != EAGAIN) {
    diagnostics_.Note(Diagnostic::Kind::kReadFailed).error = result.error;
    read_failed_ = true;
    RetryLater();
  }
  // An empty pipe is a packet boundary as well.
  inbox.Received(result.error == 0 ? result.bytes : 0);
  bytes_read_ += result.bytes;
  return result.bytes;
}

void EndpointImpl::HandleArrivals(const std::shared_ptr<EndpointImpl>& self) {
  core::Arrival arrival;
  for (; handled_ < alerts_per_turn_max_; ++handled_) {
    core_.NextArrival(&arrival);
    if (arrival.kind == core::Arrival::Kind::kAlert) {
      HandleAlert(arrival, self);
    } else if (arrival.kind == core::Arrival::Kind::kNone) {
      if (leaving_read_ && !leaving_.empty()) EndLeaving();
      return;
    } else {
      HandleOther(arrival);
    }
    if (!guard_.InOwner()) return;  // forked by that handler
    if (state_ == State::kClosed) {
      DiscardArrivals();
      // What the rest of that handler or callback has left to tell: the end of a Gather.
      TellEvents(true);
      TellDiagnostics(true);  // the handler may have thrown after it had closed
      return;
    }
  }
}

void EndpointImpl::HandleOther(const core::Arrival& arrival) {
  NoteArrival(arrival);
  if (arrival.kind == core::Arrival::Kind::kDamage) {
    CallHook(&handling_, on_damage, arrival.damage);
  } else if (arrival.kind == core::Arrival::Kind::kResponse) {
    HandleResponse(arrival);
  }
}

void EndpointImpl::HandleAlert(const core::Arrival& arrival,
                               const std::shared_ptr<EndpointImpl>& self) {
  Handler* handler = handlers_.Begin(arrival.name);
  if (handler == nullptr) {
    handlers_.End();
    CountUnhandled(arrival);
    if (!IsOfEvents(arrival.name))
      diagnostics_.Note(Diagnostic::Kind::kUnhandled, arrival.sender, 1, arrival.name);
    if (arrival.request_id != 0) core_.Unhandled(arrival.sender, arrival.request_id);
    return;
  }
  if (arrival.sent_ns != 0) core_.NoteLatency(arrival, os::MonotonicNanos());
  core_.page().alerts_delivered.Add();
  core_.page().bytes_delivered.Add(arrival.name.size() + arrival.data.size());
  Alert alert(arrival.name, arrival.data, arrival.sender, arrival.request_id, arrival.collected,
              self);
  CallGuarded(arrival.sender, arrival.name, [&] { (*handler)(alert); });
  handlers_.End();
  if (alert.request_id_ != 0) core_.Unhandled(arrival.sender, alert.request_id_);
}

void EndpointImpl::HandleResponse(const core::Arrival& arrival) {
  if (arrival.sent_ns != 0) core_.NoteLatency(arrival, os::MonotonicNanos());
  core_.page().alerts_delivered.Add();
  core_.page().bytes_delivered.Add(arrival.data.size());
  Response response(arrival.sender, arrival.data, arrival.collected);
  CallResponse(core_.TakeResponse(arrival), &response);
}

void EndpointImpl::CallResponse(ResponseCallback callback, Response* response) {
  CallGuarded(response->peer(), {}, [&] {
    // What it holds is destroyed as a part of the call.
    ResponseCallback call = std::move(callback);
    call(*response);
  });
}

// Calls the application; what it throws is reported.
template <typename Call>
void EndpointImpl::CallGuarded(const Peer& peer, std::string_view name, Call call) {
  const bool outer = std::exchange(handling_, true);
  try {
    call();
  } catch (abi::__forced_unwind&) {
    throw;  // a cancelled thread, not an error
  } catch (...) {
    core_.page().handler_errors.Add();
    ReportHandlerError(peer, name);
  }
  handling_ = outer;
}

void EndpointImpl::CountUnhandled(const core::Arrival& arrival) {
  core_.page().alerts_unhandled.Add();
  core_.page().bytes_unhandled.Add(arrival.name.size() + arrival.data.size());
}

// Called inside the catch clause.
void EndpointImpl::ReportHandlerError(const Peer& sender, std::string_view handler) {
  const std::type_info* type = abi::__cxa_current_exception_type();
  diagnostics_.Note(Diagnostic::Kind::kHandlerThrew, sender, 1, handler).exception =
      type != nullptr ? type->name() : "an unknown exception";
  CallHook(&handling_, on_handler_error, HandlerError{sender, handler, std::current_exception()});
}

// What has been read and will not be handed out any more counts as unhandled. No request is open
// any more, so there are no responses among it.
void EndpointImpl::DiscardArrivals() {
  core::Arrival arrival;
  for (core_.NextArrival(&arrival); arrival.kind != core::Arrival::Kind::kNone;
       core_.NextArrival(&arrival)) {
    if (arrival.kind != core::Arrival::Kind::kAlert) continue;
    CountUnhandled(arrival);
    if (arrival.request_id != 0) core_.Unhandled(arrival.sender, arrival.request_id);
  }
  FlushAll();
}

// ---- Telling ----

// `all`: now and not in bounded portions, turn by turn. A hook that destroys the endpoint makes it
// `all` for the rest: what that hook looks at must stay, so it cannot be told from inside.
void EndpointImpl::TellEvents(bool all) {
  tell_all_ = tell_all_ || all;
  telling_ = true;
  for (int told = 0; tell_all_ || told < alerts_per_turn_max_; ++told) {
    if (!TellOne()) break;
  }
  telling_ = false;
  if (state_ == State::kClosed) on_undelivered.reset();
}

bool EndpointImpl::TellOne() {
  core::Event event;
  if (core_.NextEvent(&event)) {
    Tell(event);
    return true;
  }
  core::EndedRequest ended;
  if (core_.NextEnded(&ended)) {
    Response response(ended.outcome, ended.peer);
    CallResponse(std::move(ended.callback), &response);
    return true;
  }
  core::EndedBarrier barrier;
  if (core_.NextEndedBarrier(&barrier)) {
    CallGuarded(core_.self(), {}, [&] {
      BarrierCallback call = std::move(barrier.callback);
      call(barrier.report);
    });
    return true;
  }
  if (later_.empty()) return false;
  CallGuarded(core_.self(), {}, [&] {
    absl::AnyInvocable<void()> call = std::move(later_.front());
    later_.pop_front();
    call();
  });
  return true;
}

// What may call the application.
void EndpointImpl::Observed(void (EndpointObserver::*call)(const Peer&), const Peer& peer) {
  const bool outer = std::exchange(handling_, true);
  (observer_->*call)(peer);
  handling_ = outer;
}

void EndpointImpl::Tell(const core::Event& event) {
  switch (event.kind) {
    case core::Event::Kind::kUndelivered:
      if (observer_ != nullptr && observer_->OnUndelivered(event.undelivered)) return;
      if (IsOfEvents(event.undelivered.name)) return;  // the Events have ended before
      return CallHook(&handling_, on_undelivered, event.undelivered);
    case core::Event::Kind::kDrained:
      if (observer_ != nullptr) observer_->OnDrained(event.peer);
      return CallHook(&handling_, on_drained, event.peer);
    case core::Event::Kind::kJoined:
      if (observer_ != nullptr) Observed(&EndpointObserver::OnJoined, event.peer);
      CallHook(&handling_, on_joined, event.peer);
      return CheckWaits(0);
    case core::Event::Kind::kLeft:
      if (observer_ != nullptr) Observed(&EndpointObserver::OnLeft, event.peer);
      return CallHook(&handling_, on_left, event.peer);
    case core::Event::Kind::kDied:
      if (observer_ != nullptr) observer_->OnDied(event.peer);
      return;
    case core::Event::Kind::kDraining:
      if (on_draining == nullptr) return BeginDrain();
      return CallHook(&handling_, on_draining, event.peer);
  }
}

// ---- Diagnostics ----

void EndpointImpl::NoteIo(Diagnostic::Kind kind, int slot, int error) {
  const core::RosterWord word = core_.roster().Get(slot);
  const Peer peer = {static_cast<pid_t>(word.pid), slot, word.generation};
  diagnostics_.Note(kind, peer).error = error;
}

void EndpointImpl::NoteArrival(const core::Arrival& arrival) {
  using Kind = Diagnostic::Kind;
  if (arrival.kind == core::Arrival::Kind::kReject) {
    const bool full = arrival.reason == UndeliveredReason::kReceiverFull;
    Diagnostic& event =
        diagnostics_.Note(full ? Kind::kRejectedFull : Kind::kRejectedMemory, arrival.sender);
    event.limit = core_.roster().settings().reassembly_bytes_max;
    event.value = core_.meter().reassembly_bytes();
  } else if (arrival.kind == core::Arrival::Kind::kDamage) {
    static constexpr Kind kKinds[] = {Kind::kDamagedFraming, Kind::kDamagedPacket,
                                      Kind::kDamagedRecord};
    const Damage& damage = arrival.damage;
    diagnostics_.Note(kKinds[static_cast<int>(damage.kind)], {0, damage.claimed_slot, 0}).value =
        damage.bytes_discarded;
  }
}

// What the core only counts.
void EndpointImpl::NoteCounters() {
  const std::uint64_t stale = core_.page().alerts_stale.Get();
  const std::uint64_t dropped = core_.page().rejects_dropped.Get();
  if (stale != stale_noted_)
    diagnostics_.Note(Diagnostic::Kind::kStale, Peer(), stale - stale_noted_);
  if (dropped != rejects_dropped_noted_)
    diagnostics_.Note(Diagnostic::Kind::kRejectsDropped, Peer(), dropped - rejects_dropped_noted_);
  stale_noted_ = stale;
  rejects_dropped_noted_ = dropped;
}

// `all`: also what the limit of one report a second has held back.
void EndpointImpl::TellDiagnostics(bool all) {
  NoteCounters();
  if (telling_diagnostics_ || !(all || diagnostics_.due())) return;
  telling_diagnostics_ = true;
  Diagnostic report;
  for (int i = 0; i < Diagnostic::kKinds; ++i) {
    const auto kind = static_cast<Diagnostic::Kind>(i);
    const bool to_stderr = on_diagnostic == nullptr && on_handler_error == nullptr &&
                           kind == Diagnostic::Kind::kHandlerThrew;
    if (on_diagnostic == nullptr && !to_stderr) continue;
    if (!diagnostics_.Take(kind, all, &report)) continue;
    if (to_stderr) {
      PrintHandlerError(report);
    } else {
      CallHook(&handling_, on_diagnostic, report);
    }
  }
  telling_diagnostics_ = false;
}

void EndpointImpl::Observe(EndpointObserver* observer) {
  observer_ = observer;
  if (observer == nullptr) return;
  was_observed_ = true;
  core_.WantDeaths();
}

void EndpointImpl::Poll() {
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  handled_ = 0;
  bytes_read_ = 0;
  std::size_t bytes = 0;
  do {
    // What the last turn has left comes first.
    do {
      HandleArrivals(alive);
      handled_ = 0;
    } while (guard_.InOwner() && on_loop() && core_.inbox().pending());
    bytes = guard_.InOwner() && on_loop() && !read_failed_ && TurnHasRoom() ? ReadOnce() : 0;
  } while (bytes > 0);
  bool more = true;
  for (int turns = 0; turns < kPollTurnsMax && more && guard_.InOwner(); ++turns) {
    OnTurnEnd();
    more = on_loop() && observer_ != nullptr && observer_->WantsTurn();
  }
}

void EndpointImpl::OnLifeline() {
  if (!guard_.InOwner() || handling_ || !is_master_gone_ || !is_master_gone_()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  pump_->ForgetLifeline();
  MasterGone();
  CallHook(&handling_, on_master_gone);
  if (state_ == State::kClosed) DiscardArrivals();
  UpdateBusy();
}

void EndpointImpl::NoticesChanged() {
  core_.NoticesChanged();
  if (on_loop()) {
    UpdateBusy();
  } else {
    FlushDirty();
  }
}

void EndpointImpl::ServiceDetached() {
  for (int slot = 1; slot < core_.roster().slots(); ++slot) core_.Unblocked(slot);
  core_.NoticesChanged();
  FlushDirty();
  TellEvents(true);
  tell_all_ = false;
  TellDiagnostics(false);
}

// ---- The end ----

absl::Status EndpointImpl::Close(absl::Duration deadline, Endpoint::CloseHook done) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (observer_ != nullptr) observer_->OnClosing();
  FlushAll();
  state_ = State::kClosing;
  close_done_ = std::move(done);
  undelivered_before_close_ = core_.page().alerts_undelivered.Get();
  close_deadline_passed_ = deadline <= absl::ZeroDuration();
  pump_->KeepAlive();
  if (!close_deadline_passed_ && !core_.AllWritten() && deadline < absl::InfiniteDuration()) {
    const int64_t milliseconds =
        absl::ToInt64Milliseconds(absl::Ceil(deadline, absl::Milliseconds(1)));
    if (pump_->StartDeadline(static_cast<uint64_t>(milliseconds)) != 0)
      close_deadline_passed_ = true;
  }
  UpdateBusy();
  return absl::OkStatus();
}

void EndpointImpl::OnDeadline() {
  if (!guard_.InOwner()) return;
  close_deadline_passed_ = true;
  UpdateBusy();
}

void EndpointImpl::FinishClose() {
  CloseReport report;
  report.deadline_passed = !core_.AllWritten();
  EnterClosed();
  DiscardArrivals();
  TellEvents(true);
  TellDiagnostics(true);
  report.undelivered_alerts = core_.page().alerts_undelivered.Get() - undelivered_before_close_;
  if (!close_done_) return;
  CallHook(&handling_, std::make_shared<Endpoint::CloseHook>(std::move(close_done_)), report);
}

void EndpointImpl::EnterClosed() {
  core_.FailAll(UndeliveredReason::kClosed);
  CancelWaits();
  state_ = State::kClosed;
  CloseHandles();
  if (on_closed) on_closed();
}

void EndpointImpl::CloseHandles() {
  if (pump_.has_value()) pump_->Close();
}

void EndpointImpl::Shutdown() {
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  if (!guard_.InOwner()) {
    // Only a copy: neither the handles nor the counters may be touched.
    if (pump_.has_value()) pump_->Abandon();
    LeakReference(alive);
    return;
  }
  close_done_ = nullptr;
  if (on_loop()) {
    if (observer_ != nullptr && state_ == State::kOpen) observer_->OnClosing();
    FlushAll();
    EnterClosed();
    if (!handling_) DiscardArrivals();
    if (telling_) {
      tell_all_ = true;
    } else {
      TellEvents(true);
    }
  }
  TellDiagnostics(true);
  on_diagnostic.reset();
  handlers_.Clear();
  for (auto* hook : {&on_drained, &on_joined, &on_left, &on_draining}) hook->reset();
  if (!telling_) on_undelivered.reset();
  on_handler_error.reset();
  on_damage.reset();
  on_master_gone.reset();
}

void EndpointImpl::LastWords() {
  if (!on_loop()) return;
  // From here on nothing may reach the loop, whatever the callbacks do.
  pump_->Abandon();
  state_ = State::kClosed;
  FlushAll();
  if (observer_ != nullptr) observer_->OnLastWords();
  core_.FailAll(UndeliveredReason::kClosed);
  CancelWaits();
  TellEvents(true);
  TellDiagnostics(true);
}

}  // namespace alertpipe::internal
