// SPDX-License-Identifier: Apache-2.0

#include "os/limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/unique_fd.h"

namespace alertpipe::os {
namespace {

// Descriptors that are tried one by one where there is no /proc. More are hardly ever open there,
// and one system call for each is not free.
constexpr rlim_t kTriedMax = 65536;

// The layout of what getdents64 returns, which no header of libc declares for us under a fixed
// name.
constexpr size_t kRecordLengthAt = 16;
constexpr size_t kRecordNameAt = 19;

// Counts numbers below `limit` among the entries of one getdents64 buffer, `skip` excepted.
size_t CountNumbers(const char* data, size_t bytes, rlim_t limit, int skip) {
  size_t count = 0;
  for (size_t at = 0; at + kRecordNameAt < bytes;) {
    uint16_t length;
    std::memcpy(&length, data + at + kRecordLengthAt, sizeof(length));
    if (length <= kRecordNameAt || length > bytes - at) break;
    const char* name = data + at + kRecordNameAt;
    at += length;
    if (name[0] < '0' || name[0] > '9') continue;
    const int fd = std::atoi(name);
    if (fd != skip && static_cast<rlim_t>(fd) < limit) ++count;
  }
  return count;
}

std::optional<size_t> CountByProc(rlim_t limit) {
  const UniqueFd directory(calls().open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return std::nullopt;
  alignas(8) char data[8192];
  size_t count = 0;
  for (;;) {
    const ssize_t bytes = calls().getdents64(directory.get(), data, sizeof(data));
    if (bytes < 0) return std::nullopt;
    if (bytes == 0) return count;
    count += CountNumbers(data, static_cast<size_t>(bytes), limit, directory.get());
  }
}

size_t CountByTrying(rlim_t limit) {
  size_t count = 0;
  const int tried = static_cast<int>(std::min(limit, kTriedMax));
  for (int fd = 0; fd < tried; ++fd) {
    if (calls().fcntl(fd, F_GETFD, 0) >= 0) ++count;
  }
  return count;
}

}  // namespace

absl::Status CheckDescriptors(size_t needed) {
  rlimit limit = {};
  if (calls().getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return absl::OkStatus();
  }
  const rlim_t allowed = limit.rlim_cur;
  const std::optional<size_t> by_proc = CountByProc(allowed);
  const size_t open = by_proc ? *by_proc : CountByTrying(allowed);
  if (open <= allowed && needed <= allowed - open) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("RLIMIT_NOFILE allows ", allowed,
                                                   " descriptors, ", open, " are open and ", needed,
                                                   " more are needed (ulimit -n sets the limit)"));
}

absl::Status CheckStandardDescriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (calls().fcntl(fd, F_GETFD, 0) >= 0) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("descriptor ", fd,
                     " is closed: stdio and libuv need 0, 1 and 2; open "
                     "/dev/null there before the master is created"));
  }
  return absl::OkStatus();
}

size_t PacketBytesMax() noexcept {
  constexpr size_t kPacketBytes = 4096;
  const auto pipe_buf = calls().pathconf("/", _PC_PIPE_BUF);
  if (pipe_buf < _POSIX_PIPE_BUF) return _POSIX_PIPE_BUF;
  return std::min(kPacketBytes, static_cast<size_t>(pipe_buf));
}

}  // namespace alertpipe::os
