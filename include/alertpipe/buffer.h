// SPDX-License-Identifier: Apache-2.0
//
// Bytes with an owner: how data is handed over to the library, and how large data is taken out of
// an alert, without a copy.
#ifndef ALERTPIPE_BUFFER_H_
#define ALERTPIPE_BUFFER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include <absl/status/statusor.h>

#include <alertpipe/export.h>

namespace alertpipe {

// A move-only owner of a run of bytes. A moved-from Buffer is empty. Not thread-safe, like a
// std::string.
class ALERTPIPE_EXPORT Buffer {
 public:
  // Frees `data`; `context` is what Adopt was given. Called once, by whoever holds the Buffer last,
  // on its thread. It must not use an endpoint: the library may be in the middle of a send.
  using Release = void (*)(void* context, char* data, std::size_t size);

  Buffer() noexcept = default;
  // Takes over the string's bytes. Explicit, so that Send(pid, name, string) copies and Send(pid,
  // name, Buffer(std::move(string))) hands over.
  explicit Buffer(std::string bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  // `size` uninitialised bytes. Memory of 64 KiB and more is mapped, so that pages are only used
  // once they are written. kResourceExhausted when there is not enough memory; the message names
  // the size.
  static absl::StatusOr<Buffer> Allocate(std::size_t size);

  // A copy of `bytes`. Errors as Allocate.
  static absl::StatusOr<Buffer> Copy(std::string_view bytes);

  // Takes over memory of the caller's own kind; `release(context, data, size)` frees it. `release`
  // must not be null.
  static Buffer Adopt(char* data, std::size_t size, Release release, void* context);

  // Valid until the Buffer is moved from, assigned to or destroyed.
  char* data() { return data_; }
  const char* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return std::string_view(data_, size_); }

 private:
  Buffer(char* data, std::size_t size, Release release, void* context) noexcept
      : data_(data), size_(size), release_(release), context_(context) {}
  void Free() noexcept;

  char* data_ = nullptr;
  std::size_t size_ = 0;
  Release release_ = nullptr;
  void* context_ = nullptr;
};

namespace internal {
// Takes part in overload resolution for a Buffer only: so `{}` means empty data that is lent, as it
// does for a string.
template <typename T>
using IfBuffer = std::enable_if_t<std::is_same_v<T, Buffer>>;
}  // namespace internal

}  // namespace alertpipe

#endif  // ALERTPIPE_BUFFER_H_
