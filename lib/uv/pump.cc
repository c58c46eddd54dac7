// SPDX-License-Identifier: Apache-2.0
#include "uv/pump.h"

#include <cstddef>

namespace alertpipe::uv {
namespace {

constexpr uint64_t kCheckAfterHintMs = 10;

}  // namespace

int Pump::Start(int inbox_fd, int slots, bool keep_loop_alive) {
  keep_alive_ = keep_loop_alive;
  writable_.resize(static_cast<std::size_t>(slots));
  int error = inbox_.Init(loop_, inbox_fd, [this] { client_->OnReadable(); });
  if (error == 0) error = inbox_.Start(UV_READABLE);
  if (error == 0) error = prepare_.Start(loop_, [this] { client_->OnBeforeWait(); });
  if (error == 0) error = check_.Start(loop_, [this] { OnCheck(); });
  if (error == 0) error = idle_.Init(loop_, [this] { client_->OnMoreWork(); });
  if (error != 0) {
    Close();
    return error;
  }
  prepare_.SetRef(false);
  check_.SetRef(false);
  ApplyRef();
  return 0;
}

void Pump::OnCheck() {
  client_->OnNewTurn();
  client_->OnTurnEnd();  // may be the end of the pump as well
}

void Pump::ApplyRef() {
  inbox_.SetRef(keep_alive_);
  idle_.SetRef(keep_alive_);
  for (Poll& poll : writable_) {
    if (poll.valid()) poll.SetRef(keep_alive_);
  }
  if (wake_.valid()) wake_.SetRef(keep_alive_);
}

void Pump::KeepAlive() {
  keep_alive_ = true;
  ApplyRef();
}

int Pump::WatchLifeline(int fd, uint64_t check_ms) {
  int error = lifeline_.Init(loop_, fd, [this] { OnLifelineHint(); });
  if (error == 0) error = lifeline_.Start(UV_READABLE | UV_DISCONNECT);
  if (error == 0) lifeline_.SetRef(false);
  lifeline_check_ms_ = check_ms;
  if (error == 0 && check_ms != 0) error = StartLifelineCheck(check_ms);
  return error;
}

int Pump::StartLifelineCheck(uint64_t first_ms) {
  const int error =
      lifeline_check_.Start(loop_, first_ms, lifeline_check_ms_, [this] { client_->OnLifeline(); });
  if (error == 0) lifeline_check_.SetRef(false);
  return error;
}

// Where there are checks the descriptor gives a hint only, perhaps too early, and may give it for
// good: it is not listened to again, and the next check comes soon.
void Pump::OnLifelineHint() {
  if (lifeline_check_.valid()) {
    lifeline_.Stop();
    (void)StartLifelineCheck(kCheckAfterHintMs);
  }
  client_->OnLifeline();
}

void Pump::ForgetLifeline() {
  lifeline_.Close();
  lifeline_check_.Close();
}

int Pump::WaitWritable(int slot, int fd) {
  Poll& poll = writable_[static_cast<std::size_t>(slot)];
  if (!poll.valid()) {
    const int error = poll.Init(loop_, fd, [this, slot] { client_->OnWritable(slot); });
    if (error != 0) return error;
    poll.SetRef(keep_alive_);
  }
  return poll.Start(UV_WRITABLE);
}

void Pump::StopWritable(int slot) { writable_[static_cast<std::size_t>(slot)].Stop(); }

void Pump::PauseInbox(bool paused) {
  if (paused == paused_) return;
  paused_ = paused;
  if (paused) {
    inbox_.Stop();
  } else {
    inbox_.Start(UV_READABLE);
  }
}

void Pump::SetBusy(bool busy) {
  if (busy == busy_) return;
  busy_ = busy;
  if (busy) {
    idle_.Start();
  } else {
    idle_.Stop();
  }
}

int Pump::StartDeadline(uint64_t milliseconds) {
  return deadline_.Start(loop_, milliseconds, 0, [this] { client_->OnDeadline(); });
}

int Pump::WakeIn(uint64_t milliseconds) {
  const int error = wake_.Start(loop_, milliseconds, 0, [this] { client_->OnWake(); });
  if (error == 0) wake_.SetRef(keep_alive_);
  return error;
}

void Pump::Close() {
  inbox_.Close();
  prepare_.Close();
  check_.Close();
  idle_.Close();
  deadline_.Close();
  wake_.Close();
  ForgetLifeline();
  writable_.clear();
}

void Pump::Abandon() {
  inbox_.Abandon();
  prepare_.Abandon();
  check_.Abandon();
  idle_.Abandon();
  deadline_.Abandon();
  wake_.Abandon();
  lifeline_.Abandon();
  lifeline_check_.Abandon();
  for (Poll& poll : writable_) poll.Abandon();
}

}  // namespace alertpipe::uv
