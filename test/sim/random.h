// SPDX-License-Identifier: Apache-2.0
//
// The only source of chance in a simulation: one number decides everything that follows, on every
// machine and with every library.
#ifndef ALERTPIPE_TEST_SIM_RANDOM_H_
#define ALERTPIPE_TEST_SIM_RANDOM_H_

#include <cstdint>

namespace alertpipe::sim {

inline std::uint64_t Mix(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(Mix(seed)) {}

  std::uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15;
    std::uint64_t value = state_;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
  }
  // 0 to n - 1.
  std::uint32_t Below(std::uint32_t n) {
    return static_cast<std::uint32_t>(((Next() >> 32) * std::uint64_t{n}) >> 32);
  }
  int Pick(int from, int to) {
    return from + static_cast<int>(Below(static_cast<std::uint32_t>(to - from + 1)));
  }
  // One in `n`; never if `n` is 0.
  bool Chance(std::uint32_t n) { return n != 0 && Below(n) == 0; }

 private:
  std::uint64_t state_;
};

}  // namespace alertpipe::sim

#endif  // ALERTPIPE_TEST_SIM_RANDOM_H_
