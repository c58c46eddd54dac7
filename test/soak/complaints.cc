// SPDX-License-Identifier: Apache-2.0
#include "complaints.h"

#include <algorithm>
#include <cstring>

namespace alertpipe::soak {

const char* NameOf(Violation violation) {
  static constexpr const char* kNames[kViolations] = {
      "lost",    "duplicated", "misdelivered", "reordered", "torn",  "invented",
      "damaged", "hung",       "died",         "grown",     "broken"};
  return kNames[static_cast<int>(violation)];
}

void ComplaintBook::Complain(Violation violation, std::string_view text, std::uint64_t count) {
  violations[static_cast<int>(violation)].AddShared(count);
  const std::uint64_t at = complaints.AddShared();
  if (at >= kComplaints) return;
  const std::string line = std::string(NameOf(violation)) + ": " + std::string(text);
  const std::size_t bytes = std::min(line.size(), kComplaintBytes);
  std::memcpy(complaint[at].text, line.data(), bytes);
  complaint[at].bytes.Set(bytes);
}

std::uint64_t ComplaintBook::Violations() const {
  std::uint64_t sum = 0;
  for (const Word& word : violations) sum += word.Get();
  return sum;
}

std::string ComplaintBook::Complaints() const {
  std::string all;
  for (const Complaint& one : complaint) {
    if (one.bytes.Get() != 0) all.append("  ").append(one.text, one.bytes.Get()).append("\n");
  }
  const std::uint64_t count = complaints.Get();
  if (count > kComplaints) all += "  and " + std::to_string(count - kComplaints) + " more\n";
  return all;
}

}  // namespace alertpipe::soak
