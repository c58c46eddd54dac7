// SPDX-License-Identifier: Apache-2.0

#include "os/kernel.h"

#include <poll.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "os/calls.h"
#include "os/memory.h"
#include "os/pipe.h"
#include "os/process.h"

// MADV_WIPEONFORK, for older system headers.
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace alertpipe::os {
namespace {

constexpr size_t kPacketBytes = 4096;

ssize_t ReadByte(int fd, int flags) {
  char byte;
  const iovec part = {&byte, 1};
  return calls().preadv2(fd, &part, 1, -1, flags);
}

ssize_t WriteByte(int fd, int flags) {
  char byte = 0;
  const iovec part = {&byte, 1};
  return calls().pwritev2(fd, &part, 1, -1, flags);
}

// The proof that RWF_NOWAIT does not wait would be a call that must not block on a pipe with
// O_NONBLOCK cleared; on a kernel that fails the test it never returns. A watchdog would have to be
// a thread (which makes malloc and every cancellation point of the process slower for good), a
// signal, or a fork. So O_NONBLOCK stays set and the kernel's own rule decides: it refuses the flag
// (EOPNOTSUPP) on every file whose implementation has not declared that it honours it. If a kernel
// should lie, nothing is lost but the first of three defences (see pipe.h). The test suite makes
// the dangerous call, in a child that it can kill.
bool HonoursNowait(const Pipe& pipe) {
  const int reader = pipe.read.get();
  const int writer = pipe.write.get();
  if (ReadByte(reader, kRwfNowait) >= 0 || errno != EAGAIN) return false;
  if (WriteByte(writer, kRwfNowait) != 1) return false;
  if (ReadByte(reader, kRwfNowait) == 1) return true;
  ReadByte(reader, 0);  // leaves the pipe empty for the next probe
  return false;
}

// With a living reader, so that a kernel without the flag has no reason for SIGPIPE either.
bool AcceptsNosignal(const Pipe& pipe) {
  return WriteByte(pipe.write.get(), kRwfNosignal) == 1 && ReadByte(pipe.read.get(), 0) == 1;
}

// Writes runs of packets into a pipe at many fill levels and looks at where the kernel cuts.
class RunProbe {
 public:
  RunProbe(const Pipe& pipe, const PipeIo& io)
      : pipe_(pipe),
        io_(io),
        page_(PageBytes()),
        pages_(pipe.capacity / page_),
        packets_(pipe.capacity / kPacketBytes + 1),
        run_(packets_ * kPacketBytes),
        seen_(pipe.capacity + kPacketBytes) {
    for (size_t packet = 0; packet < packets_; ++packet) {
      char* start = run_.data() + packet * kPacketBytes;
      std::memset(start, static_cast<int>('a' + packet % 26), kPacketBytes);
      // As real packets are: a header, and a record in two pieces.
      parts_.push_back({start, 32});
      parts_.push_back({start + 32, 1000});
      parts_.push_back({start + 1032, kPacketBytes - 1032});
    }
  }

  bool CutsBetweenPackets() {
    if (pages_ == 0 || parts_.size() > kPartsMax) return false;
    for (size_t used = 0; used <= pages_; ++used) {
      // Bytes in the last page in use; 0 stands for a full one.
      for (const size_t tail : {size_t{0}, size_t{1}, kPacketBytes / 2, page_ - 1}) {
        if (!CutsAt(used, tail)) return false;
        if (used == 0) break;
      }
    }
    return true;
  }

 private:
  static constexpr size_t kPartsMax = 1024;  // IOV_MAX of Linux

  bool CutsAt(size_t used, size_t tail) {
    const size_t filled = used * page_ - (tail == 0 ? 0 : page_ - tail);
    if (filled > 0) {
      const iovec fill = {seen_.data(), filled};
      const IoResult written = io_.Write(pipe_.write.get(), &fill, 1);
      if (written.bytes != filled) return false;
    }
    const IoResult run =
        io_.Write(pipe_.write.get(), parts_.data(), static_cast<int>(parts_.size()));
    // One packet more than an empty pipe holds, so it is always cut somewhere.
    const bool cut_well =
        used == pages_ ? run.error == EAGAIN
                       : run.bytes > 0 && run.bytes % kPacketBytes == 0 && run.bytes < run_.size();
    const IoResult read = io_.Read(pipe_.read.get(), seen_.data(), seen_.size());
    return cut_well && read.bytes == filled + run.bytes &&
           std::memcmp(seen_.data() + filled, run_.data(), run.bytes) == 0;
  }

  const Pipe& pipe_;
  const PipeIo io_;
  const size_t page_;
  const size_t pages_;
  const size_t packets_;
  std::vector<char> run_;
  std::vector<char> seen_;
  std::vector<iovec> parts_;
};

bool HasPidfd() {
  const absl::StatusOr<UniqueFd> self = OpenPidfd(calls().getpid());
  if (!self.ok()) return false;
  pollfd polled = {self->get(), POLLIN, 0};
  return calls().poll(&polled, 1, 0) == 0;
}

bool HasWipeOnFork() {
  const size_t bytes = PageBytes();
  void* page =
      calls().mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  const Mapping mapping(page, bytes);
  return calls().madvise(page, bytes, MADV_WIPEONFORK) == 0;
}

}  // namespace

absl::StatusOr<Kernel> ProbeKernel() {
  // Small, so that all its fill levels are tried in little time.
  absl::StatusOr<Pipe> pipe = CreatePipe(4 * PageBytes());
  if (!pipe.ok()) return pipe.status();
  Kernel kernel;
  kernel.nowait = HonoursNowait(*pipe);
  kernel.nosignal = AcceptsNosignal(*pipe);
  kernel.runs = RunProbe(*pipe, PipeIo(kernel)).CutsBetweenPackets();
  kernel.pidfd = HasPidfd();
  kernel.wipe_on_fork = HasWipeOnFork();
  return kernel;
}

}  // namespace alertpipe::os
