// SPDX-License-Identifier: Apache-2.0
//
// Memory that master and workers share across fork, with no name in any file system.
//
// SealedRegion has one writer for life. The creator holds two mappings of the same pages: a
// writable one that fork does not copy (MADV_DONTFORK), and a read-only one that children inherit.
// The order of creation is what makes it tight: the writable mapping comes first, then
// F_SEAL_FUTURE_WRITE forbids all others, and only then comes the read-only mapping, which mprotect
// therefore cannot turn writable. The descriptor stays open in the creator, for readers that are no
// relatives: they find it in /proc, and the seal holds for them too.
//
// SharedRegion is for pages that children do write: each child gives up all but its own. It is
// sealed in the same way once it has been mapped, so that only what a process has inherited can be
// written.

#ifndef ALERTPIPE_OS_MEMORY_H_
#define ALERTPIPE_OS_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "os/unique_fd.h"

namespace alertpipe::os {

// Bytes of a page of memory in this system.
size_t PageBytes() noexcept;

// A mapping that unmaps itself. Move-only; a building block of the two regions below.
class Mapping {
 public:
  Mapping() noexcept = default;
  Mapping(void* data, size_t bytes) noexcept : data_(data), bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Reset(); }

  void* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }
  // Unmaps, if there is anything.
  void Reset() noexcept;
  // Gives the mapping up without unmapping it.
  void Forget() noexcept;

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Zeroed pages that only the creating process can write. Move-only; the destructor unmaps, in each
// process for itself. Not thread-safe in itself; the pages are as safe as what the users do with
// them.
class SealedRegion {
 public:
  // `name` shows up in /proc/PID/maps and nowhere else; at most 249 bytes. `bytes` > 0 is rounded
  // up to pages.
  //   InvalidArgument    `bytes` is 0 or too large, or `name` too long
  //   ResourceExhausted  no descriptor, no memory
  //   Unimplemented      the kernel has no memfd_create
  static absl::StatusOr<SealedRegion> Create(const char* name, size_t bytes);

  SealedRegion(SealedRegion&&) noexcept = default;
  SealedRegion& operator=(SealedRegion&&) noexcept = default;

  // The writable pages, in the creator only. After a fork the child must call ForgetWritable()
  // before anything else: the address is inherited, but there is nothing (or, later, something
  // else) behind it.
  void* writable() const noexcept { return writable_.data(); }
  void ForgetWritable() noexcept { writable_.Forget(); }

  // The same pages for reading, at one address in the creator and all its descendants.
  const void* readable() const noexcept { return readable_.data(); }

  // Bytes, a multiple of the page size.
  size_t size() const noexcept { return readable_.bytes(); }

  // True if the kernel enforces that nobody else can get at the pages for writing. False on kernels
  // without F_SEAL_FUTURE_WRITE (before 5.1): then it rests on there being no descriptor and, where
  // /proc is mounted, on a read-only mapping of a read-only descriptor; a hostile relative may find
  // a way around.
  bool sealed() const noexcept { return sealed_; }

  // The memfd (close-on-exec), owned here; negative after CloseFd(), and where sealed() is false:
  // it could be written through there. A child calls CloseFd().
  int fd() const noexcept { return fd_.get(); }
  void CloseFd() noexcept { fd_.reset(); }

 private:
  SealedRegion() = default;

  UniqueFd fd_;
  Mapping writable_;
  Mapping readable_;
  bool sealed_ = false;
};

// Zeroed pages that creator and children share for reading and writing. Nobody can change their
// number. Move-only; the destructor unmaps what is still mapped, in each process for itself.
class SharedRegion {
 public:
  // As SealedRegion::Create. The descriptor (close-on-exec) stays open until CloseFd().
  static absl::StatusOr<SharedRegion> Create(const char* name, size_t bytes);

  SharedRegion(SharedRegion&&) noexcept = default;
  SharedRegion& operator=(SharedRegion&&) noexcept = default;

  // The page at `offset` bytes of the region, which keeps its address in all descendants. Null if
  // that byte is not mapped here (outside, or given up by KeepOnly).
  void* At(size_t offset) const noexcept;

  // Bytes of the whole region, a multiple of the page size, whatever is still mapped.
  size_t size() const noexcept { return size_; }

  // Unmaps everything but [offset, offset + length), both multiples of PageBytes() and within what
  // is mapped; a length of 0 keeps nothing. For a child, together with CloseFd(): a wild pointer
  // then harms its own pages only.
  //   InvalidArgument    not page-aligned or not mapped; nothing was unmapped
  //   ResourceExhausted  the kernel could not split the mapping; what could not be unmapped stays
  //                      mapped, and is unmapped by the destructor
  absl::Status KeepOnly(size_t offset, size_t length);

  // The memfd, owned here; negative after CloseFd().
  int fd() const noexcept { return fd_.get(); }
  void CloseFd() noexcept { fd_.reset(); }
  // What tells this memory file from all others of the system, for as long as it exists.
  std::uint64_t inode() const noexcept { return inode_; }

 private:
  SharedRegion() = default;

  UniqueFd fd_;
  Mapping mapping_;    // what is mapped here
  size_t offset_ = 0;  // where mapping_ starts within the region
  size_t size_ = 0;
  std::uint64_t inode_ = 0;
};

}  // namespace alertpipe::os

#endif  // ALERTPIPE_OS_MEMORY_H_
