// SPDX-License-Identifier: Apache-2.0
//
// What went wrong in a soak, in memory that all its processes share: zeroed at first, and usable
// whenever one of them is killed.
#ifndef ALERTPIPE_TEST_SOAK_COMPLAINTS_H_
#define ALERTPIPE_TEST_SOAK_COMPLAINTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace alertpipe::soak {

inline constexpr int kComplaints = 16;
inline constexpr std::size_t kComplaintBytes = 400;

// One writer, or (violations) rare ones.
class Word {
 public:
  std::uint64_t Get() const { return value_.load(std::memory_order_acquire); }
  void Set(std::uint64_t value) { value_.store(value, std::memory_order_release); }
  void Add(std::uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_release);
  }
  std::uint64_t AddShared(std::uint64_t amount = 1) { return value_.fetch_add(amount); }

 private:
  std::atomic<std::uint64_t> value_;
};

// What can go wrong, counted apart.
enum class Violation : std::uint8_t {
  kLost,          // accepted, neither heard nor returned though both lived; or a hole, or a short
                  // prefix, though one died
  kDuplicated,    // heard twice, or heard and returned, or returned twice
  kMisdelivered,  // heard by another incarnation than the stamp's, or from another sender
  kReordered,     // heard after a later one
  kTorn,          // data that does not fit its hash or length
  kInvented,      // heard though it was never sent
  kDamaged,       // the library reported damage, or a hole in a sender's sequence
  kHung,    // a worker that could run and made no progress, or a promised call that never came
  kDied,    // a worker that ended though nobody ended it
  kGrown,   // memory or descriptors
  kBroken,  // anything else that must not happen, see the complaints
};
inline constexpr int kViolations = static_cast<int>(Violation::kBroken) + 1;
const char* NameOf(Violation violation);

struct Complaint {
  Word bytes;  // 0: none
  char text[kComplaintBytes];
};

struct ComplaintBook {
  Word violations[kViolations];
  Word complaints;
  Complaint complaint[kComplaints];

  // Counts a violation; the first few are kept as text.
  void Complain(Violation violation, std::string_view text, std::uint64_t count = 1);
  std::uint64_t Violations() const;
  std::string Complaints() const;
};

}  // namespace alertpipe::soak

#endif  // ALERTPIPE_TEST_SOAK_COMPLAINTS_H_
