// SPDX-License-Identifier: Apache-2.0
#include "sim/real_pipe.h"

#include <poll.h>

#include <cerrno>
#include <utility>

#include "core/check.h"

namespace alertpipe::sim {
namespace {

bool Polls(int fd, short events) {
  pollfd polled = {fd, events, 0};
  return poll(&polled, 1, 0) == 1 && (polled.revents & events) != 0;
}

}  // namespace

RealPipe::RealPipe(std::size_t capacity) {
  absl::StatusOr<os::Pipe> created = os::CreatePipe(capacity);
  ALERTPIPE_CHECK(created.ok() && created->capacity == capacity, "the kernel grants no such pipe");
  pipe_ = *std::move(created);
}

std::size_t RealPipe::Write(const iovec* parts, int count) {
  const os::IoResult result = io_.Write(pipe_.write.get(), parts, count);
  ALERTPIPE_CHECK(result.error == 0 || result.error == EAGAIN, "a write to a pipe failed");
  return result.bytes;
}

std::size_t RealPipe::Read(char* to, std::size_t room) {
  const os::IoResult result = io_.Read(pipe_.read.get(), to, room);
  ALERTPIPE_CHECK(result.error == 0 || result.error == EAGAIN, "a read from a pipe failed");
  return result.bytes;
}

bool RealPipe::empty() const { return !Polls(pipe_.read.get(), POLLIN); }

bool RealPipe::writable() const { return Polls(pipe_.write.get(), POLLOUT); }

}  // namespace alertpipe::sim
