// SPDX-License-Identifier: Apache-2.0
#include "endpoint_impl.h"

#include <cxxabi.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <typeinfo>
#include <utility>

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include "core/check.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

// What one receiver may take of a turn before the others, and the loop, get theirs.
constexpr std::size_t kBytesPerFlushMax = 1048576;
constexpr std::uint64_t kErrorLineIntervalNs = 1000000000;

absl::string_view View(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// Hooks are called from libuv's C frames, through which no exception can pass: one that throws ends
// the program. The copy of the pointer lets a hook replace itself.
template <typename Hook, typename... Args>
void CallHook(bool* handling, std::shared_ptr<Hook> hook, const Args&... args) noexcept {
  if (hook == nullptr) return;
  const bool outer = std::exchange(*handling, true);
  (*hook)(args...);
  *handling = outer;
}

}  // namespace

// Data on its way into outboxes: lent for the call, or handed over. Data that needs more than one
// packet gets a SharedData before anything is queued, so that nothing can fail once a part of it
// has been written.
struct EndpointImpl::Payload {
  std::string_view view;
  core::SharedData* shared = nullptr;
  bool owned = false;
  bool copied = false;  // all of a lent view is in `shared`

  Payload() = default;
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;
  ~Payload() {
    if (shared != nullptr) shared->Release();
  }

  absl::Status Prepare(std::string_view name, std::string_view data, Buffer* handed_over,
                       core::Meter* meter) {
    owned = handed_over != nullptr;
    view = owned ? handed_over->view() : data;
    if (core::Content{name, view}.fits_packet()) return absl::OkStatus();
    Buffer room;
    if (!owned) {
      absl::StatusOr<Buffer> allocated = Buffer::Allocate(view.size());
      if (!allocated.ok()) return allocated.status();
      room = *std::move(allocated);
    }
    shared = core::SharedData::Create(owned ? handed_over : &room, meter);
    if (shared == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory to queue an alert of ", view.size(), " bytes"));
    }
    return absl::OkStatus();
  }
};

EndpointImpl::EndpointImpl(Wiring wiring, os::ForkGuard guard)
    : wiring_(std::move(wiring)),
      guard_(std::move(guard)),
      io_(wiring_.kernel),
      core_(wiring_.roster, wiring_.self, wiring_.page, wiring_.notices),
      thread_(std::this_thread::get_id()) {}

EndpointImpl::~EndpointImpl() = default;

absl::StatusOr<std::shared_ptr<EndpointImpl>> EndpointImpl::Create(Wiring wiring) {
  absl::StatusOr<os::ForkGuard> guard = os::ForkGuard::Create(wiring.kernel.wipe_on_fork);
  if (!guard.ok()) return guard.status();
  return std::shared_ptr<EndpointImpl>(new EndpointImpl(std::move(wiring), *std::move(guard)));
}

absl::Status EndpointImpl::Attach(uv_loop_t* loop, const AttachOptions& options) {
  if (loop == nullptr) return absl::InvalidArgumentError("cannot attach to a null loop");
  if (options.alerts_per_turn_max < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("alerts_per_turn_max must be at least 1, was ", options.alerts_per_turn_max));
  }
  if (state_ != State::kDetached)
    return absl::FailedPreconditionError("this endpoint is attached to a loop already");
  if (!core_.inbox().Allocate()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a read buffer of ",
                     core_.roster().settings().pipe_capacity + core::kPacketBytesMax, " bytes"));
  }
  pump_.emplace(loop, static_cast<uv::PumpClient*>(this));
  const int error = pump_->Start(wiring_.inbox_fd, core_.roster().slots(), options.keep_loop_alive);
  if (error != 0) {
    pump_.reset();
    return absl::InternalError(absl::StrCat("libuv cannot watch the inbox: ", uv_strerror(error)));
  }
  alerts_per_turn_max_ = options.alerts_per_turn_max;
  thread_ = std::this_thread::get_id();
  state_ = State::kOpen;
  return absl::OkStatus();
}

absl::Status EndpointImpl::WatchLifeline(int fd, uint64_t check_ms, std::function<bool()> is_gone) {
  is_master_gone_ = std::move(is_gone);
  const int error = pump_->WatchLifeline(fd, check_ms);
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("libuv cannot watch the master: ", uv_strerror(error)));
}

// ---- Checks
// ---------------------------------------------------------------------------------------------------------

absl::Status EndpointImpl::CheckOwner() const {
  if (guard_.InOwner()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("this endpoint belongs to the process ",
                                                    wiring_.self.pid,
                                                    ", from which this one was forked"));
}

void EndpointImpl::CheckThread() const {
  ALERTPIPE_CHECK(thread_ == std::this_thread::get_id(),
                  "an endpoint was used on a thread that did not attach it");
}

absl::Status EndpointImpl::CheckOpen() const {
  if (absl::Status owner = CheckOwner(); !owner.ok()) return owner;
  CheckThread();
  switch (state_) {
    case State::kOpen:
      return absl::OkStatus();
    case State::kDetached:
      return absl::FailedPreconditionError("the master is not attached to a loop");
    case State::kClosing:
      return absl::FailedPreconditionError("this endpoint is closing");
    case State::kClosed:
      break;
  }
  return absl::FailedPreconditionError("this endpoint is closed");
}

absl::Status EndpointImpl::CheckHandlerName(std::string_view name) {
  if (absl::Status owner = CheckOwner(); !owner.ok()) return owner;
  CheckThread();
  if (state_ == State::kClosed) return absl::FailedPreconditionError("this endpoint is closed");
  return core_.CheckContent(name, 0);
}

// ---- Sending
// --------------------------------------------------------------------------------------------------------

SendResult EndpointImpl::Send(const To& to, std::string_view name, std::string_view data,
                              Buffer* owned) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  int slot = -1;
  absl::Status status = core_.CheckContent(name, owned != nullptr ? owned->size() : data.size());
  if (status.ok()) status = core_.Resolve(to, &slot);
  Payload payload;
  if (status.ok()) status = payload.Prepare(name, data, owned, &core_.meter());
  if (!status.ok()) {
    core_.CountRefused();
    return status;
  }
  SendResult result = Deliver(slot, name, &payload, true);
  SettleLent(slot, &payload, false);
  UpdateBusy();
  return result;
}

BroadcastResult EndpointImpl::Broadcast(std::string_view name, std::string_view data, Buffer* owned,
                                        Scope scope) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  absl::Status status = core_.CheckContent(name, owned != nullptr ? owned->size() : data.size());
  Payload payload;
  if (status.ok()) status = payload.Prepare(name, data, owned, &core_.meter());
  if (!status.ok()) {
    core_.CountRefused();
    return status;
  }
  std::vector<int> slots;
  core_.Select(scope, &slots);
  BroadcastResult result;
  for (const int slot : slots) {
    const bool first_charge = payload.shared == nullptr || result.accepted == 0;
    SendResult sent = Deliver(slot, name, &payload, first_charge);
    if (sent.ok()) {
      ++result.accepted;
      if (sent.outcome() == Outcome::kWritten) ++result.written;
    } else {
      const core::RosterWord word = core_.roster().Get(slot);
      result.refused.push_back(
          {{static_cast<pid_t>(word.pid), slot, word.generation}, sent.status()});
    }
  }
  for (const int slot : slots) SettleLent(slot, &payload, true);
  UpdateBusy();
  return result;
}

// Queues for one receiver, and writes if that is due.
SendResult EndpointImpl::Deliver(int slot, std::string_view name, Payload* payload,
                                 bool first_charge) {
  const core::Content content{name, payload->view};
  core::SharedData* held = payload->owned ? payload->shared : nullptr;
  core::Admission admission = core_.Accept(slot, content, held, payload->owned, first_charge);
  if (absl::IsResourceExhausted(admission.status) && !core_.AllWritten(slot)) {
    // The receiver may have read since its pipe was found full.
    FlushSlot(slot, false);
    admission = core_.Accept(slot, content, held, payload->owned, first_charge);
  }
  if (!admission.status.ok()) {
    core_.CountRefused();
    return std::move(admission.status);
  }
  const std::uint64_t failures = core_.failures(slot);
  if (admission.write_now) FlushSlot(slot, !admission.idle);
  const bool written = core_.AllWritten(slot) && core_.failures(slot) == failures;
  return SendResult(written ? Outcome::kWritten : Outcome::kQueued, admission.alert_id);
}

// What could not be written at once of data that was only lent is copied now. `everything`: other
// receivers share it.
void EndpointImpl::SettleLent(int slot, Payload* payload, bool everything) {
  if (!core_.NeedsLent(slot)) return;
  const core::Bulk* bulk = core_.Lent(slot);
  const bool whole = everything || core_.LentUntouched(slot);
  if (!payload->copied) {
    const std::size_t from = whole ? 0 : bulk->at;
    const std::size_t to = whole ? payload->view.size() : bulk->end;
    std::memcpy(payload->shared->data() + from, payload->view.data() + from, to - from);
    payload->copied = whole;
  }
  core_.SettleLent(slot, payload->shared, whole);
}

void EndpointImpl::FlushSlot(int slot, bool full_only) {
  iovec parts[core::Outbox::kPartsMax];
  const int fd = wiring_.outbox_fds[static_cast<std::size_t>(slot)];
  std::size_t written = 0;
  while (const int count = core_.NextWrite(slot, parts, full_only)) {
    const os::IoResult result = io_.Write(fd, parts, count);
    if (result.error == EPIPE) {
      core_.PeerGone(slot);
      return;
    }
    if (result.error != 0) {
      // EAGAIN: the pipe is full. Anything else (ENOMEM) is the kernel's shortage: wait as well.
      core_.Blocked(slot);
      if (on_loop() && !pump_->WaitWritable(slot, fd)) core_.Unblocked(slot);
      return;
    }
    core_.Wrote(slot, result.bytes);
    written += result.bytes;
    if (written >= kBytesPerFlushMax) break;
  }
  if (core_.HasOutput(slot)) core_.MarkDirty(slot);
}

void EndpointImpl::FlushDirty() {
  if (!core_.dirty()) return;
  flushing_.clear();
  core_.TakeDirty(&flushing_);
  for (const int slot : flushing_) FlushSlot(slot, false);
}

absl::Status EndpointImpl::Flush() {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  for (int slot = 0; slot < core_.roster().slots(); ++slot) {
    if (core_.HasOutput(slot)) FlushSlot(slot, false);
  }
  UpdateBusy();
  return absl::OkStatus();
}

std::vector<Peer> EndpointImpl::Workers() const {
  std::vector<Peer> workers;
  core_.Live(&workers);
  return workers;
}

// ---- The loop
// -------------------------------------------------------------------------------------------------------

void EndpointImpl::UpdateBusy() {
  if (!on_loop()) return;
  const bool finished = state_ == State::kClosing && (core_.AllWritten() || close_deadline_passed_);
  pump_->SetBusy(core_.dirty() || core_.has_events() || core_.inbox().pending() || finished);
}

void EndpointImpl::OnWritable(int slot) {
  if (!guard_.InOwner()) return;
  core_.Unblocked(slot);
  FlushSlot(slot, false);
  UpdateBusy();
}

void EndpointImpl::OnTurnEnd() {
  // A process that was forked from here may run a copy of the loop: it must not write or read in
  // this one's name.
  if (!guard_.InOwner()) return;
  if (handling_) {
    // A loop that runs inside a handler: writing is fine, calling the application is not.
    FlushDirty();
    return;
  }
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  core_.BeginTurn();
  FlushDirty();
  if (core_.has_events()) TellEvents(false);
  if (state_ == State::kClosing && (core_.AllWritten() || close_deadline_passed_)) FinishClose();
  UpdateBusy();
}

void EndpointImpl::OnMoreWork() {
  if (!core_.inbox().pending() || handling_ || !guard_.InOwner()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  HandleArrivals();
  UpdateBusy();
}

void EndpointImpl::OnReadable() {
  if (handling_ || core_.inbox().pending() || !guard_.InOwner()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  ReadOnce();
  HandleArrivals();
  UpdateBusy();
}

void EndpointImpl::ReadOnce() {
  if (!wiring_.kernel.nowait) os::RestoreNonBlocking(wiring_.inbox_fd);
  core::Inbox& inbox = core_.inbox();
  const os::IoResult result = io_.Read(wiring_.inbox_fd, inbox.space(), inbox.space_bytes());
  core_.page().reads.Add();
  // An empty pipe is a packet boundary as well.
  inbox.Received(result.error == 0 ? result.bytes : 0);
}

void EndpointImpl::HandleArrivals() {
  core::Arrival arrival;
  for (int handled = 0; handled < alerts_per_turn_max_; ++handled) {
    core_.NextArrival(&arrival);
    if (arrival.kind == core::Arrival::Kind::kNone) return;
    if (arrival.kind == core::Arrival::Kind::kDamage) {
      CallHook(&handling_, on_damage, arrival.damage);
    } else {
      HandleAlert(arrival);
    }
    if (state_ == State::kClosed) return;
  }
}

void EndpointImpl::HandleAlert(const core::Arrival& arrival) {
  Handler* handler = handlers_.Begin(arrival.name);
  if (handler == nullptr) {
    handlers_.End();
    core_.page().alerts_unhandled.Add();
    return;
  }
  core_.page().alerts_delivered.Add();
  core_.page().bytes_delivered.Add(arrival.name.size() + arrival.data.size());
  const std::shared_ptr<EndpointImpl> self = shared_from_this();
  Alert alert(arrival.name, arrival.data, arrival.sender, arrival.collected, self);
  handling_ = true;
  try {
    (*handler)(alert);
  } catch (abi::__forced_unwind&) {
    throw;  // a cancelled thread, not an error
  } catch (...) {
    core_.page().handler_errors.Add();
    ReportHandlerError(arrival);
  }
  handling_ = false;
  handlers_.End();
}

// Called inside the catch clause.
void EndpointImpl::ReportHandlerError(const core::Arrival& arrival) {
  if (on_handler_error != nullptr) {
    CallHook(&handling_, on_handler_error,
             HandlerError{arrival.sender, arrival.name, std::current_exception()});
    return;
  }
  const std::uint64_t now = os::MonotonicNanos();
  if (last_error_line_ns_ != 0 && now - last_error_line_ns_ < kErrorLineIntervalNs) return;
  last_error_line_ns_ = now;
  const std::type_info* type = abi::__cxa_current_exception_type();
  const std::string name = absl::CHexEscape(View(arrival.name));
  std::fprintf(stderr, "alertpipe: the handler for \"%s\" threw %s (handler_errors counts all)\n",
               name.c_str(), type != nullptr ? type->name() : "an unknown exception");
}

void EndpointImpl::TellEvents(bool all) {
  core::Event event;
  for (int told = 0; (all || told < alerts_per_turn_max_) && core_.NextEvent(&event); ++told) {
    Tell(event);
    if (state_ == State::kClosed && !all) return;
  }
}

void EndpointImpl::Tell(const core::Event& event) {
  switch (event.kind) {
    case core::Event::Kind::kUndelivered:
      return CallHook(&handling_, on_undelivered, event.undelivered);
    case core::Event::Kind::kDrained:
      return CallHook(&handling_, on_drained, event.peer);
    case core::Event::Kind::kJoined:
      return CallHook(&handling_, on_joined, event.peer);
    case core::Event::Kind::kLeft:
      return CallHook(&handling_, on_left, event.peer);
  }
}

void EndpointImpl::OnLifeline() {
  if (!is_master_gone_ || !is_master_gone_()) return;
  const std::shared_ptr<EndpointImpl> alive = shared_from_this();
  pump_->ForgetLifeline();
  CallHook(&handling_, on_master_gone);
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
}

// ---- The end
// --------------------------------------------------------------------------------------------------------

absl::Status EndpointImpl::Close(absl::Duration deadline, Endpoint::CloseHook done) {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  (void)Flush();
  state_ = State::kClosing;
  close_done_ = std::move(done);
  undelivered_before_close_ = core_.page().alerts_undelivered.Get();
  close_deadline_passed_ = deadline <= absl::ZeroDuration();
  pump_->KeepAlive();
  if (!close_deadline_passed_ && !core_.AllWritten() && deadline < absl::InfiniteDuration()) {
    const auto milliseconds = static_cast<uint64_t>(
        absl::ToInt64Milliseconds(absl::Ceil(deadline, absl::Milliseconds(1))));
    if (pump_->StartDeadline(milliseconds) != 0) close_deadline_passed_ = true;
  }
  UpdateBusy();
  return absl::OkStatus();
}

void EndpointImpl::OnDeadline() {
  close_deadline_passed_ = true;
  UpdateBusy();
}

void EndpointImpl::FinishClose() {
  CloseReport report;
  report.deadline_passed = !core_.AllWritten();
  core_.FailAll(UndeliveredReason::kClosed);
  state_ = State::kClosed;
  CloseHandles();
  if (on_closed) on_closed();
  TellEvents(true);
  report.undelivered_alerts = core_.page().alerts_undelivered.Get() - undelivered_before_close_;
  if (close_done_)
    CallHook(&handling_, std::make_shared<Endpoint::CloseHook>(std::move(close_done_)), report);
}

void EndpointImpl::CloseHandles() {
  if (pump_.has_value()) pump_->Close();
}

void EndpointImpl::Shutdown() {
  if (!guard_.InOwner()) {
    if (pump_.has_value()) pump_->Abandon();
    return;
  }
  if (state_ == State::kOpen) (void)Flush();
  if (state_ == State::kOpen || state_ == State::kClosing) {
    core_.FailAll(UndeliveredReason::kClosed);
    state_ = State::kClosed;
    CloseHandles();
    if (on_closed) on_closed();
    const std::shared_ptr<EndpointImpl> alive = shared_from_this();
    TellEvents(true);
  }
  handlers_.Clear();
  for (auto* hook : {&on_drained, &on_joined, &on_left}) hook->reset();
  on_undelivered.reset();
  on_handler_error.reset();
  on_damage.reset();
  on_master_gone.reset();
}

}  // namespace alertpipe::internal
