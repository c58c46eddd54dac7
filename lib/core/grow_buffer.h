// SPDX-License-Identifier: Apache-2.0
//
// Where the parts of an alert are put together. It grows with the bytes that have arrived, never
// with what a header claims; beyond kMappedBytesMin it grows by mremap, so that 4 GiB are received
// without ever being copied. A buffer that its handler did not take is used again for the next
// alert.
#ifndef ALERTPIPE_CORE_GROW_BUFFER_H_
#define ALERTPIPE_CORE_GROW_BUFFER_H_

#include <cstddef>
#include <string_view>

#include <absl/status/statusor.h>

#include <alertpipe/buffer.h>

namespace alertpipe::core {

class GrowBuffer {
 public:
  GrowBuffer() = default;
  GrowBuffer(const GrowBuffer&) = delete;
  GrowBuffer& operator=(const GrowBuffer&) = delete;
  ~GrowBuffer() { Free(); }

  // Adds bytes; `total` is how many are expected in all and only bounds the growth. False when
  // memory is short: the buffer is unchanged.
  bool Append(std::string_view bytes, std::size_t total);

  std::string_view view() const { return std::string_view(block_, size_); }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }

  // Hands the bytes over; the buffer is empty afterwards.
  Buffer Take();
  // Forgets the bytes, and keeps a modest block for the next alert.
  void Clear();
  // Forgets the bytes and keeps all memory.
  void Rewind() { size_ = 0; }
  // Exchanges bytes and memory.
  void Swap(GrowBuffer* other);
  // Gives all memory back.
  void Free();

 private:
  char* block_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
};

// Moves the data of an alert out: without a copy if it lies in `*collected`, which is null
// otherwise. Both are empty afterwards; an error has changed nothing.
absl::StatusOr<Buffer> TakeData(std::string_view* data, GrowBuffer** collected);

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_GROW_BUFFER_H_
