// SPDX-License-Identifier: Apache-2.0
#include "transports/raw_link.h"

#include <unistd.h>

#include <algorithm>

namespace alertpipe::bench {
namespace {

std::vector<RawOutbox::Pipe> PipesOf(const std::vector<int>& processes,
                                     const std::vector<RawPipe>& pipes) {
  std::vector<RawOutbox::Pipe> list;
  for (const int process : processes) {
    list.push_back({process, pipes[static_cast<std::size_t>(process)].write_fd});
  }
  return list;
}

}  // namespace

RawLink::RawLink(const Settings& settings, Packing packing, int self,
                 const std::vector<RawPipe>& pipes, Place* place)
    : place_(place),
      data_(settings.bytes, '\0'),
      inbox_(pipes[static_cast<std::size_t>(self)].read_fd, settings.processes()),
      audience_(packing, self, kPostLane, PipesOf(AudienceOf(settings, self), pipes)),
      watched_(pipes.size()),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      linger_(settings.linger) {
  Contents(settings.bytes, settings.checksum).Prepare(data_.data());
  for (int process = 0; process < settings.processes(); ++process) {
    replies_.emplace_back(packing, self, kReplyLane, PipesOf({process}, pipes));
  }
  unflushed_.reserve(pipes.size());
  epoll_event event{EPOLLIN, {}};
  event.data.u32 = kInboxTag;
  const int inbox_fd = pipes[static_cast<std::size_t>(self)].read_fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, inbox_fd, &event) != 0) Abort("epoll failed");
}

RawLink::~RawLink() { close(epoll_fd_); }

Tally RawLink::tally() const {
  Tally sum = audience_.tally();
  for (const RawOutbox& outbox : replies_) {
    sum.alerts += outbox.tally().alerts;
    sum.packets += outbox.tally().packets;
  }
  return sum;
}

void RawLink::Watch(const RawOutbox& outbox) {
  if (std::find(full_.begin(), full_.end(), &outbox) == full_.end()) full_.push_back(&outbox);
  for (const RawOutbox::Pipe& pipe : outbox.waiting()) {
    const auto process = static_cast<std::size_t>(pipe.process);
    if (watched_[process]) continue;
    epoll_event event{EPOLLOUT | EPOLLET, {}};
    event.data.u32 = static_cast<std::uint32_t>(process);
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, pipe.fd, &event) != 0) Abort("epoll failed");
    watched_[process] = true;
  }
}

bool RawLink::AnyBlocked() {
  full_.erase(std::remove_if(full_.begin(), full_.end(),
                             [](const RawOutbox* outbox) { return !outbox->blocked(); }),
              full_.end());
  return !full_.empty();
}

// What was packed leaves at the end of a turn, unless the next one goes on filling it.
void RawLink::FlushTurn(bool more_to_come) {
  for (RawOutbox* outbox : unflushed_) {
    outbox->Flush();
    AfterWrite(*outbox);
  }
  unflushed_.clear();
  if (!more_to_come) {
    audience_.Flush();
    AfterWrite(audience_);
  }
}

void RawLink::Resume(int process) {
  for (RawOutbox* outbox : {&audience_, &replies_[static_cast<std::size_t>(process)]}) {
    if (!outbox->blocked()) continue;
    outbox->Resume();
    AfterWrite(*outbox);
    if (outbox != &audience_ && outbox->has_unsent() && !outbox->blocked()) {
      unflushed_.push_back(outbox);
    }
  }
}

bool RawLink::AllWritten() const {
  return !audience_.blocked() && !audience_.has_unsent() &&
         std::none_of(replies_.begin(), replies_.end(), [](const RawOutbox& outbox) {
           return outbox.blocked() || outbox.has_unsent();
         });
}

// There is no way to go on.
void RawLink::Abort(const std::string& why) {
  Fail(why);
  _exit(1);
}

absl::StatusOr<std::unique_ptr<RawTransport>> RawTransport::Create(const Settings& settings,
                                                                   Packing packing) {
  std::unique_ptr<RawTransport> transport(new RawTransport(settings, packing));
  if (absl::Status status = transport->OpenPipes(); !status.ok()) return status;
  return transport;
}

absl::Status RawTransport::OpenPipes() {
  for (int process = 0; process < settings_.processes(); ++process) {
    const absl::StatusOr<RawPipe> pipe = OpenPipe(settings_.capacity);
    if (!pipe.ok()) return pipe.status();
    pipes_.push_back(*pipe);
    capacity_ = capacity_ == 0 ? pipe->capacity : std::min(capacity_, pipe->capacity);
  }
  return absl::OkStatus();
}

RawTransport::~RawTransport() {
  for (const RawPipe& pipe : pipes_) ClosePipe(pipe);
}

absl::StatusOr<pid_t> RawTransport::Spawn(int process, Place* place,
                                          const std::function<int(RawLink&)>& main) {
  return children_.Fork([&] {
    RawLink link(settings_, packing_, process, pipes_, place);
    return main(link);
  });
}

}  // namespace alertpipe::bench
