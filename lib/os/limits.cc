// SPDX-License-Identifier: Apache-2.0

#include "os/limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/directory.h"

namespace alertpipe::os {
namespace {

// Descriptors that are tried one by one where there is no /proc. More are hardly ever open there,
// and one system call for each is not free.
constexpr rlim_t kTriedMax = 65536;

std::optional<size_t> CountByProc(rlim_t limit) {
  const absl::StatusOr<std::vector<int>> open = ListNumbers("/proc/self/fd");
  if (!open.ok()) return std::nullopt;
  const auto count = static_cast<size_t>(std::count_if(
      open->begin(), open->end(), [limit](int fd) { return static_cast<rlim_t>(fd) < limit; }));
  return count - 1;  // ListNumbers had one for itself
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
