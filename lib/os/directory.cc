// SPDX-License-Identifier: Apache-2.0

#include "os/directory.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/errors.h"
#include "os/unique_fd.h"

namespace alertpipe::os {
namespace {

// The layout of what getdents64 returns, which no header of libc declares for us under a fixed
// name.
constexpr size_t kRecordLengthAt = 16;
constexpr size_t kRecordNameAt = 19;

void AddNumbers(const char* data, size_t bytes, std::vector<int>* numbers) {
  for (size_t at = 0; at + kRecordNameAt < bytes;) {
    uint16_t length;
    std::memcpy(&length, data + at + kRecordLengthAt, sizeof(length));
    if (length <= kRecordNameAt || length > bytes - at) break;
    const char* name = data + at + kRecordNameAt;
    const size_t name_bytes = ::strnlen(name, length - kRecordNameAt);
    at += length;
    int number;
    if (absl::SimpleAtoi(absl::string_view(name, name_bytes), &number)) numbers->push_back(number);
  }
}

}  // namespace

absl::StatusOr<std::vector<int>> ListNumbers(const char* path) {
  const UniqueFd directory(calls().open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  alignas(8) char data[8192];
  std::vector<int> numbers;
  for (;;) {
    const ssize_t bytes = calls().getdents64(directory.get(), data, sizeof(data));
    if (bytes < 0) return ErrnoStatus(errno, absl::StrCat("getdents64 ", path));
    if (bytes == 0) break;
    AddNumbers(data, static_cast<size_t>(bytes), &numbers);
  }
  return numbers;
}

}  // namespace alertpipe::os
