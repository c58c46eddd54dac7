// SPDX-License-Identifier: Apache-2.0
//
// What an endpoint needs of a libuv loop: to hear when its inbox can be read, when a full pipe can
// be written again, when a turn of the loop ends, and to be called again soon when work is left. It
// knows descriptors and slots, nothing of alerts.
//
// Ends of turns: prepare runs before the loop waits (after timers), check right after it has called
// the descriptors. An active idle handle keeps the loop from waiting at all; it is active only
// while there is work.
#ifndef ALERTPIPE_UV_PUMP_H_
#define ALERTPIPE_UV_PUMP_H_

#include <uv.h>

#include <cstdint>
#include <vector>

#include "uv/handle.h"

namespace alertpipe::uv {

class PumpClient {
 public:
  virtual void OnReadable() = 0;  // the inbox has something, or may have
  virtual void OnWritable(
      int slot) = 0;  // the pipe has room, or nobody reads it any more; polling has stopped
  virtual void OnTurnEnd() = 0;
  virtual void OnBeforeWait() = 0;  // a turn ends, and the loop waits next unless there is work
  virtual void OnNewTurn() = 0;     // once per iteration of the loop, before its second OnTurnEnd
  virtual void OnMoreWork() = 0;    // work was left: see SetBusy
  virtual void OnDeadline() = 0;
  virtual void OnWake() = 0;
  virtual void OnLifeline() = 0;  // the master may be gone

 protected:
  ~PumpClient() = default;
};

class Pump {
 public:
  // `client` must outlive the pump or the pump be closed before.
  Pump(uv_loop_t* loop, PumpClient* client) : loop_(loop), client_(client) {}
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;
  ~Pump() = default;

  // Returns 0 or libuv's error; the pump is closed then.
  int Start(int inbox_fd, int slots, bool keep_loop_alive);
  // Watches for the master's end: by its descriptor, and every `check_ms` if that is not 0.
  int WatchLifeline(int fd, uint64_t check_ms);
  void ForgetLifeline();

  // Stops and starts listening to the inbox.
  void PauseInbox(bool paused);
  // Calls OnWritable(slot) while `fd` can be written, until StopWritable. Returns 0 or libuv's
  // error.
  int WaitWritable(int slot, int fd);
  void StopWritable(int slot);
  // Lets the loop read its clock again.
  void UpdateTime() { uv_update_time(loop_); }
  // Whether the loop should call OnMoreWork in its next turn instead of waiting.
  void SetBusy(bool busy);
  int StartDeadline(uint64_t milliseconds);
  // Calls OnWake once, in `milliseconds`, instead of what was asked for before.
  int WakeIn(uint64_t milliseconds);
  // From now on keeps the loop alive, whatever the option says: somebody waits for Close.
  void KeepAlive();

  uv_loop_t* loop() const { return loop_; }

  // Closes all handles; their memory goes when the loop turns next.
  void Close();
  // For a process that was forked from the owner's: forgets all handles.
  void Abandon();

 private:
  void ApplyRef();
  void OnCheck();
  int StartLifelineCheck(uint64_t first_ms);
  void OnLifelineHint();

  uv_loop_t* loop_;
  PumpClient* client_;
  bool keep_alive_ = true;
  bool busy_ = false;
  bool paused_ = false;
  Poll inbox_;
  Prepare prepare_;
  Check check_;
  Idle idle_;
  Timer deadline_;
  Timer wake_;
  Poll lifeline_;
  Timer lifeline_check_;
  uint64_t lifeline_check_ms_ = 0;
  std::vector<Poll> writable_;
};

}  // namespace alertpipe::uv

#endif  // ALERTPIPE_UV_PUMP_H_
