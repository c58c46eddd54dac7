// SPDX-License-Identifier: Apache-2.0

#include "os/foreign_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "os/calls.h"
#include "os/directory.h"
#include "os/errors.h"
#include "os/unique_fd.h"

namespace alertpipe::os {
namespace {

// What the kernel puts around the name of a memfd.
constexpr absl::string_view kBefore = "/memfd:";
constexpr absl::string_view kAfter = " (deleted)";

// Whether the error is a shortage here, and says nothing of what was looked at.
bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR || error == EIO;
}

// The name of the memory file behind a link of /proc/PID/fd; empty if it is something else.
absl::StatusOr<std::string> NameBehind(const std::string& link) {
  char target[300];
  const ssize_t bytes = calls().readlink(link.c_str(), target, sizeof(target));
  if (bytes < 0 && IsShortage(errno)) return ErrnoStatus(errno, absl::StrCat("readlink ", link));
  if (bytes < 0) return std::string();
  absl::string_view name(target, static_cast<size_t>(bytes));
  if (!absl::ConsumePrefix(&name, kBefore) || !absl::ConsumeSuffix(&name, kAfter)) {
    return std::string();
  }
  return std::string(name);
}

bool Known(const std::vector<ForeignMemory>& found, std::uint64_t inode) {
  return std::any_of(found.begin(), found.end(),
                     [inode](const ForeignMemory& other) { return other.inode == inode; });
}

// Adds the file behind `link` unless it is one of those that are left out.
absl::Status Add(const std::string& link, std::string name, std::vector<ForeignMemory>* found) {
  // The descriptor may be another one by now: nothing here waits, and what is no sealed memory file
  // goes again.
  const UniqueFd fd(calls().open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) {
    if (IsShortage(errno)) return ErrnoStatus(errno, absl::StrCat("open ", link));
    return absl::OkStatus();
  }
  const int seals = calls().fcntl(fd.get(), F_GET_SEALS, 0);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return absl::OkStatus();
  struct stat file = {};
  if (calls().fstat(fd.get(), &file) != 0) return ErrnoStatus(errno, absl::StrCat("fstat ", link));
  if (file.st_size <= 0 || Known(*found, file.st_ino)) return absl::OkStatus();
  const auto bytes = static_cast<size_t>(file.st_size);
  void* data = calls().mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("mmap ", link));
  found->push_back({std::move(name), file.st_ino, Mapping(data, bytes)});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ForeignMemory>> OpenForeignMemory(pid_t pid, absl::string_view prefix) {
  if (pid <= 0) return absl::InvalidArgumentError(absl::StrCat("a pid is positive, was ", pid));
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  absl::StatusOr<std::vector<int>> numbers = ListNumbers(folder.c_str());
  if (!numbers.ok()) return numbers.status();
  std::sort(numbers->begin(), numbers->end());
  std::vector<ForeignMemory> found;
  for (const int number : *numbers) {
    const std::string link = absl::StrCat(folder, "/", number);
    absl::StatusOr<std::string> name = NameBehind(link);
    if (!name.ok()) return name.status();
    if (name->empty() || !absl::StartsWith(*name, prefix)) continue;
    if (absl::Status status = Add(link, *std::move(name), &found); !status.ok()) return status;
  }
  return found;
}

}  // namespace alertpipe::os
