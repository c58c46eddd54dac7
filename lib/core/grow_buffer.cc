// SPDX-License-Identifier: Apache-2.0
#include "core/grow_buffer.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/memory.h"

namespace alertpipe::core {
namespace {

// The first block: large enough for the common few packets, small enough to give to anybody who
// only claims a length.
constexpr std::size_t kFirstBlockBytes = 16384;
// The largest block that is kept for the next alert of the same sender.
constexpr std::size_t kKeptBlockBytes = kFirstBlockBytes;
constexpr std::size_t kPageBytes = 4096;

void ReleaseGrown(void* context, char* data, std::size_t) {
  FreeBlock(data, static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(context)));
}

std::size_t NextCapacity(std::size_t capacity, std::size_t needed, std::size_t total) {
  std::size_t next = std::min(std::max(capacity * 2, kFirstBlockBytes), std::max(total, needed));
  next = std::max(next, needed);
  return (next + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

bool GrowBuffer::Append(std::string_view bytes, std::size_t total) {
  const std::size_t needed = size_ + bytes.size();
  if (needed > capacity_) {
    const std::size_t next = NextCapacity(capacity_, needed, total);
    char* grown =
        block_ == nullptr ? AllocateBlock(next) : GrowBlock(block_, capacity_, next, size_);
    if (grown == nullptr) return false;
    block_ = grown;
    capacity_ = next;
  }
  if (!bytes.empty()) std::memcpy(block_ + size_, bytes.data(), bytes.size());
  size_ = needed;
  return true;
}

Buffer GrowBuffer::Take() {
  if (block_ == nullptr) return Buffer();
  Buffer taken = Buffer::Adopt(block_, size_, ReleaseGrown,
                               reinterpret_cast<void*>(static_cast<std::uintptr_t>(
                                   capacity_)));  // NOLINT(performance-no-int-to-ptr)
  block_ = nullptr;
  capacity_ = 0;
  size_ = 0;
  return taken;
}

void GrowBuffer::Clear() {
  if (capacity_ > kKeptBlockBytes) Free();
  size_ = 0;
}

void GrowBuffer::Swap(GrowBuffer* other) {
  std::swap(block_, other->block_);
  std::swap(capacity_, other->capacity_);
  std::swap(size_, other->size_);
}

void GrowBuffer::Free() {
  FreeBlock(block_, capacity_);
  block_ = nullptr;
  capacity_ = 0;
  size_ = 0;
}

absl::StatusOr<Buffer> TakeData(std::string_view* data, GrowBuffer** collected) {
  if (*collected == nullptr) {
    absl::StatusOr<Buffer> copy = Buffer::Copy(*data);
    if (copy.ok()) *data = std::string_view();
    return copy;
  }
  *data = std::string_view();
  return std::exchange(*collected, nullptr)->Take();
}

}  // namespace alertpipe::core
