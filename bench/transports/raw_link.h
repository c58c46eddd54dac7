// SPDX-License-Identifier: Apache-2.0
//
// What plain code can get out of pipes, for comparison: one non-blocking pipe for each receiver,
// all senders write to it; an epoll loop; nothing of what a library promises beyond that. A process
// that dies takes alerts with it, nothing bounds or reports anything, and the family is fixed.
//
// Writable pipes are watched edge-triggered, from the first time that one is full: a full pipe then
// costs no system call but the failed write.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RAW_LINK_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RAW_LINK_H_

#include <sched.h>
#include <sys/epoll.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "board.h"
#include "contents.h"
#include "link.h"
#include "settings.h"
#include "transports/children.h"
#include "transports/pipe.h"
#include "transports/raw_inbox.h"
#include "transports/raw_outbox.h"

namespace alertpipe::bench {

class RawLink {
 public:
  RawLink(const Settings& settings, Packing packing, int self, const std::vector<RawPipe>& pipes,
          Place* place);
  RawLink(const RawLink&) = delete;
  RawLink& operator=(const RawLink&) = delete;
  ~RawLink();

  char* Data() { return audience_.blocked() ? nullptr : data_.data(); }

  bool Post(Name name) {
    if (audience_.blocked()) return false;
    audience_.Post(name, data_);
    AfterWrite(audience_);
    return true;
  }

  bool Reply(Name name, std::string_view data) {
    RawOutbox& outbox = replies_[static_cast<std::size_t>(replying_to_)];
    if (outbox.blocked()) return false;
    outbox.PostBrief(name, data);
    AfterWrite(outbox);
    if (outbox.has_unsent() && !outbox.blocked()) unflushed_.push_back(&outbox);
    return true;
  }

  void Finish() { finishing_ = true; }
  Tally tally() const;
  void Fail(const std::string& why) { place_->Fail(why); }

  template <typename Role>
  void Run(Role& role) {
    while (!(finishing_ && AllWritten())) {
      const bool posting = role.posting() && !audience_.blocked();
      if (posting) role.OnReady(*this);
      FlushTurn(role.posting());
      if (finishing_ && AllWritten()) return;
      epoll_event events[kEventsMax];
      const bool at_once = role.posting() && !audience_.blocked();
      if (!at_once && Linger(role)) continue;
      const int count = epoll_wait(epoll_fd_, events, kEventsMax, at_once ? 0 : -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.u32 == kInboxTag) {
          ReadInbox(role);
        } else {
          Resume(static_cast<int>(events[i].data.u32));
        }
      }
    }
  }

 private:
  static constexpr int kEventsMax = 64;
  static constexpr std::uint32_t kInboxTag = UINT32_MAX;

  // Tries the inbox again before it sleeps. Not while a pipe is full: that it has room again is
  // only heard where it sleeps.
  template <typename Role>
  bool Linger(Role& role) {
    if (linger_ == 0 || AnyBlocked()) return false;
    for (int i = 0; i < linger_; ++i) {
      if (inbox_.is_empty()) sched_yield();
      if (ReadInbox(role)) return true;
    }
    return false;
  }

  template <typename Role>
  bool ReadInbox(Role& role) {
    const bool found = inbox_.Read([&](int from, std::string_view alert) {
      replying_to_ = from;
      role.OnAlert(*this, from, NameOf(alert), alert.substr(kNameBytes));
    });
    if (!inbox_.error().empty()) Abort(inbox_.error());
    return found;
  }

  // The handler is looked up by name, as plainly as it can be done.
  static Name NameOf(std::string_view alert) {
    const std::string_view name = alert.substr(0, kNameBytes);
    for (const Name known : {Name::kItem, Name::kPing, Name::kPong}) {
      if (name == ToString(known)) return known;
    }
    return Name::kLast;
  }

  void AfterWrite(const RawOutbox& outbox) {
    if (outbox.blocked()) Watch(outbox);
    if (outbox.error() != 0) Abort("a write failed");
  }

  void Watch(const RawOutbox& outbox);
  bool AnyBlocked();
  void FlushTurn(bool more_to_come);
  void Resume(int process);
  bool AllWritten() const;
  void Abort(const std::string& why);

  Place* place_;
  std::string data_;
  RawInbox inbox_;
  RawOutbox audience_;
  std::deque<RawOutbox> replies_;
  std::vector<RawOutbox*> unflushed_;
  std::vector<const RawOutbox*> full_;  // that were blocked, and may still be
  std::vector<bool> watched_;
  int epoll_fd_;
  int linger_;
  int replying_to_ = 0;
  bool finishing_ = false;
};

// The family.
class RawTransport {
 public:
  using Link = RawLink;

  static absl::StatusOr<std::unique_ptr<RawTransport>> Create(const Settings& settings,
                                                              Packing packing);
  RawTransport(const RawTransport&) = delete;
  RawTransport& operator=(const RawTransport&) = delete;
  ~RawTransport();

  absl::StatusOr<pid_t> Spawn(int process, Place* place, const std::function<int(RawLink&)>& main);
  std::vector<Ended> Reap() { return children_.Reap(); }
  std::size_t capacity() const { return capacity_; }

 private:
  RawTransport(const Settings& settings, Packing packing)
      : settings_(settings), packing_(packing) {}
  absl::Status OpenPipes();

  Settings settings_;
  Packing packing_;
  std::vector<RawPipe> pipes_;
  Children children_;
  std::size_t capacity_ = 0;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RAW_LINK_H_
