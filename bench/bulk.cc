// SPDX-License-Identifier: Apache-2.0
//
// How large data is best read from a pipe: into a buffer as large as the pipe, and copied from
// there to its place, as alertpipe does; with smaller reads; or straight into its place by a readv
// whose parts leave out the packets' heads, with room behind for what was not expected. A writer
// sends messages in packets of 4096 bytes as fast as it can, a reader puts them together; nothing
// else of what a library has to do. Reads of less than the pipe break the rule that a killed reader
// leaves whole packets: they are here to show what the rule costs.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "os/kernel.h"

ABSL_FLAG(int, bytes, 1048576, "data of a message");
ABSL_FLAG(int, capacity, 262144, "of the pipe");
ABSL_FLAG(int, rounds, 7, "of all contenders in turn; the medians are printed");
ABSL_FLAG(double, seconds, 0.3, "for each");

namespace alertpipe::bench {
namespace {

constexpr std::size_t kPacket = 4096;
constexpr std::size_t kHead = 36;
constexpr std::size_t kPart = kPacket - kHead;

using Clock = std::chrono::steady_clock;

struct Contender {
  std::string name;
  bool in_place = false;
  std::size_t read_bytes = 0;  // 0: more than the pipe holds
  std::size_t run = 2;         // packets that the writer writes with one call
};

int WatchIn(int fd, std::uint32_t what) {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{what, {}};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  return epoll_fd;
}

void WaitFor(int epoll_fd) {
  epoll_event event;
  epoll_wait(epoll_fd, &event, 1, 1000);
}

void WriteMessages(int fd, std::size_t packets, std::size_t run, Clock::time_point end) {
  const int epoll_fd = WatchIn(fd, EPOLLOUT);
  std::vector<char> data(packets * kPart, 'x');
  char head[kHead] = {};
  std::vector<iovec> parts;
  while (Clock::now() < end) {
    for (std::size_t at = 0; at < packets;) {
      parts.clear();
      for (std::size_t i = at; i < std::min(at + run, packets); ++i) {
        parts.push_back({head, kHead});
        parts.push_back({data.data() + i * kPart, kPart});
      }
      const ssize_t written = pwritev2(fd, parts.data(), static_cast<int>(parts.size()), -1,
                                       os::kRwfNowait | os::kRwfNosignal);
      if (written < 0 && errno != EAGAIN) return;
      if (written < 0) {
        WaitFor(epoll_fd);
      } else {
        at += static_cast<std::size_t>(written) / kPacket;
      }
    }
  }
}

class Reader {
 public:
  Reader(const Contender& how, std::size_t packets, std::size_t capacity)
      : how_(how), packets_(packets), buffer_(capacity + kPacket), place_(packets * kPart) {}

  // Until the writer is gone. Returns the bytes.
  std::size_t Run(int fd) {
    const int epoll_fd = WatchIn(fd, EPOLLIN);
    std::size_t all = 0;
    for (;;) {
      const ssize_t got = how_.in_place ? ReadInPlace(fd) : ReadAndCopy(fd);
      if (got == 0) break;
      if (got > 0) {
        all += static_cast<std::size_t>(got);
      } else if (errno == EAGAIN) {
        WaitFor(epoll_fd);
      } else {
        break;
      }
    }
    close(epoll_fd);
    return all;
  }

 private:
  char* Place() { return place_.data() + at_ * kPart; }
  void Next() { at_ = (at_ + 1) % packets_; }

  ssize_t ReadAndCopy(int fd) {
    const std::size_t room = buffer_.size() - kept_;
    const ssize_t got = read(fd, buffer_.data() + kept_,
                             how_.read_bytes == 0 ? room : std::min(room, how_.read_bytes));
    if (got <= 0) return got;
    kept_ += static_cast<std::size_t>(got);
    std::size_t from = 0;
    for (; kept_ - from >= kPacket; from += kPacket) {
      std::memcpy(Place(), buffer_.data() + from + kHead, kPart);
      Next();
    }
    std::memmove(buffer_.data(), buffer_.data() + from, kept_ - from);
    kept_ -= from;
    return got;
  }

  // All the packets that the rest of the message is expected to be, and the room of the rule.
  ssize_t ReadInPlace(int fd) {
    constexpr std::size_t kPartsMax = 1022;
    parts_.clear();
    const std::size_t expected =
        std::min({packets_ - at_, kPartsMax / 2, (buffer_.size() + kPacket - 1) / kPacket});
    for (std::size_t i = 0; i < expected; ++i) {
      parts_.push_back({head_, kHead});
      parts_.push_back({place_.data() + (at_ + i) * kPart, kPart});
    }
    parts_.push_back({buffer_.data(), buffer_.size()});
    const ssize_t got = readv(fd, parts_.data(), static_cast<int>(parts_.size()));
    if (got <= 0) return got;
    std::size_t packets = static_cast<std::size_t>(got) / kPacket;
    for (std::size_t i = 0; i < std::min(packets, expected); ++i) Next();
    for (std::size_t i = expected; i < packets; ++i) {
      std::memcpy(Place(), buffer_.data() + (i - expected) * kPacket + kHead, kPart);
      Next();
    }
    return got;
  }

  const Contender& how_;
  std::size_t packets_;
  std::vector<char> buffer_;
  std::vector<char> place_;
  std::vector<iovec> parts_;
  char head_[kHead];
  std::size_t kept_ = 0;
  std::size_t at_ = 0;
};

// Megabytes of data in a second.
double Measure(const Contender& how) {
  const auto bytes = static_cast<std::size_t>(absl::GetFlag(FLAGS_bytes));
  const std::size_t packets = (bytes + kPart - 1) / kPart;
  int fds[2];
  if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) return 0;
  fcntl(fds[1], F_SETPIPE_SZ, absl::GetFlag(FLAGS_capacity));
  const auto capacity = static_cast<std::size_t>(fcntl(fds[1], F_GETPIPE_SZ));
  const auto begin = Clock::now();
  const std::chrono::duration<double> span(absl::GetFlag(FLAGS_seconds));
  const pid_t writer = fork();
  if (writer == 0) {
    close(fds[0]);
    WriteMessages(fds[1], packets, how.run,
                  begin + std::chrono::duration_cast<Clock::duration>(span));
    _exit(0);
  }
  close(fds[1]);
  Reader reader(how, packets, capacity);
  const std::size_t all = reader.Run(fds[0]);
  const std::chrono::duration<double> taken = Clock::now() - begin;
  close(fds[0]);
  waitpid(writer, nullptr, 0);
  return static_cast<double>(all) / kPacket * kPart / taken.count() / 1048576;
}

int Run() {
  std::vector<Contender> contenders;
  for (const std::size_t run : {1u, 2u, 4u}) {
    const std::string runs = ", " + std::to_string(run) + " a write";
    contenders.push_back({"whole pipe, copied" + runs, false, 0, run});
    contenders.push_back({"64 KiB, copied" + runs, false, 65536, run});
    contenders.push_back({"whole pipe, in place" + runs, true, 0, run});
  }
  std::vector<std::vector<double>> results(contenders.size());
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i)
      results[i].push_back(Measure(contenders[i]));
  }
  std::printf("messages of %d bytes, a pipe of %d\n", absl::GetFlag(FLAGS_bytes),
              absl::GetFlag(FLAGS_capacity));
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    std::vector<double>& all = results[i];
    std::sort(all.begin(), all.end());
    std::printf("%-32s %6.0f MB/s (%.0f .. %.0f)\n", contenders[i].name.c_str(),
                all[all.size() / 2], all.front(), all.back());
  }
  return 0;
}

}  // namespace
}  // namespace alertpipe::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("bulk: ways to read large data from a pipe");
  absl::ParseCommandLine(argc, argv);
  if (absl::GetFlag(FLAGS_bytes) < 4096 || absl::GetFlag(FLAGS_rounds) < 1) {
    std::fprintf(stderr, "--bytes must be at least 4096, --rounds at least 1\n");
    return 2;
  }
  return alertpipe::bench::Run();
}
