// SPDX-License-Identifier: Apache-2.0
//
// libuv handles with an owner. libuv wants a handle's memory until its close callback has run,
// which is later than its owner can wait: so the memory belongs to the loop, the owner keeps a
// reference, and closing cuts the two apart. A callback never reaches an owner that is gone.
#ifndef ALERTPIPE_UV_HANDLE_H_
#define ALERTPIPE_UV_HANDLE_H_

#include <uv.h>

#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "core/check.h"

namespace alertpipe::uv {

template <typename Raw>
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      Close();
      block_ = std::exchange(other.block_, nullptr);
    }
    return *this;
  }
  ~Handle() { Close(); }

  bool valid() const { return block_ != nullptr; }

  // Closes the handle; its memory is freed when the loop turns next.
  void Close() {
    if (block_ == nullptr) return;
    Block* block = std::exchange(block_, nullptr);
    block->call = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&block->raw),
             [](uv_handle_t* handle) { delete static_cast<Block*>(handle->data); });
  }

  // Forgets the handle without touching its loop: for a process that was forked from the owner's,
  // where closing would change what the owner's epoll watches.
  void Abandon() { block_ = nullptr; }

  void SetRef(bool referenced) {
    auto* handle = reinterpret_cast<uv_handle_t*>(&block_->raw);
    if (referenced) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }

  bool active() const {
    return block_ != nullptr &&
           uv_is_active(reinterpret_cast<const uv_handle_t*>(&block_->raw)) != 0;
  }

 protected:
  struct Block {
    Raw raw;
    std::function<void()> call;
  };

  // `init` is given the raw handle and returns libuv's code; on an error there is no handle.
  template <typename Init>
  int Open(std::function<void()> call, Init init) {
    Close();
    auto block = std::make_unique<Block>();
    const int error = init(&block->raw);
    if (error != 0) return error;
    block->raw.data = block.get();
    block->call = std::move(call);
    block_ = block.release();
    return 0;
  }

  // What the raw callbacks do. The function is copied to the stack's reach only by what it
  // captures: an owner that dies inside it has closed the handle, whose block lives until the
  // loop's closing phase.
  static void Dispatch(Raw* raw) {
    auto* block = static_cast<Block*>(raw->data);
    if (!block->call) return;
    // An exception cannot pass libuv's C frames in order. Those of handlers never come here.
    try {
      const std::function<void()> call = block->call;
      call();
    } catch (const std::bad_alloc&) {
      core::CheckFailed(__FILE__, __LINE__, "operator new failed inside the event loop");
    }
  }

  Raw* raw() { return &block_->raw; }

 private:
  Block* block_ = nullptr;
};

class Poll : public Handle<uv_poll_t> {
 public:
  int Init(uv_loop_t* loop, int fd, std::function<void()> call) {
    return Open(std::move(call),
                [loop, fd](uv_poll_t* raw) { return uv_poll_init(loop, raw, fd); });
  }
  // An error on the descriptor calls back as well: what reads or writes next will see it.
  int Start(int events) {
    return uv_poll_start(raw(), events, [](uv_poll_t* poll, int, int) { Dispatch(poll); });
  }
  void Stop() {
    if (valid()) uv_poll_stop(raw());
  }
};

class Prepare : public Handle<uv_prepare_t> {
 public:
  int Start(uv_loop_t* loop, std::function<void()> call) {
    const int error =
        Open(std::move(call), [loop](uv_prepare_t* raw) { return uv_prepare_init(loop, raw); });
    return error != 0 ? error
                      : uv_prepare_start(raw(), [](uv_prepare_t* prepare) { Dispatch(prepare); });
  }
};

class Check : public Handle<uv_check_t> {
 public:
  int Start(uv_loop_t* loop, std::function<void()> call) {
    const int error =
        Open(std::move(call), [loop](uv_check_t* raw) { return uv_check_init(loop, raw); });
    return error != 0 ? error : uv_check_start(raw(), [](uv_check_t* check) { Dispatch(check); });
  }
};

class Idle : public Handle<uv_idle_t> {
 public:
  int Init(uv_loop_t* loop, std::function<void()> call) {
    return Open(std::move(call), [loop](uv_idle_t* raw) { return uv_idle_init(loop, raw); });
  }
  void Start() {
    uv_idle_start(raw(), [](uv_idle_t* idle) { Dispatch(idle); });
  }
  void Stop() { uv_idle_stop(raw()); }
};

class Timer : public Handle<uv_timer_t> {
 public:
  int Start(uv_loop_t* loop, uint64_t milliseconds, uint64_t repeat, std::function<void()> call) {
    const int error =
        Open(std::move(call), [loop](uv_timer_t* raw) { return uv_timer_init(loop, raw); });
    return error != 0
               ? error
               : uv_timer_start(
                     raw(), [](uv_timer_t* timer) { Dispatch(timer); }, milliseconds, repeat);
  }
  // Touches nothing but memory, so a process that was forked from the owner's may do it, too.
  void Stop() {
    if (valid()) uv_timer_stop(raw());
  }
};

class Signal : public Handle<uv_signal_t> {
 public:
  int Start(uv_loop_t* loop, int number, std::function<void()> call) {
    const int error =
        Open(std::move(call), [loop](uv_signal_t* raw) { return uv_signal_init(loop, raw); });
    return error != 0 ? error
                      : uv_signal_start(
                            raw(), [](uv_signal_t* signal, int) { Dispatch(signal); }, number);
  }
};

}  // namespace alertpipe::uv

#endif  // ALERTPIPE_UV_HANDLE_H_
