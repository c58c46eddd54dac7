// SPDX-License-Identifier: Apache-2.0
//
// What the cache is a cache of: a folder with one file for each key, which all workers share. It
// stands for a database, and has what a database would have: writes are numbered. The number of the
// last one, the revision, is in memory that all workers share, and grows *after* a write. So
// whoever notes the revision and then reads gets everything that was written up to that revision,
// or something newer.
#ifndef ALERTPIPE_EXAMPLES_HTTP_ORIGIN_H_
#define ALERTPIPE_EXAMPLES_HTTP_ORIGIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace http_example {

inline constexpr std::size_t kValueBytesMax = 65536;

// Nothing where the origin has nothing under a key.
using Value = std::optional<std::string>;

class Origin {
 public:
  struct Reading {
    absl::Status status;
    Value value;
    std::uint64_t revision = 0;  // the value is as of this one, or newer
  };

  // Opens a folder that exists. To be called before the first fork.
  static absl::StatusOr<std::unique_ptr<Origin>> Open(const std::string& folder);
  ~Origin();
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;

  // 1 to 64 letters, digits, '_' and '-': names of files that lead nowhere else.
  static bool IsKey(std::string_view key);

  Reading Read(const std::string& key);
  // Stores a value, or removes it, as a whole. The revision that has it.
  absl::StatusOr<std::uint64_t> Write(const std::string& key, const Value& value);
  // A new revision without a write: what is read from now on can be told from what was read before.
  std::uint64_t Mark();

  std::uint64_t revision() const;
  std::uint64_t reads() const;  // of all workers together

 private:
  struct Shared;
  Origin(int folder, Shared* shared) : folder_(folder), shared_(shared) {}
  absl::Status Store(const std::string& key, const std::string& value) const;

  const int folder_;
  Shared* const shared_;
};

}  // namespace http_example

#endif  // ALERTPIPE_EXAMPLES_HTTP_ORIGIN_H_
