// SPDX-License-Identifier: Apache-2.0
#include "endpoint_impl.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <absl/strings/str_cat.h>

#include "core/check.h"
#include "core/events/event_record.h"
#include "os/clock.h"

namespace alertpipe::internal {
namespace {

// What one receiver may take of a turn before the others, and the loop, get theirs.
constexpr std::size_t kBytesPerFlushMax = 1048576;

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

  // Lets *content, which has its data unless that is handed over, refer to what is prepared.
  absl::Status Prepare(core::Content* content, Buffer* handed_over, core::Meter* meter) {
    owned = handed_over != nullptr;
    if (owned) content->data = handed_over->view();
    view = content->data;
    if (content->fits_packet()) return absl::OkStatus();
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
      thread_(std::this_thread::get_id()),
      diagnostics_([] { return os::MonotonicNanos(); }) {
  if (wiring_.events.valid()) WithholdEvents();
}

EndpointImpl::~EndpointImpl() = default;

// Events are for Events only: where there are none they are unhandled, and nothing is wrong.
void EndpointImpl::WithholdEvents() {
  handlers_.Withhold(core::kEventAlertName);
  handlers_.Withhold(core::kRetainedRequestName);
  handlers_.Withhold(core::kEventBarrierName);
}

bool EndpointImpl::IsOfEvents(std::string_view name) const {
  return wiring_.events.valid() &&
         (name == core::kEventAlertName || name == core::kRetainedRequestName ||
          name == core::kEventBarrierName);
}

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
  if (options.linger < 0 || options.linger > kLingerMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("linger must be 0 to ", kLingerMax, ", was ", options.linger));
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
  core_.CloseDraining();
  alerts_per_turn_max_ = options.alerts_per_turn_max;
  linger_ = wiring_.kernel.nowait ? options.linger : 0;
  thread_ = std::this_thread::get_id();
  state_ = State::kOpen;
  // A master may have notices that found a full pipe when there was no loop to wait for it.
  for (int slot = 0; slot < core_.roster().slots(); ++slot) {
    core_.Unblocked(slot);
    if (core_.HasOutput(slot)) core_.MarkDirty(slot);
  }
  UpdateBusy();
  return absl::OkStatus();
}

absl::Status EndpointImpl::WatchLifeline(int fd, uint64_t check_ms, std::function<bool()> is_gone) {
  is_master_gone_ = std::move(is_gone);
  const int error = pump_->WatchLifeline(fd, check_ms);
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("libuv cannot watch the master: ", uv_strerror(error)));
}

// ---- Checks ----

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

absl::Status EndpointImpl::CheckMayRespond() const {
  if (state_ != State::kClosing) return CheckOpen();
  if (absl::Status owner = CheckOwner(); !owner.ok()) return owner;
  CheckThread();
  return absl::OkStatus();
}

absl::Status EndpointImpl::CheckHandlerName(std::string_view name) {
  if (absl::Status owner = CheckOwner(); !owner.ok()) return owner;
  CheckThread();
  if (state_ == State::kClosed) return absl::FailedPreconditionError("this endpoint is closed");
  return core_.CheckContent(name, 0);
}

// ---- Sending ----

absl::Status EndpointImpl::Refused(absl::Status status, std::size_t bytes, bool full) {
  // In a process that was forked from here the counters are this one's, or not mapped at all.
  if (!guard_.InOwner()) return status;
  core_.CountRefused(status, bytes, full);
  if (absl::IsResourceExhausted(status) && !full)
    diagnostics_.Note(Diagnostic::Kind::kRefusedMemory);
  return status;
}

SendResult EndpointImpl::Send(const To& to, std::string_view name, std::string_view data,
                              Buffer* owned) {
  if (owned == nullptr && IsOpen()) {
    core::PlainWay way;
    const Outcome outcome = WritePlain(core_.SendPlain(to, name, data, &way), way);
    if (outcome != Outcome::kRefused) return SendResult(outcome, way.alert_id);
  }
  return SendContent(to, core::Content{name, data}, owned, nullptr);
}

// kRefused: it has to take the way of all alerts, where any reason not to write will be found.
Outcome EndpointImpl::WritePlain(core::PlainStep step, const core::PlainWay& way) {
  if (step == core::PlainStep::kQueued) return Outcome::kQueued;
  if (step == core::PlainStep::kLook) return Outcome::kRefused;
  const int fd = wiring_.outbox_fds[static_cast<std::size_t>(way.slot)];
  EnsureNonBlocking(fd);
  if (io_.Write(fd, &way.packet, 1).error != 0) {
    core_.NotWrotePlain(way);
    return Outcome::kRefused;
  }
  core_.WrotePlain(way);
  return Outcome::kWritten;
}

SendResult EndpointImpl::SendContent(const To& to, core::Content content, Buffer* owned,
                                     RequestTerms* request) {
  const std::size_t bytes =
      content.name.size() + (owned != nullptr ? owned->size() : content.data.size());
  const bool is_response = (content.flags & core::kIsResponse) != 0;
  if (!IsOpen()) {
    absl::Status open = is_response ? CheckMayRespond() : CheckOpen();
    if (!open.ok()) return Refused(std::move(open), bytes);
  }
  Payload payload;
  core::Target target;
  absl::Status status = PrepareContent(&content, owned, &payload);
  if (status.ok()) status = core_.Resolve(to, &target);
  if (!status.ok()) return Refused(std::move(status), bytes);
  SendResult result = request == nullptr ? Deliver(target, content, &payload, true)
                                         : DeliverRequest(target, content, &payload, true, request);
  SettleLent(target.slot, &payload, false);
  UpdateBusy();
  return result;
}

// The checks that do not depend on the receiver, and what is needed before anything is queued.
absl::Status EndpointImpl::PrepareContent(core::Content* content, Buffer* owned, Payload* payload) {
  const std::size_t bytes = owned != nullptr ? owned->size() : content->data.size();
  if (absl::Status status = core_.CheckContent(content->name, bytes); !status.ok()) return status;
  if (core_.roster().settings().latency_histograms != 0) {
    content->flags |= core::kHasTime;
    content->sent_ns = os::MonotonicNanos();
  }
  return payload->Prepare(content, owned, &core_.meter());
}

BroadcastResult EndpointImpl::Broadcast(std::string_view name, std::string_view data, Buffer* owned,
                                        Scope scope) {
  return BroadcastContent(core::Content{name, data}, owned, scope, nullptr, nullptr);
}

BroadcastResult EndpointImpl::Broadcast(std::string_view name, std::string_view data, Scope scope,
                                        std::vector<Accepted>* accepted) {
  return BroadcastContent(core::Content{name, data}, nullptr, scope, nullptr, accepted);
}

BroadcastResult EndpointImpl::BroadcastContent(core::Content content, Buffer* owned, Scope scope,
                                               const MakeTerms* make_terms,
                                               std::vector<Accepted>* accepted) {
  const std::size_t bytes =
      content.name.size() + (owned != nullptr ? owned->size() : content.data.size());
  content.to_many = true;
  if (absl::Status open = CheckOpen(); !open.ok()) return Refused(std::move(open), bytes);
  if (absl::Status may = core_.CheckMaySend(); !may.ok()) return Refused(std::move(may), bytes);
  Payload payload;
  if (absl::Status status = PrepareContent(&content, owned, &payload); !status.ok())
    return Refused(std::move(status), bytes);
  char encoded[core::kPacketBytesMax];
  std::string_view record;
  if (make_terms == nullptr && content.flags == 0 && content.fits_packet()) {
    core::EncodePlain(content.name, content.data, encoded);
    record = std::string_view(encoded, core::PlainSize(content.name.size(), content.data.size()));
  }
  // Kept for the next broadcast: no callback can come in between.
  std::vector<core::Target>& targets = broadcasting_;
  targets.clear();
  core_.Select(scope, &targets);
  BroadcastResult result;
  for (const core::Target& target : targets) {
    core::PlainWay way;
    const Outcome outcome = record.empty()
                                ? Outcome::kRefused
                                : WritePlain(core_.SendPlain(target, record, bytes, &way), way);
    if (outcome != Outcome::kRefused) {
      ++result.accepted;
      if (outcome == Outcome::kWritten) ++result.written;
      if (accepted != nullptr)
        accepted->push_back({target.slot, target.word.generation, way.alert_id});
      continue;
    }
    const bool first_charge = payload.shared == nullptr || !payload.shared->charged();
    RequestTerms terms;
    if (make_terms != nullptr) terms = (*make_terms)();
    SendResult sent = make_terms == nullptr
                          ? Deliver(target, content, &payload, first_charge)
                          : DeliverRequest(target, content, &payload, first_charge, &terms);
    if (sent.ok()) {
      // The copy that those who could not take it at once will share counts from the first on.
      if (core_.NeedsLent(target.slot)) payload.shared->Charge();
      ++result.accepted;
      if (sent.outcome() == Outcome::kWritten) ++result.written;
      if (accepted != nullptr)
        accepted->push_back({target.slot, target.word.generation, sent.alert_id()});
    } else {
      const core::RosterWord& word = target.word;
      const Peer peer{static_cast<pid_t>(word.pid), target.slot, word.generation};
      if (make_terms != nullptr) TellRefused(std::move(terms.callback), peer, sent.status());
      result.refused.push_back({peer, sent.status()});
    }
  }
  for (const core::Target& target : targets) SettleLent(target.slot, &payload, true);
  UpdateBusy();
  return result;
}

// Queues for one receiver, and writes if that is due.
SendResult EndpointImpl::Deliver(const core::Target& target, const core::Content& content,
                                 Payload* payload, bool first_charge) {
  const int slot = target.slot;
  core::SharedData* held = payload->owned ? payload->shared : nullptr;
  core::Admission admission = core_.Accept(target, content, held, payload->owned, first_charge);
  if (absl::IsResourceExhausted(admission.status) && !core_.AllWritten(slot)) {
    // The receiver may have read since its pipe was found full.
    FlushSlot(slot, false);
    admission = core_.Accept(target, content, held, payload->owned, first_charge);
  }
  if (!admission.status.ok()) {
    if (admission.full) {
      const core::RosterWord& word = target.word;
      Diagnostic& event = diagnostics_.Note(Diagnostic::Kind::kRefusedFull,
                                            {static_cast<pid_t>(word.pid), slot, word.generation});
      event.limit = admission.cap;
      event.value = admission.queued;
    }
    return Refused(std::move(admission.status), content.name.size() + content.data.size(),
                   admission.full);
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
    EnsureNonBlocking(fd);
    const os::IoResult result = io_.Write(fd, parts, count);
    if (result.error == EPIPE) {
      core_.PeerUnreachable(slot);
      Leaving(slot);
      return;
    }
    if (result.error != 0) {
      // EAGAIN: the pipe is full. Anything else (ENOMEM) is the kernel's shortage: wait as well.
      core_.Blocked(slot, result.error != EAGAIN);
      WaitForRoom(slot, fd, result.error);
      return;
    }
    core_.Wrote(slot, result.bytes);
    written += result.bytes;
    if (written >= kBytesPerFlushMax) {
      core_.WriteLater(slot);
      return;
    }
  }
  if (core_.HasOutput(slot)) core_.MarkDirty(slot);
}

void EndpointImpl::WaitForRoom(int slot, int fd, int write_error) {
  if (write_error != EAGAIN) {
    NoteIo(Diagnostic::Kind::kWriteFailed, slot, write_error);
    return RetryLater();
  }
  const int error = on_loop() ? pump_->WaitWritable(slot, fd) : 0;
  if (error == 0) return;
  NoteIo(Diagnostic::Kind::kPollFailed, slot, -error);
  RetryLater();
}

void EndpointImpl::FlushDirty() {
  if (!core_.dirty()) return;
  flushing_.clear();
  core_.TakeDirty(&flushing_);
  for (const int slot : flushing_) FlushSlot(slot, false);
}

void EndpointImpl::FlushAll() {
  for (int slot = 0; slot < core_.roster().slots(); ++slot) {
    if (core_.HasOutput(slot)) FlushSlot(slot, false);
  }
}

absl::Status EndpointImpl::Flush() {
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  FlushAll();
  UpdateBusy();
  return absl::OkStatus();
}

std::vector<Peer> EndpointImpl::Workers() const {
  std::vector<Peer> workers;
  core_.Live(&workers);
  return workers;
}

}  // namespace alertpipe::internal
