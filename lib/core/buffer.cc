// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/buffer.h>

#include <cstring>
#include <new>
#include <utility>

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include "core/check.h"
#include "core/memory.h"

namespace alertpipe {
namespace {

void ReleaseBlock(void*, char* data, std::size_t size) { core::FreeBlock(data, size); }

void ReleaseString(void* context, char*, std::size_t) { delete static_cast<std::string*>(context); }

}  // namespace

Buffer::Buffer(std::string bytes) {
  if (bytes.empty()) return;
  auto* owner = new std::string(std::move(bytes));
  *this = Buffer(owner->data(), owner->size(), ReleaseString, owner);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      release_(std::exchange(other.release_, nullptr)),
      context_(std::exchange(other.context_, nullptr)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    release_ = std::exchange(other.release_, nullptr);
    context_ = std::exchange(other.context_, nullptr);
  }
  return *this;
}

Buffer::~Buffer() { Free(); }

void Buffer::Free() noexcept {
  if (release_ != nullptr) release_(context_, data_, size_);
  release_ = nullptr;
}

absl::StatusOr<Buffer> Buffer::Allocate(std::size_t size) {
  char* block = core::AllocateBlock(size);
  if (block == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", size, " bytes of alert data"));
  }
  return Buffer(block, size, ReleaseBlock, nullptr);
}

absl::StatusOr<Buffer> Buffer::Copy(std::string_view bytes) {
  absl::StatusOr<Buffer> copy = Allocate(bytes.size());
  if (copy.ok() && !bytes.empty()) std::memcpy(copy->data(), bytes.data(), bytes.size());
  return copy;
}

Buffer Buffer::Adopt(char* data, std::size_t size, Release release, void* context) {
  ALERTPIPE_CHECK(release != nullptr, "Buffer::Adopt: release must not be null");
  return Buffer(data, size, release, context);
}

}  // namespace alertpipe
