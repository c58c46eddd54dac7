// SPDX-License-Identifier: Apache-2.0
//
// The data of an alert: its number in 8 bytes, then filler. With a checksum the filler depends on
// the number and all of it is compared, so that parts of two alerts cannot pass for one.
#ifndef ALERTPIPE_BENCH_CONTENTS_H_
#define ALERTPIPE_BENCH_CONTENTS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace alertpipe::bench {

class Contents {
 public:
  Contents(std::size_t bytes, bool checksum) : bytes_(bytes), checksum_(checksum) {}

  std::size_t bytes() const { return bytes_; }

  // Once for each buffer.
  void Prepare(char* data) const { Fill(data, 0); }

  // For each alert.
  void Stamp(char* data, std::uint64_t number) const {
    std::memcpy(data, &number, sizeof(number));
    if (checksum_) Fill(data, number);
  }

  bool IsRight(std::string_view data, std::uint64_t number) const {
    if (data.size() != bytes_) return false;
    std::uint64_t found;
    std::memcpy(&found, data.data(), sizeof(found));
    return found == number && (!checksum_ || IsFilled(data.data(), number));
  }

  // Says what is wrong with data that is not right.
  std::string Explain(std::string_view data, std::uint64_t number) const;

 private:
  void Fill(char* data, std::uint64_t number) const;
  bool IsFilled(const char* data, std::uint64_t number) const;

  std::size_t bytes_;
  bool checksum_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_CONTENTS_H_
