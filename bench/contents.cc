// SPDX-License-Identifier: Apache-2.0
#include "contents.h"

#include <absl/strings/str_cat.h>

namespace alertpipe::bench {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

// Odd, so that no two words of an alert, and no two alerts at the same place, are alike.
constexpr std::uint64_t kPerNumber = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kPerWord = 0xd1b54a32d192ed03;

std::uint64_t Word(std::uint64_t number, std::size_t index) {
  return number * kPerNumber + index * kPerWord;
}

}  // namespace

void Contents::Fill(char* data, std::uint64_t number) const {
  std::size_t at = kWord;
  for (; at + kWord <= bytes_; at += kWord) {
    const std::uint64_t word = Word(number, at);
    std::memcpy(data + at, &word, kWord);
  }
  const std::uint64_t word = Word(number, at);
  std::memcpy(data + at, &word, bytes_ - at);
}

bool Contents::IsFilled(const char* data, std::uint64_t number) const {
  std::uint64_t difference = 0;
  std::size_t at = kWord;
  for (; at + kWord <= bytes_; at += kWord) {
    std::uint64_t word;
    std::memcpy(&word, data + at, kWord);
    difference |= word ^ Word(number, at);
  }
  const std::uint64_t word = Word(number, at);
  return difference == 0 && std::memcmp(data + at, &word, bytes_ - at) == 0;
}

std::string Contents::Explain(std::string_view data, std::uint64_t number) const {
  if (data.size() != bytes_) {
    return absl::StrCat("alert ", number, " has ", data.size(), " bytes, not ", bytes_);
  }
  std::uint64_t found;
  std::memcpy(&found, data.data(), sizeof(found));
  if (found != number) return absl::StrCat("number ", found, " came instead of ", number);
  return absl::StrCat("the contents of alert ", number, " are not what was sent");
}

}  // namespace alertpipe::bench
