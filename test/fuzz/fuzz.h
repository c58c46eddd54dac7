// SPDX-License-Identifier: Apache-2.0
//
// What every fuzz target is made of. A target turns any bytes into a run of the core, checks it,
// and throws Violation if something is wrong. Two programs run it: libFuzzer's (`./dev fuzz`), and
// the short run of the suite, which needs no clang (short_run_test.cc).
//
// Each target has canaries: known defects, one of which can be planted in the path that it checks.
// A target that does not find a planted defect would not find a real one.
#ifndef ALERTPIPE_TEST_FUZZ_FUZZ_H_
#define ALERTPIPE_TEST_FUZZ_FUZZ_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace alertpipe::fuzz {

class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void Require(bool condition, const char* what) {
  if (!condition) throw Violation(what);
}
template <typename A, typename B>
void RequireEqual(const A& seen, const B& expected, const char* what) {
  if (seen == expected) return;
  throw Violation(std::string(what) + ": " + std::to_string(seen) + ", expected " +
                  std::to_string(expected));
}

// Takes an input apart. Beyond its end everything is zero.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  std::uint8_t Byte() { return static_cast<std::uint8_t>(Number(1)); }
  // `bytes` of them, little-endian.
  std::uint64_t Number(std::size_t bytes) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < bytes && !rest_.empty(); ++i, rest_.remove_prefix(1))
      number |= std::uint64_t{static_cast<unsigned char>(rest_[0])} << (8 * i);
    return number;
  }
  // 0 to n - 1.
  std::size_t Pick(std::size_t n) { return Byte() % n; }
  bool Flag() { return (Byte() & 1) != 0; }
  template <typename T, std::size_t n>
  T OneOf(const T (&choices)[n]) {
    return choices[Pick(n)];
  }
  std::string_view Bytes(std::size_t count) {
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(bytes.size());
    return bytes;
  }

 private:
  std::string_view rest_;
};

// Puts a seed together, the way Input takes it apart.
class Script {
 public:
  template <typename... Bytes>
  Script& operator()(Bytes... bytes) {
    (bytes_.push_back(static_cast<char>(bytes)), ...);
    return *this;
  }
  Script& Number(std::uint64_t number, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) bytes_.push_back(static_cast<char>(number >> (8 * i)));
    return *this;
  }
  Script& Text(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Seed {
  std::string name;
  std::string bytes;
};

// The planted defect, counted from 1; 0: none.
inline int planted = 0;

// ---- What a target defines

extern const char* const kTargetName;
// What each canary is; the first is number 1.
extern const std::vector<const char*> kCanaries;
// The inputs that were written by hand. They are in the corpus, which has those that a fuzzer found
// as well.
std::vector<Seed> Seeds();
// Throws Violation.
void RunOne(std::string_view input);

}  // namespace alertpipe::fuzz

#endif  // ALERTPIPE_TEST_FUZZ_FUZZ_H_
