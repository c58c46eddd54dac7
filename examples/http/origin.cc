// SPDX-License-Identifier: Apache-2.0
#include "origin.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>
#include <utility>

namespace http_example {
namespace {

constexpr std::size_t kKeyBytesMax = 64;

absl::Status Failed(const char* what, const std::string& key) {
  return absl::ErrnoToStatus(errno, std::string("the origin cannot ") + what + " " + key);
}

// The whole of a file.
absl::Status ReadAll(int file, const std::string& key, std::string* value) {
  value->resize(kValueBytesMax + 1);
  std::size_t size = 0;
  while (size < value->size()) {
    const ssize_t got = read(file, value->data() + size, value->size() - size);
    if (got < 0) return Failed("read", key);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kValueBytesMax) {
    return absl::OutOfRangeError("the origin's value of " + key + " is longer than " +
                                 std::to_string(kValueBytesMax) + " bytes");
  }
  value->resize(size);
  return absl::OkStatus();
}

absl::Status WriteAll(int file, const std::string& key, const std::string& value) {
  for (std::size_t size = 0; size < value.size();) {
    const ssize_t put = write(file, value.data() + size, value.size() - size);
    if (put < 0) return Failed("write", key);
    size += static_cast<std::size_t>(put);
  }
  return absl::OkStatus();
}

}  // namespace

struct Origin::Shared {
  std::atomic<std::uint64_t> revision{0};
  std::atomic<std::uint64_t> reads{0};
};

absl::StatusOr<std::unique_ptr<Origin>> Origin::Open(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot open the origin, " + folder);
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    const absl::Status status = absl::ErrnoToStatus(errno, "no memory for the origin's revision");
    close(descriptor);
    return status;
  }
  return std::unique_ptr<Origin>(new Origin(descriptor, new (memory) Shared));
}

Origin::~Origin() {
  close(folder_);
  munmap(shared_, sizeof(Shared));
}

bool Origin::IsKey(std::string_view key) {
  return !key.empty() && key.size() <= kKeyBytesMax &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-';
         });
}

Origin::Reading Origin::Read(const std::string& key) {
  Reading reading;
  reading.revision = revision();  // before the file is opened
  ++shared_->reads;
  const int file = openat(folder_, key.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) {
    if (errno != ENOENT) reading.status = Failed("open", key);
    return reading;
  }
  std::string value;
  reading.status = ReadAll(file, key, &value);
  if (reading.status.ok()) reading.value = std::move(value);
  close(file);
  return reading;
}

absl::StatusOr<std::uint64_t> Origin::Write(const std::string& key, const Value& value) {
  if (value.has_value()) {
    if (absl::Status status = Store(key, *value); !status.ok()) return status;
  } else if (unlinkat(folder_, key.c_str(), 0) != 0 && errno != ENOENT) {
    return Failed("remove", key);
  }
  return Mark();
}

// Readers find the old file or the new one. The name of a file that is not done is no key.
absl::Status Origin::Store(const std::string& key, const std::string& value) const {
  const std::string draft = ".draft-" + std::to_string(getpid());
  const int file =
      openat(folder_, draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return Failed("store", key);
  absl::Status status = WriteAll(file, key, value);
  close(file);
  if (status.ok() && renameat(folder_, draft.c_str(), folder_, key.c_str()) != 0)
    status = Failed("store", key);
  return status;
}

std::uint64_t Origin::Mark() { return ++shared_->revision; }

std::uint64_t Origin::revision() const { return shared_->revision; }

std::uint64_t Origin::reads() const { return shared_->reads; }

}  // namespace http_example
