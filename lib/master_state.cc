// SPDX-License-Identifier: Apache-2.0
#include "master_state.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <absl/strings/str_cat.h>

#include "child_side.h"
#include "os/calls.h"
#include "os/errors.h"

namespace alertpipe {
namespace {

// A pipe is emptied by one read of more than its capacity; more reads are only needed where a
// relative enlarged it.
constexpr int kDrainReadsMax = 64;
// How often a worker is asked for that could not be watched.
constexpr uint64_t kAskEveryMs = 250;

}  // namespace

Master::State::State(std::unique_ptr<internal::Family> created)
    : shared(std::make_shared<Shared>(std::move(created))),
      family(shared->family.get()),
      places(static_cast<std::size_t>(family->slots())),
      // Written here, so that no page of it has to be faulted in while a pipe is drained.
      drain_buffer_(static_cast<std::size_t>(family->roster().settings().pipe_capacity) +
                    core::kPacketBytesMax) {}

Master::State::~State() = default;

absl::StatusOr<std::shared_ptr<Master::State>> Master::State::Create(const MasterOptions& options) {
  auto family = internal::Family::Create(options);
  if (!family.ok()) return family.status();
  std::shared_ptr<State> state(new State(*std::move(family)));
  absl::StatusOr<os::ExitWatch> watch = os::ExitWatch::Create();
  if (watch.ok()) {
    state->watch_.emplace(*std::move(watch));
  } else if (!absl::IsUnimplemented(watch.status())) {
    return watch.status();
  }

  state->harmless_ = os::UniqueFd(os::calls().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->harmless_.valid()) {
    return os::ErrnoStatus(errno, "eventfd for what workers are not to see of the master's loop");
  }

  internal::Wiring wiring;
  wiring.roster = state->family->roster();
  wiring.self = {os::calls().getpid(), kMasterSlot, 1};
  wiring.page = state->family->counters(kMasterSlot);
  state->family->ResetCounters(kMasterSlot, 1);
  wiring.notices = &state->shared->board;
  wiring.kernel = state->family->kernel();
  wiring.inbox_fd = state->family->inbox_fd(kMasterSlot);
  wiring.outbox_fds = state->family->outbox_fds();
  wiring.events = state->family->events();
  wiring.keep = state->shared;
  core::RosterWord self;
  self.generation = 1;
  self.pid = static_cast<std::uint32_t>(wiring.self.pid);
  self.state = core::SlotState::kFree;  // no endpoint yet
  state->family->roster_writer().Publish(kMasterSlot, self);
  auto impl = internal::EndpointImpl::Create(std::move(wiring));
  if (!impl.ok()) return impl.status();
  state->impl = *std::move(impl);
  const std::size_t granted = state->family->pipe_capacity_min();
  if (granted < options.pipe_capacity) {
    Diagnostic& event = state->impl->diagnostics().Note(Diagnostic::Kind::kPipeSmall);
    event.limit = options.pipe_capacity;
    event.value = granted;
  }
  return state;
}

// ---- The loop ----

absl::Status Master::State::Attach(uv_loop_s* loop, const AttachOptions& options) {
  if (absl::Status status = impl->CheckOwner(); !status.ok()) return status;
  if (absl::Status status = impl->Attach(loop, options); !status.ok()) return status;
  if (const int error = WatchChildren(loop, options.keep_loop_alive); error != 0) {
    CloseHandles();
    impl->Detach();
    return absl::InternalError(
        absl::StrCat("libuv cannot watch the workers: ", uv_strerror(error)));
  }
  impl->on_closed = [this] {
    CloseHandles();
    CancelRestarts();
    Announce(core::SlotState::kFree);
  };
  Announce(core::SlotState::kUp);
  shared->board.StartReader(kMasterSlot);
  // Who died before the loop was there gave no signal to it; a watch still shows it.
  if (!watch_.has_value()) Ask();
  for (const Place& place : places) {
    if (place.unwatched) Ask();
  }
  ArmDeadlines();
  return absl::OkStatus();
}

int Master::State::WatchChildren(uv_loop_s* loop, bool keep_loop_alive) {
  const auto on_child = [this] { OnChildEvent(); };
  int error = 0;
  if (watch_.has_value()) {
    error = watch_poll_.Init(loop, watch_->fd(), on_child);
    if (error == 0) error = watch_poll_.Start(UV_READABLE);
    if (error == 0) watch_poll_.SetRef(keep_loop_alive);
  } else {
    error = child_signal_.Start(loop, SIGCHLD, on_child);
    if (error == 0) child_signal_.SetRef(keep_loop_alive);
  }
  return error;
}

// Asks for workers that nothing watches: soon, and again for as long as there are any.
void Master::State::Ask() {
  if (!impl->on_loop() || asking_.valid()) return;
  if (asking_.Start(impl->loop(), 0, kAskEveryMs, [this] { OnChildEvent(); }) == 0)
    asking_.SetRef(false);
}

void Master::State::OnChildEvent() noexcept {
  if (!impl->in_owner()) return;
  const std::shared_ptr<State> alive = shared_from_this();
  Reap();
  KillLate();
  impl->Wake();
  bool unwatched = false;
  for (const Place& place : places)
    unwatched = unwatched || (place.unwatched && watch_.has_value());
  if (!unwatched) asking_.Close();
  TellExits();
  StepRestarts();
}

// ---- Life of a slot ----

absl::Status Master::State::CheckSlot(int slot) const {
  const int slots = family->slots();
  if (slot >= 1 && slot < slots) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("there is no slot ", slot, " for a worker: slots are 1 to ", slots - 1));
}

absl::StatusOr<int> Master::State::FreeSlot() const {
  for (std::size_t slot = 1; slot < places.size(); ++slot) {
    if (places[slot].life.idle()) return static_cast<int>(slot);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("all slots are taken: MasterOptions::workers_max is ", places.size() - 1));
}

absl::StatusOr<Peer> Master::State::Start(int slot, WorkerMain main) {
  Place& place = places[static_cast<std::size_t>(slot)];
  WorkerMain before = std::exchange(place.main, std::move(main));
  place.Reset();
  place.life.Start();
  absl::Status status = Drive(slot);
  impl->Wake();
  if (status.ok()) return PeerIn(slot);
  // What never ran is not what Respawn starts again.
  place.main = std::move(before);
  return status;
}

absl::Status Master::State::Drive(int slot) {
  using Step = core::SlotLife::Step;
  core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
  absl::Status status;
  for (;;) {
    switch (life.step()) {
      case Step::kNone:
        return status;
      case Step::kPublishStarting:
        family->ResetCounters(slot, life.word().generation);
        shared->board.StartReader(slot);
        if (family->events().valid()) family->events().Announce(slot);
        family->roster_writer().PublishSuccessor(slot, 0);
        family->roster_writer().Publish(slot, life.word());
        break;
      case Step::kPublishDraining:
        family->roster_writer().PublishSuccessor(slot, life.successor());
        family->roster_writer().Publish(slot, life.word());
        break;
      case Step::kTellDraining:
        shared->board.Draining(slot, life.word().generation, life.successor());
        impl->NoticesChanged();
        break;
      case Step::kKill:
        Kill(slot);
        break;
      case Step::kPublishUp:
      case Step::kPublishDown:
        family->roster_writer().Publish(slot, life.word());
        break;
      case Step::kFork:
        if (absl::Status forked = Fork(slot); !forked.ok()) status = forked;
        continue;
      case Step::kTellJoined:
        shared->board.Joined(slot, life.word().generation, life.word().pid);
        if (!impl->on_loop()) {
          impl->core().PeerJoined(slot, life.word().generation, life.word().pid);
        }
        impl->NoticesChanged();
        break;
      case Step::kReap:
        places[static_cast<std::size_t>(slot)].exit = os::Reap(static_cast<pid_t>(life.word().pid));
        if (watch_.has_value()) watch_->Remove(static_cast<uint64_t>(slot));
        break;
      case Step::kDrain:
        Drain(slot);
        if (life.forked()) Archive(slot);
        break;
      case Step::kTellDied:
        shared->board.Died(slot, life.word().generation);
        // On a loop the master reads its own notice, behind what the worker had sent to it.
        if (!impl->on_loop()) impl->core().PeerDied(slot, life.word().generation);
        impl->NoticesChanged();
        if (life.forked()) RecordExit(slot);
        break;
    }
    life.Done();
  }
}

void Master::State::Drain(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  place.drained = core::DrainCount();
  const os::PipeIo io(family->kernel());
  if (!family->kernel().nowait) os::RestoreNonBlocking(family->inbox_fd(slot));
  for (int reads = 0; reads < kDrainReadsMax; ++reads) {
    const os::IoResult result =
        io.Read(family->inbox_fd(slot), drain_buffer_.data(), drain_buffer_.size());
    if (result.error != 0 && result.error != EAGAIN)
      impl->diagnostics().Note(Diagnostic::Kind::kReadFailed, PeerIn(slot)).error = result.error;
    if (result.error != 0 || result.bytes == 0) break;
    const core::DrainCount count = core::CountDrained(
        std::string_view(drain_buffer_.data(), result.bytes), place.life.word().generation);
    place.drained.alerts += count.alerts;
    place.drained.stale += count.stale;
    place.drained.damaged_bytes += count.damaged_bytes;
    if (result.bytes < drain_buffer_.size()) break;
  }
  core::CounterPage& page = impl->core().page();
  page.alerts_drained.Add(place.drained.alerts);
  page.alerts_drained_stale.Add(place.drained.stale);
  page.damaged_bytes.Add(place.drained.damaged_bytes);
  if (place.drained.alerts > 0) {
    impl->diagnostics().Note(Diagnostic::Kind::kDrained, PeerIn(slot), place.drained.alerts);
  }
}

// Keeps the counters of a dead worker, with what it has left unread.
void Master::State::Archive(int slot) {
  const Place& place = places[static_cast<std::size_t>(slot)];
  Stats last = family->counters(slot)->Snapshot();
  last.alerts_drained = place.drained.alerts;
  last.alerts_drained_stale = place.drained.stale;
  family->roster_writer().Archive(slot, place.life.word(), last);
}

void Master::State::RecordExit(int slot) {
  const Place& place = places[static_cast<std::size_t>(slot)];
  const os::ExitStatus& end = place.exit.known ? place.exit : place.reported;
  WorkerExit exit;
  exit.worker = PeerIn(slot);
  exit.known = end.known;
  exit.exit_code = end.code;
  exit.signal = end.signal;
  exit.core_dumped = end.core_dumped;
  exit.alerts_drained = place.drained.alerts;
  exit.retired = place.retired;
  exit.successor = place.life.successor();
  exit.killed_at_deadline = place.killed && (!end.known || end.signal == SIGKILL);
  NoteInRestarts(&exit);
  exits_.push_back(exit);
}

int Master::State::Reap() {
  int found = 0;
  for (int slot = 1; slot < family->slots(); ++slot) {
    const Place& place = places[static_cast<std::size_t>(slot)];
    if (!place.unwatched || !place.life.running()) continue;
    const absl::StatusOr<bool> exited = os::HasExited(static_cast<pid_t>(place.life.word().pid));
    if (exited.ok() && *exited) found += TakeOut(slot);
  }
  if (!watch_.has_value()) return found;
  uint64_t tags[64];
  while (const size_t count = watch_->Exited(tags, std::size(tags))) {
    for (size_t i = 0; i < count; ++i) found += TakeOut(static_cast<int>(tags[i]));
  }
  return found;
}

// The worker has ended. A pidfd is believed even if somebody else has reaped the process.
int Master::State::TakeOut(int slot) {
  Place& place = places[static_cast<std::size_t>(slot)];
  if (!place.life.running()) {
    watch_->Remove(static_cast<uint64_t>(slot));
    return 0;
  }
  place.unwatched = false;
  place.life.Died();
  (void)Drive(slot);
  return 1;
}

void Master::State::Shutdown() {
  on_exit = nullptr;
  impl->Shutdown();
}

void Master::State::Announce(core::SlotState state) {
  core::RosterWord self = family->roster().Get(kMasterSlot);
  self.state = state;
  family->roster_writer().Publish(kMasterSlot, self);
}

void Master::State::CloseHandles() {
  watch_poll_.Close();
  child_signal_.Close();
  asking_.Close();
  deadlines_.Close();
  deadlines_at_ = core::kNever;
}

void Master::State::TellExits() {
  const std::shared_ptr<State> alive = shared_from_this();
  while (!exits_.empty()) {
    const WorkerExit exit = exits_.front();
    exits_.pop_front();
    const std::shared_ptr<ExitHook> hook = on_exit;
    if (hook == nullptr) continue;
    (*hook)(exit);
  }
}

// ---- Fork ----

// The active uv_signal handles of the attached loop: they would report to the master's loop from
// inside the worker.
std::vector<uv_signal_t*> Master::State::LoopSignals() const {
  std::vector<uv_signal_t*> signals;
  if (impl->loop() == nullptr) return signals;
  uv_walk(
      impl->loop(),
      [](uv_handle_t* handle, void* into) {
        if (handle->type != UV_SIGNAL || uv_is_active(handle) == 0) return;
        static_cast<std::vector<uv_signal_t*>*>(into)->push_back(
            reinterpret_cast<uv_signal_t*>(handle));
      },
      &signals);
  return signals;
}

absl::Status Master::State::Fork(int slot) {
  core::SlotLife& life = places[static_cast<std::size_t>(slot)].life;
  sigset_t block;
  sigemptyset(&block);
  std::vector<int> numbers;
  const std::vector<uv_signal_t*> signals = LoopSignals();
  for (const uv_signal_t* signal : signals) {
    numbers.push_back(signal->signum);
    sigaddset(&block, signal->signum);
  }
  std::fflush(nullptr);
  const os::ForkResult result = os::Fork(block);
  if (result.pid == 0) {
    // Stopped, and not only reset: as long as libuv knows of a handle for a signal it believes that
    // its own handler is installed, and the worker could not watch that signal.
    for (uv_signal_t* signal : signals) uv_signal_stop(signal);
    os::ResetSignals(numbers.data(), numbers.size());
    os::RestoreMask(result);
    RunChild(slot);
  }
  if (result.pid < 0) {
    life.ForkFailed();
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot fork a worker for slot ", slot, ": ", std::strerror(result.error)));
  }
  life.Forked(static_cast<std::uint32_t>(result.pid));
  Place& place = places[static_cast<std::size_t>(slot)];
  place.unwatched =
      !watch_.has_value() || !watch_->Add(result.pid, static_cast<uint64_t>(slot)).ok();
  if (place.unwatched && watch_.has_value()) Ask();
  return absl::OkStatus();
}

// Descriptors that the master's loop watches get something harmless behind their number: a worker
// that goes on with that loop after uv_loop_fork finds them, and epoll refuses descriptors that are
// closed.
void Master::State::NeutraliseLoop() {
  const auto replace = [this](int fd) {
    while (os::calls().dup3(harmless_.get(), fd, O_CLOEXEC) < 0 && errno == EINTR) {
    }
  };
  if (watch_.has_value()) replace(watch_->fd());
  replace(family->inbox_fd(kMasterSlot));
}

// Gives up what is not this process's own: it has become the worker of `slot`.
void Master::State::EnterChild(int slot) {
  own_slot_ = slot;
  own_pid_ = os::calls().getpid();
  const bool attached = impl->on_loop();
  if (attached) NeutraliseLoop();
  if (watch_.has_value()) watch_->EnterChild(attached);
  family->EnterChild(slot, attached);
}

void Master::State::RunChild(int slot) noexcept {
  EnterChild(slot);
  const int code = places[static_cast<std::size_t>(slot)].main(MakeSlot(slot));
  // Its loop may have been on the stack of `main`.
  if (const auto worker = internal::CurrentWorker().lock()) worker->LastWords();
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace alertpipe
