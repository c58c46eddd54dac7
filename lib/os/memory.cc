// SPDX-License-Identifier: Apache-2.0

#include "os/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "os/calls.h"
#include "os/errors.h"

// For older system headers.
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace alertpipe::os {
namespace {

constexpr int kSizeSeals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

struct Memfd {
  UniqueFd fd;
  size_t bytes = 0;
};

absl::StatusOr<Memfd> CreateMemfd(const char* name, size_t bytes) {
  const size_t page = PageBytes();
  if (bytes == 0 || bytes > SIZE_MAX / 2 - page) {
    return absl::InvalidArgumentError(absl::StrCat("shared memory \"", name, "\" must have 1 to ",
                                                   SIZE_MAX / 2 - page, " bytes, was ", bytes));
  }
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Memfd memfd;
  memfd.bytes = (bytes + page - 1) / page * page;
  // Systems with vm.memfd_noexec=2 refuse the call without this flag, kernels before 6.3 with it.
  memfd.fd.reset(calls().memfd_create(name, kFlags | MFD_NOEXEC_SEAL));
  if (!memfd.fd.valid() && errno == EINVAL) {
    memfd.fd.reset(calls().memfd_create(name, kFlags));
  }
  if (!memfd.fd.valid()) return ErrnoStatus(errno, absl::StrCat("memfd_create(\"", name, "\")"));
  if (calls().ftruncate(memfd.fd.get(), static_cast<off_t>(memfd.bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("ftruncate(\"", name, "\", ", memfd.bytes, ")"));
  }
  return memfd;
}

absl::StatusOr<Mapping> Map(const char* name, int fd, size_t bytes, int protection) {
  void* data = calls().mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, absl::StrCat("mmap(\"", name, "\", ", bytes, ")"));
  }
  return Mapping(data, bytes);
}

absl::Status AddSeals(const char* name, int fd, int seals) {
  if (calls().fcntl(fd, F_ADD_SEALS, seals) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("fcntl(\"", name, "\", F_ADD_SEALS, ", seals, ")"));
}

// A mapping can be made writable by mprotect if its descriptor could write, so on kernels that do
// not seal, the mapping for the children is made from a descriptor that can only read. Nothing, if
// /proc cannot help.
UniqueFd ReopenForReading(int fd) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  return UniqueFd(calls().open(path, O_RDONLY | O_CLOEXEC));
}

}  // namespace

size_t PageBytes() noexcept {
  static const size_t bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    Reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void Mapping::Reset() noexcept {
  if (data_ == nullptr) return;
  const int error = errno;
  calls().munmap(data_, bytes_);
  errno = error;
  Forget();
}

void Mapping::Forget() noexcept {
  data_ = nullptr;
  bytes_ = 0;
}

absl::StatusOr<SealedRegion> SealedRegion::Create(const char* name, size_t bytes) {
  absl::StatusOr<Memfd> memfd = CreateMemfd(name, bytes);
  if (!memfd.ok()) return memfd.status();
  const int fd = memfd->fd.get();
  SealedRegion region;

  absl::StatusOr<Mapping> writable = Map(name, fd, memfd->bytes, PROT_READ | PROT_WRITE);
  if (!writable.ok()) return writable.status();
  region.writable_ = *std::move(writable);
  if (calls().madvise(region.writable_.data(), memfd->bytes, MADV_DONTFORK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("madvise(\"", name, "\", MADV_DONTFORK)"));
  }

  region.sealed_ = calls().fcntl(fd, F_ADD_SEALS, kSizeSeals | F_SEAL_FUTURE_WRITE) == 0;
  UniqueFd reading;
  if (!region.sealed_) {
    if (absl::Status status = AddSeals(name, fd, kSizeSeals); !status.ok()) return status;
    reading = ReopenForReading(fd);
  }

  // After the seal, and not a moment earlier: see the head of memory.h.
  absl::StatusOr<Mapping> readable =
      Map(name, reading.valid() ? reading.get() : fd, memfd->bytes, PROT_READ);
  if (!readable.ok()) return readable.status();
  region.readable_ = *std::move(readable);
  if (region.sealed_) region.fd_ = std::move(memfd->fd);
  return region;
}

absl::StatusOr<SharedRegion> SharedRegion::Create(const char* name, size_t bytes) {
  absl::StatusOr<Memfd> memfd = CreateMemfd(name, bytes);
  if (!memfd.ok()) return memfd.status();
  SharedRegion region;
  region.fd_ = std::move(memfd->fd);
  region.size_ = memfd->bytes;
  struct stat file = {};
  if (calls().fstat(region.fd(), &file) != 0) {
    return ErrnoStatus(errno, absl::StrCat("fstat(\"", name, "\")"));
  }
  region.inode_ = file.st_ino;
  absl::StatusOr<Mapping> mapping = Map(name, region.fd(), memfd->bytes, PROT_READ | PROT_WRITE);
  if (!mapping.ok()) return mapping.status();
  region.mapping_ = *std::move(mapping);
  // After the mapping, which children inherit: nobody gets another one to write to.
  if (calls().fcntl(region.fd(), F_ADD_SEALS, kSizeSeals | F_SEAL_FUTURE_WRITE) == 0) return region;
  if (errno != EINVAL)
    return ErrnoStatus(errno, absl::StrCat("fcntl(\"", name, "\", F_ADD_SEALS)"));
  if (absl::Status status = AddSeals(name, region.fd(), kSizeSeals); !status.ok()) return status;
  return region;
}

void* SharedRegion::At(size_t offset) const noexcept {
  if (offset < offset_ || offset - offset_ >= mapping_.bytes()) return nullptr;
  return static_cast<char*>(mapping_.data()) + (offset - offset_);
}

absl::Status SharedRegion::KeepOnly(size_t offset, size_t length) {
  const size_t page = PageBytes();
  if (offset % page != 0 || length % page != 0 || offset < offset_ ||
      offset - offset_ > mapping_.bytes() || length > mapping_.bytes() - (offset - offset_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot keep ", length, " bytes at ", offset, " of shared memory: ", mapping_.bytes(),
        " bytes at ", offset_, " are mapped, in pages of ", page));
  }
  if (length == 0) {
    mapping_.Reset();
    return absl::OkStatus();
  }
  char* const start = static_cast<char*>(mapping_.data());
  const size_t before = offset - offset_;
  const size_t after = mapping_.bytes() - before - length;
  if (after > 0) {
    if (calls().munmap(start + before + length, after) != 0) return ErrnoStatus(errno, "munmap");
    mapping_.Forget();
    mapping_ = Mapping(start, before + length);
  }
  if (before > 0) {
    if (calls().munmap(start, before) != 0) return ErrnoStatus(errno, "munmap");
    mapping_.Forget();
    mapping_ = Mapping(start + before, length);
    offset_ = offset;
  }
  return absl::OkStatus();
}

}  // namespace alertpipe::os
